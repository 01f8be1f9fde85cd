"""What the tests of the analysis share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .. import undrawn as pictures


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Figures are made but not drawn, which takes most of an analysis; other tests draw them."""
    with pictures.undrawn():
        yield
