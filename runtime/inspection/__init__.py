"""What a file or folder is, and what is wrong with it, reported without failing at the first problem."""
