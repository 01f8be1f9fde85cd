"""Faults injected into features on purpose, and what they do to the gates of a model that is run."""
