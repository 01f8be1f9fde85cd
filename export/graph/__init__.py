"""From a PyTorch model to a file: what the graph returns, how it is captured and written."""
