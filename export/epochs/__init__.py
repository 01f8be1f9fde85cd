"""Gates by epoch: the checkpoints that training left, one after another, next to what it logged."""
