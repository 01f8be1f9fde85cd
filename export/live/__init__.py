"""Live PyTorch models: their gated fusion found by structure, and its gates tracked while they run."""
