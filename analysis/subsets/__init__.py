"""Queries that share a property (a subset), compared with the rest."""
