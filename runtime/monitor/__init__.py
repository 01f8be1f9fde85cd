"""Watching gates in production: counts, baselines, alarms, logs and metrics."""
