"""Audio events whose clips are known: whether the gates find them."""
