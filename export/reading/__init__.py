"""From a file of unknown origin to a PyTorch model: read safely, described, rebuilt strictly."""
