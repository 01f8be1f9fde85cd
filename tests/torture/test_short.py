"""The short form of every torture: the same promises, in seconds."""

from __future__ import annotations

import importlib

import pytest

from .__main__ import NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_was_promised_is_measured(name: str) -> None:
    rows = importlib.import_module(f"tests.torture.{name}").measure(True, lambda text: None)
    assert rows and [row for row in rows if not row.met] == []
