"""Harmless Python values that training options hold, read without what the file names for them.

A checkpoint of NumPy numbers, paths or dicts with attributes asks for functions and classes by name. Torch's
weights-only reader looks such a name up in a table; here the table leads from each name to a function of
this file, which makes plain values from plain values. Nothing that a file names is imported or called, and
whatever is not in the table is refused as before.
"""

from __future__ import annotations

import argparse
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, cast

# Options are small: what is larger is data, or made to exhaust memory.
_MOST_VALUES = 100_000
_DEEPEST = 50

# How struct writes NumPy's kinds of numbers, by their codes.
_FORMATS = {
    "b1": "?",
    **{f"i{size}": code for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))},
    **{f"u{size}": code for size, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))},
    **{f"f{size}": code for size, code in ((2, "e"), (4, "f"), (8, "d"))},
}
_NAMES = {"b": "bool", "i": "int", "u": "uint", "f": "float"}
_SCALARS = (
    *("bool_", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "intc"),
    *("float16", "float32", "float64", "str_", "bytes_", "int_", "float_"),
)
_ATTRIBUTE_DICTS = ("easydict.EasyDict", "addict.addict.Dict", "munch.Munch", "yacs.config.CfgNode")


class UnreadableValueError(ValueError):
    """A value of a kind that has no stand-in, or one that contradicts itself."""


