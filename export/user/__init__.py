"""Exporting a model that the user's own code builds."""
