"""Rewrites of a rebuilt model: less arithmetic, the same numbers up to rounding."""

from .rewrites import REWRITES, choose_rewrites, optimize

__all__ = ["REWRITES", "choose_rewrites", "optimize"]