class _Type:
    """Stands for ``numpy.dtype``: its code and byte order, as the pickle has them."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str):
            raise UnreadableValueError(f"a NumPy type {code!r:.40}")
        self.code = code
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        order = cast(tuple[object, ...], state)[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise UnreadableValueError("a NumPy type with fields or of another version")
        self.order = ">" if order == ">" else "<"

    def __str__(self) -> str:
        kind, size = self.code[:1], self.code[1:]
        if kind not in _NAMES or not size.isdecimal():
            return self.code
        return "bool" if kind == "b" else f"{_NAMES[kind]}{8 * int(size)}"

    def values(self, data: object, count: int) -> list[Any]:
        """``count`` values from their bytes."""
        if not 0 <= count <= _MOST_VALUES:
            raise UnreadableValueError(f"an array of {count:,} values")
        kind, size = self.code[:1], self.code[1:]
        text = kind in ("U", "S") and size.isdecimal() and len(size) < 7
        if not text and self.code not in _FORMATS:
            raise UnreadableValueError(f"NumPy values of type {self.code!r:.40}")
        each = int(size) * (4 if kind == "U" else 1)
        if not isinstance(data, bytes) or len(data) != each * count:
            raise UnreadableValueError(f"a NumPy value whose bytes are not {count} of {self.code}")
        if not text:
            return list(struct.unpack(f"{self.order}{count}{_FORMATS[self.code]}", data))
        words = [data[start : start + each] for start in range(0, each * count, each)] if each else []
        if kind == "S":
            return [word.rstrip(b"\0") for word in words] if each else [b""] * count
        coding = "utf-32-be" if self.order == ">" else "utf-32-le"
        return [word.decode(coding).rstrip("\0") for word in words] if each else [""] * count


class _Array(list[Any]):
    """Stands for ``numpy.ndarray``: becomes its values as nested lists, or one value (``single``)."""

    single = False

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, tuple() as shape, _Type() as kind, bool() as column_first, bytes() as data):
                sizes = cast(tuple[object, ...], shape)
            case _:
                raise UnreadableValueError("a NumPy array of objects, or of another version")
        lengths = [one for one in sizes if isinstance(one, int) and not isinstance(one, bool) and one >= 0]
        if len(lengths) != len(sizes) or len(lengths) > _DEEPEST:
            raise UnreadableValueError("a NumPy array without a shape")
        if column_first and len(lengths) > 1:
            raise UnreadableValueError("a NumPy array in Fortran's order")
        values = kind.values(data, prod(lengths))
        for length in reversed(lengths[1:]):
            if not length:
                raise UnreadableValueError("a NumPy array with an axis of length 0")
            values = [values[start : start + length] for start in range(0, len(values), length)]
        self.single = not lengths
        self[:] = values


class _Mapping:
    """Stands for a dict with attributes: becomes an OrderedDict, which the reader fills."""

    def __new__(cls, *_: object) -> Any:
        return OrderedDict[Any, Any]()


def _dict(*_: object) -> dict[Any, Any]:
    return {}


def _scalar(kind: object = None, data: object = None, *_: object) -> Any:
    """Stands for the function that makes a NumPy scalar from its type and bytes."""
    if not isinstance(kind, _Type):
        raise UnreadableValueError("a NumPy scalar without a type")
    return kind.values(data, 1)[0]


def _array(*_: object) -> _Array:
    return _Array()


def _frozen(items: object = (), *_: object) -> tuple[Any, ...]:
    if not isinstance(items, (list, tuple)):
        raise UnreadableValueError("a frozenset of no list")
    return tuple(cast(list[Any], items))


def _no_bytes(*given: object) -> bytes:
    """What an empty ``bytes`` is saved as; others are saved otherwise."""
    if given:
        raise UnreadableValueError("bytes made from something else")
    return b""


def _path(kind: type[PurePath]) -> Callable[..., str]:
    """A function that makes text from the parts of a path."""

    def joined(*parts: object) -> str:
        if not all(isinstance(part, str) for part in parts):
            raise UnreadableValueError("a path of parts that are not text")
        return str(kind(*cast(tuple[str, ...], parts)))

    return joined


def _table() -> dict[str, Any]:
    """What each name in a file stands for."""
    table: dict[str, Any] = {
        "argparse.Namespace": argparse.Namespace,
        "types.SimpleNamespace": argparse.Namespace,
        "numpy.dtype": _Type,
        "numpy.ndarray": _Array,
        "collections.defaultdict": _dict,
        "builtins.frozenset": _frozen,
        "builtins.bytes": _no_bytes,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray.scalar"] = _scalar
        table[f"{core}.multiarray._reconstruct"] = _array
    for module in ("pathlib", "pathlib._local"):  # the second is Python 3.13's
        for name in ("PosixPath", "PurePosixPath", "Path", "PurePath"):
            table[f"{module}.{name}"] = _path(PurePosixPath)
        for name in ("WindowsPath", "PureWindowsPath"):
            table[f"{module}.{name}"] = _path(PureWindowsPath)
    table |= dict.fromkeys(_ATTRIBUTE_DICTS, _Mapping)
    # A type as a value, as argparse's type= or a dtype: its name, which can be neither called nor filled.
    for name in ("int", "float", "str", "bool", "list", "dict", "tuple"):
        table[f"builtins.{name}"] = name
    table |= {f"numpy.{name}": name for name in _SCALARS}
    return table


# For torch.serialization.safe_globals: (stand-in, name in the file).
STAND_INS: list[Any] = [(stand_in, name) for name, stand_in in _table().items()]
# What was meant where a stand-in is a value itself: a class as an option.
_MEANT = {id(stand_in): name.rpartition(".")[2] for stand_in, name in STAND_INS}


def without_standins(value: Any) -> Any:
    """``value`` with its stand-ins as Python's own values: int, float, bool, str, list, tuple, set, dict.

    A Namespace stays one. Raises :class:`UnreadableValueError` for what is too large or too deep for options,
    or contains itself.
    """
    left = [_MOST_VALUES]

    def turned(one: Any, depth: int) -> Any:
        left[0] -= 1
        if depth > _DEEPEST or left[0] < 0:
            raise UnreadableValueError(
                f"options nested deeper than {_DEEPEST}, or of more than {_MOST_VALUES:,} values"
            )
        if isinstance(one, _Type):
            return str(one)
        if isinstance(one, type) or id(one) in _MEANT:
            return one if isinstance(one, str) else _MEANT.get(id(one)) or str(one.__name__)
        if isinstance(one, _Array) and one.single:
            return one[0]
        if isinstance(one, argparse.Namespace):
            filled = argparse.Namespace()
            vars(filled).update({str(k): turned(v, depth + 1) for k, v in vars(one).items()})
            return filled
        if isinstance(one, Mapping):
            pairs = cast(Mapping[Any, Any], one).items()
            return {_key(key): turned(item, depth + 1) for key, item in pairs}
        # A torch.Size is a tuple; other kinds of tuples and lists are Python's from here on.
        if isinstance(one, (list, tuple, set)):
            kind = list if isinstance(one, list) else tuple if isinstance(one, tuple) else set
            return kind(turned(item, depth + 1) for item in cast(list[Any], one))
        return one

    return turned(value, 0)


def _key(key: Any) -> Any:
    return str(key) if isinstance(key, _Type) else key
