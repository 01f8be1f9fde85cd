"""Names the first few of many things in a message, and says how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 10


def listed(items: Sequence[str], between: str = ", ") -> str:
    """``items`` in one text, the first ten by name."""
    shown = list(items[:_SHOWN])
    if len(items) > _SHOWN:
        shown.append(f"and {len(items) - _SHOWN:,} more")
    return between.join(shown)
