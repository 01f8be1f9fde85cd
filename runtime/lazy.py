"""A room's public names, each loaded with the module it lives in when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .extras import missing_extra


def lazy_names(room: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of ``room``; ``homes`` maps a public name to its module, relative to
    the room.

    Importing a room must cost nothing: torch, ONNX Runtime, Polars and matplotlib come with the first name
    that needs them. A missing one raises :class:`~gatescope.runtime.errors.MissingExtraError`.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        try:
            return getattr(import_module(homes[name], room), name)
        except ModuleNotFoundError as error:
            if missing := missing_extra(error):
                raise missing from error
            raise

    return load, lambda: sorted(homes)
