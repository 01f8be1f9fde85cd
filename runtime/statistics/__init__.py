"""Accumulators of gates (update, merge, finalise): one implementation for runs, trackers and monitoring."""
