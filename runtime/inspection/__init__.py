"""What a file or folder is, and what is wrong with it, told without failing at the first problem."""
