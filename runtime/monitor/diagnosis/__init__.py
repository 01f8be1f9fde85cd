"""What is wrong with features, told from how the gates moved."""
