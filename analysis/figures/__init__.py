"""Figures of gates: each function takes frames and gives a matplotlib Figure; none computes a statistic."""
