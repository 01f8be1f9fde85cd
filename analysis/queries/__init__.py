"""Whether what a gate does goes with what the model gets right, query by query."""
