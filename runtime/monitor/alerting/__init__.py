"""Prometheus rules and a Grafana dashboard for one baseline's model."""
