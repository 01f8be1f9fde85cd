"""Accumulators over gates, and the frames they end in; nothing here draws."""
