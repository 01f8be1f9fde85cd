"""Reads gate logs of earlier tools: one JSON object per query, its gates layer by layer.

A line is ``{qid, vid, gating_type, layer_gates: [{gate_mha, gate_ffn}, …]}``. A gate is a number, a list over
clips, or a list over clips of lists over channels, with or without a batch axis of one in front; null is a
NaN that JSON could not hold. Whatever else a line holds is not read.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..data.json_lines import (
    BOM,
    BadLineError,
    bad_lines,
    encodable,
    identifier,
    json_kind,
    json_object,
    lines_of,
)
from ..errors import DatasetError
from ..gates.gatings import has_channels, is_plain_global
from ..gates.shape import SeenGates
from .schema import MOST_CLIPS

#: By the log's name of a gate, its kind.
KIND_OF_KEY = {"gate_mha": "attention", "gate_ffn": "ffn"}

_EXPECTED = (
    "one JSON object per line with qid (unique), vid, gating_type (the same in all) and layer_gates, "
    "a list with gate_mha and gate_ffn of each layer"
)
_MOST_LAYERS = 255


@dataclass(frozen=True, eq=False)
class LoggedGates:
    """One line: by kind the gates, float32 (layers, L | 1, 1 | d)."""

    qid: str
    vid: str
    gating: str
    gates: dict[str, NDArray[np.float32]]

    @property
    def clips(self) -> int:
        """L, as far as the line shows: 1 where it has one value per gate."""
        return max(array.shape[1] for array in self.gates.values())


@dataclass
class LogFacts:
    """What all lines of a log have in common, and how far its values go.

    - ``qids``, ``vids``, ``clips``: of each line, in order. ``seen``: by kind, what the gates look like.
    - ``sha256``: of the file.
    """

    gating: str = ""
    qids: list[str] = field(default_factory=list[str])
    vids: list[str] = field(default_factory=list[str])
    clips: list[int] = field(default_factory=list[int])
    seen: dict[str, SeenGates] = field(default_factory=dict[str, SeenGates])
    sha256: str = ""

    @property
    def layers(self) -> int:
        """Number of fusion layers."""
        return max((one.layers for one in self.seen.values()), default=0)

    def add(self, line: LoggedGates) -> None:
        """Take in one line. Raises :class:`BadLineError` where it does not go with the lines before."""
        channels = {kind: array.shape[2] for kind, array in line.gates.items()}
        layers = len(next(iter(line.gates.values())))
        if not self.qids:
            self.gating = line.gating
            self.seen = {kind: SeenGates(kind, layers, channels=wide) for kind, wide in channels.items()}
        if line.gating != self.gating:
            raise BadLineError(f"has gating_type '{line.gating}', the first line '{self.gating}'")
        if layers != self.layers:
            raise BadLineError(f"has {layers} layers, the first line {self.layers}")
        known = {kind: one.channels for kind, one in self.seen.items()}
        if channels != known:
            raise BadLineError(f"has {_told(channels)}, the first line {_told(known)}")
        self.qids.append(line.qid)
        self.vids.append(sys.intern(line.vid))
        self.clips.append(line.clips)
        for kind, array in line.gates.items():
            self.seen[kind].see(list(array))


def check_log(path: Path) -> LogFacts:
    """Read the whole log, one line in memory at a time, and see that it can be a run.

    Raises :class:`~gatescope.runtime.errors.DatasetError` that lists the bad lines by number: what cannot be
    read, a qid named twice, another gating, other layers or channels than in the first good line.
    """
    facts, digest = LogFacts(), hashlib.sha256()
    first_line: dict[str, int] = {}
    bad: list[tuple[int, str]] = []
    for number, line in _numbered(path, digest):
        try:
            logged = read_line(line)
            if logged.qid in first_line:
                raise BadLineError(f"repeats the qid {logged.qid} of line {first_line[logged.qid]}")
            facts.add(logged)
        except BadLineError as error:
            bad.append((number, str(error)))
            continue
        first_line[logged.qid] = number
    if bad:
        raise bad_lines(path, bad, _EXPECTED)
    if not facts.qids:
        raise DatasetError(f"the gate log {path} is empty", expected=_EXPECTED)
    facts.sha256 = digest.hexdigest()
    return facts


def read_gate_log(path: Path, facts: LogFacts) -> Iterator[LoggedGates]:
    """The lines of a log that :func:`check_log` found good.

    Raises :class:`~gatescope.runtime.errors.DatasetError` at the end, where the file is another than then.
    """
    digest, count = hashlib.sha256(), 0
    try:
        for _, line in _numbered(path, digest):
            logged = read_line(line)
            if count >= len(facts.qids) or logged.qid != facts.qids[count]:
                raise BadLineError("is another line than before")
            count += 1
            yield logged
    except BadLineError as error:
        raise _changed(path) from error
    if digest.hexdigest() != facts.sha256:
        raise _changed(path)


def read_line(line: bytes) -> LoggedGates:
    """One line of a log. Raises :class:`BadLineError`."""
    try:
        row = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        row = json_object(line)  # which knows NaN, and names what is wrong
    if missing := [key for key in ("qid", "vid", "gating_type", "layer_gates") if key not in row]:
        raise BadLineError(f"lacks {', '.join(missing)}")
    gating, layers = row["gating_type"], row["layer_gates"]
    if not isinstance(gating, str) or not gating:
        raise BadLineError(f"gating_type is {json_kind(gating) if gating != '' else 'empty'}, not text")
    if not isinstance(layers, list) or not layers:
        raise BadLineError(
            f"layer_gates is {json_kind(layers) if layers != [] else 'empty'}, not a list of layers"
        )
    if len(cast(list[Any], layers)) > _MOST_LAYERS:
        raise BadLineError(f"layer_gates has {len(cast(list[Any], layers))} layers, more than {_MOST_LAYERS}")
    return LoggedGates(
        qid=str(identifier(row, "qid")),
        vid=str(identifier(row, "vid")),
        gating=encodable(gating, "gating_type"),
        gates=_gates(cast(list[Any], layers), gating),
    )


def _gates(layers: list[Any], gating: str) -> dict[str, NDArray[np.float32]]:
    stacks: dict[str, list[NDArray[np.float32]]] = {}
    for number, layer in enumerate(layers):
        if not isinstance(layer, dict):
            raise BadLineError(f"layer {number} is {json_kind(layer)}, not an object")
        there = [key for key in KIND_OF_KEY if cast(dict[str, Any], layer).get(key) is not None]
        if not there:
            raise BadLineError(f"layer {number} has neither gate_mha nor gate_ffn")
        for key in there:
            stacks.setdefault(key, []).append(
                _array(cast(Any, layer)[key], gating, f"{key} of layer {number}")
            )
    for key, arrays in stacks.items():
        if len(arrays) != len(layers):
            raise BadLineError(f"{len(layers) - len(arrays)} of {len(layers)} layers lack {key}")
        if len(shapes := {array.shape for array in arrays}) > 1:
            raise BadLineError(f"{key} has different shapes in its layers: {_shapes(shapes)}")
    lengths = {key: arrays[0].shape[0] for key, arrays in stacks.items() if arrays[0].shape[0] > 1}
    if len(set(lengths.values())) > 1:
        raise BadLineError("has " + " and ".join(f"{n} clips in {key}" for key, n in lengths.items()))
    return {kind: np.stack(stacks[key]) for key, kind in KIND_OF_KEY.items() if key in stacks}


def _array(value: Any, gating: str, where: str) -> NDArray[np.float32]:
    """A gate as (L | 1, 1 | d), whichever way the log nests it."""
    array = _numbers(value, where)
    if array.size == 0:
        raise BadLineError(f"{where} is empty")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    elif array.ndim == 2 and array.shape[0] == 1 and not has_channels(gating):
        array = array[0]  # (1, L); an elementwise gate's is one clip with its channels
    if array.ndim > 2:
        raise BadLineError(
            f"{where} has the shape {array.shape}, not (clips, channels) or (1, clips, channels)"
        )
    if array.ndim < 2:
        array = array.reshape(-1, 1)
    if is_plain_global(gating) and array.size > 1:
        raise BadLineError(f"{where} has the shape {array.shape}, though a global gate is one number")
    if len(array) > MOST_CLIPS:
        raise BadLineError(f"{where} has {len(array)} clips, more than {MOST_CLIPS}")
    return array


def _numbers(value: Any, where: str) -> NDArray[np.float32]:
    try:
        array = np.array(value)
        if array.dtype == object:  # null among numbers, or what is none
            _see_that_all_are_numbers(array, where)
        elif array.dtype.kind not in "iuf":
            raise BadLineError(f"{where} holds something other than numbers")
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted as such
            return array.astype(np.float32)
    except (ValueError, OverflowError, TypeError) as error:
        if isinstance(error, BadLineError):
            raise
        raise BadLineError(f"{where} has rows of different lengths") from error


def _see_that_all_are_numbers(array: NDArray[Any], where: str) -> None:
    for one in array.ravel().tolist():
        if one is not None and (isinstance(one, bool) or not isinstance(one, int | float)):
            raise BadLineError(f"{where} holds {json_kind(one)} among numbers")


def _numbered(path: Path, digest: Any) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1; ``digest`` takes in the whole file."""
    for number, line in enumerate(lines_of(path, "gate log", "--from-log"), start=1):
        digest.update(line)
        content = line.removeprefix(BOM) if number == 1 else line
        if content.strip():
            yield number, content


def _changed(path: Path) -> DatasetError:
    return DatasetError(
        f"the gate log {path} changed while it was read",
        fix="see that nothing writes to it, and import it again into another folder",
    )


def _told(channels: dict[str, int]) -> str:
    return " and ".join(
        f"{kind} gates of {count} channel{'s' if count > 1 else ''}" for kind, count in channels.items()
    )


def _shapes(shapes: set[tuple[int, ...]]) -> str:
    return ", ".join(str(shape) for shape in sorted(shapes))
