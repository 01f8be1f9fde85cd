"""Metrics of the monitor: one truth over all worker processes, for Prometheus and Grafana."""
