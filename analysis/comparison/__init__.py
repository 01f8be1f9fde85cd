"""Runs beside each other: whether two are the same, and how several differ."""
