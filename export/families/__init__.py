"""The reference's model as plain modules whose fusion returns its gates."""
