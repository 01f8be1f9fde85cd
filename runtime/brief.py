"""What an object is, in one line, however much it holds: for a notebook's cell and a debugger."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

LONGEST = 400
_LONGEST_TEXT = 60
_SHOWN = 4


def brief(thing: object) -> str:
    """A ``repr`` of a dataclass or named tuple: its fields, arrays and frames by their shapes.

    At most :data:`LONGEST` characters and no memory address.
    """
    names: tuple[str, ...] = getattr(thing, "_fields", ())
    if is_dataclass(thing):
        names = tuple(field.name for field in fields(thing) if field.repr)
    told = ", ".join(f"{name}={_shown(getattr(thing, name))}" for name in names)
    return one_line(thing, told)


def one_line(thing: object, *told: str) -> str:
    """``Class(told, told)``, cut to :data:`LONGEST` characters; what is empty is left out."""
    text = ", ".join(part for part in told if part)
    return f"{type(thing).__name__}({text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'})"


def counted(count: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def _shown(value: Any, deep: bool = False) -> str:
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return counted(len(value), "byte")
    if hasattr(value, "shape") and hasattr(value, "dtype"):  # an array or a tensor
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if hasattr(value, "height") and hasattr(value, "width"):  # a frame
        return f"{value.height} × {value.width} frame"
    if isinstance(value, Mapping):
        items: Mapping[Any, Any] = value
        if deep or len(items) > _SHOWN:
            return counted(len(items), "key")
        return "{" + ", ".join(f"{key}: {_shown(item, deep=True)}" for key, item in items.items()) + "}"
    if isinstance(value, Collection):
        return counted(len(value), "item") if value else "()"  # pyright: ignore[reportUnknownArgumentType]
    return type(value).__name__
