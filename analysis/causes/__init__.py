"""What gates and audio cause: the model run again with parts of it changed."""
