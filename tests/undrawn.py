"""Analyses without their pictures: turning figures into PNGs takes most of an analysis' time.

Figures are made all the same, and only not rendered; ``tests/analysis/test_figures.py`` renders each kind.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@contextmanager
def undrawn() -> Iterator[None]:
    """Every figure is saved as one dot."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda _, file, **__: file.write(DOT))
        yield
