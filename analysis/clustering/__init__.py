"""Samples in groups by their gates: whether there are any, and what they differ in."""
