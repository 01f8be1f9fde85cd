"""What gates and audio cause: a model is run with them changed, and its metrics are compared."""
