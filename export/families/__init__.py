"""Modules, independently written, that compute what the reference computes and return their gates."""
