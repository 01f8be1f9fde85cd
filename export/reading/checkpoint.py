"""Reading a training checkpoint safely, whatever layout it was saved in.

Layouts met in the field: a dict with ``model`` (and ``opt``, ``epoch``, …), a dict with ``state_dict`` or
averaged weights alone, a bare state dict; parameter names as they are or behind those of wrappers; options
inside as an ``argparse.Namespace`` or a dict, or in an ``opt.json`` next to the file. A checkpoint is input
from a stranger: tensors, plain containers and the values of :mod:`.standins` are read, everything else is
refused, and nothing that the file names is executed.
"""

from __future__ import annotations

import argparse
import errno
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch

from ...runtime.brief import one_line
from ...runtime.errors import CheckpointError, UnsafeCheckpointError
from ...runtime.files import local
from ...runtime.session.model_file import file_sha256
from .code import KnownCode, code_of
from .refusals import AVERAGES, STATES, advice, mistaken, refuse_folder
from .standins import STAND_INS, UnreadableValueError, without_standins
from .wrappers import unwrap

OPTIONS_FILE = "opt.json"


@dataclass(frozen=True)
class Checkpoint(Mapping[str, Any]):
    """A checkpoint that was read: ``checkpoint["model"]`` works as on the dict that ``torch.load`` gave.

    - ``weights``: parameter name → float32 tensor on the CPU, without the names of wrappers.
    - ``options``: training's options as plain values, empty where none were recorded; ``options_source``
      says where they were: ``opt`` (inside), ``opt.json`` (next to it), or None.
    - ``sha256``: of the file. ``content``: everything in it, ``model`` being ``weights``.
    - ``wrappers``: what stood before all parameters' names, as ``module.``; ``notes``: what was left out or
      chosen to get at the weights.
    """

    path: Path
    sha256: str
    weights: dict[str, torch.Tensor]
    options: dict[str, Any]
    options_source: Literal["opt", "opt.json"] | None
    content: dict[str, Any]
    wrappers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def code(self) -> KnownCode | None:
        """What the code next to the file is, which trained it; None where none lies there. Nothing is run."""
        return code_of(self.path)

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def __repr__(self) -> str:
        options = f"options of {self.options_source}" if self.options_source else "no options"
        weights = f"{len(self.weights)} parameters"
        return one_line(self, str(self.path), weights, options, f"keys {', '.join(map(str, self.content))}")


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read the checkpoint at ``path`` without executing anything in it.

    Raises :class:`UnsafeCheckpointError` where the pickle asks for more than tensors and options, and
    :class:`CheckpointError` where the file is missing, damaged, something else or holds no parameters.
    """
    path = local(path)
    loaded = _read(path)
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path} is not a checkpoint",
            received=f"a saved {type(loaded).__name__}",
            expected="a dict with 'model' or 'state_dict', or a state dict",
            fix="save model.state_dict(), or the dict that training saves",
        )
    content = cast(dict[str, Any], loaded)
    key, state = _state(content)
    unwrapped = unwrap(_tensors(state, path, bare=key is None), path)
    notes = list(unwrapped.notes)
    if key in AVERAGES:
        notes.append(f"the weights are the averages under '{key}': the file holds no others")
    elif averages := [one for one in AVERAGES if key is not None and isinstance(content.get(one), Mapping)]:
        notes.append(f"the file also holds averaged weights ('{averages[0]}'); those under '{key}' are used")
    options, source = _options(content, path)
    weights = _numbers(unwrapped.weights, path)
    kept = {} if key is None else {name: value for name, value in content.items() if name not in STATES}
    kept["model"] = weights
    return Checkpoint(
        path, file_sha256(path), weights, options, source, kept, unwrapped.wrappers, tuple(notes)
    )


def _read(path: Path) -> object:
    if not path.exists():
        raise CheckpointError(f"there is no file {path}", fix="check the path given to --checkpoint")
    if path.is_dir():
        raise refuse_folder(path)
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes)", fix="copy the file again")
    try:
        with torch.serialization.safe_globals(STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no exception of its own for a damaged file
        # Of one that was cut torch seeks what lies before its beginning, which the system calls invalid.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise _reading_failed(path, error) from error


def _reading_failed(path: Path, error: Exception) -> CheckpointError:
    if isinstance(error, UnreadableValueError):
        return _unreadable(path, error)
    text = str(error)
    forbidden = re.search(r"GLOBAL ([\w.]+)|global ([\w.]+) was not an allowed", text)
    if forbidden:
        name = forbidden.group(1) or forbidden.group(2)
        return UnsafeCheckpointError(
            f"{path} holds Python objects that are not loaded from a file of unknown origin; "
            "nothing in it was executed",
            received=f"a pickle that asks for {name}",
            expected="tensors, and options of numbers, text, paths, lists and dicts",
            fix=advice(path),
        )
    if (other := mistaken(path)) is not None:
        return other
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return CheckpointError(
        f"{path} cannot be read as a PyTorch checkpoint",
        received=f"{path.stat().st_size:,} bytes; torch says: {first[:200]}",
        expected="a complete file written by torch.save",
        fix="it may be truncated or another kind of file: copy it again and compare its size",
    )


def _unreadable(path: Path, error: UnreadableValueError) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        f"{path} holds options that are not read from a file of unknown origin; nothing in it was executed",
        received=str(error),
        expected="numbers, text, paths, lists and dicts",
        fix=advice(path),
    )


def _state(content: Mapping[str, Any]) -> tuple[str | None, Mapping[object, object]]:
    """The state dict in ``content``, and its key; None for the key where ``content`` is one itself."""
    found = next((one for one in (*STATES, *AVERAGES) if isinstance(content.get(one), Mapping)), None)
    state: object = content if found is None else content[found]
    return found, cast(Mapping[object, object], state)


def _tensors(state: Mapping[object, object], path: Path, *, bare: bool) -> dict[str, torch.Tensor]:
    weights = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    others = [str(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if not weights or (others and not bare):
        raise CheckpointError(
            f"{path} holds no state dict",
            received=f"keys {', '.join(map(str, list(state)[:8])) or 'none'}"
            + (f"; not tensors: {', '.join(others[:5])}" if weights else ""),
            expected="a dict of tensors under 'model' or 'state_dict', or at the top",
            fix="save model.state_dict(), or the dict that training saves",
        )
    return weights


def _numbers(weights: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """All floating-point parameters as float32."""
    _refuse_no_numbers(weights, path)
    return {
        name: value.to(torch.float32) if value.is_floating_point() else value
        for name, value in weights.items()
    }


def _refuse_no_numbers(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Refuse tensors that no rebuilt model computes with; whole numbers pass, as counters are buffers too."""
    strange = [
        f"{name}: {'without values (meta)' if value.is_meta else f'{value.dtype}, {value.layout}'}"
        for name, value in weights.items()
        if value.is_meta or value.is_quantized or value.is_complex() or value.layout != torch.strided
    ]
    if strange:
        raise CheckpointError(
            f"{path} holds {len(strange)} parameters that are not dense real numbers",
            received="; ".join(strange[:5]),
            expected="floating-point tensors, neither sparse, quantized nor complex",
            fix="save the state dict of the model as it was trained, before any conversion",
        )


def _options(content: dict[str, Any], path: Path) -> tuple[dict[str, Any], Literal["opt", "opt.json"] | None]:
    try:
        inside = without_standins(content.get("opt"))
    except UnreadableValueError as error:
        raise _unreadable(path, error) from error
    if isinstance(inside, argparse.Namespace):
        return dict(vars(inside)), "opt"
    if isinstance(inside, dict):
        return {str(name): value for name, value in cast(dict[Any, Any], inside).items()}, "opt"
    file = path.parent / OPTIONS_FILE
    if not file.is_file():
        return {}, None
    try:
        read: object = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{file} is not JSON",
            received=str(error),
            fix="fix it, or move it away and give flags instead",
        ) from error
    if not isinstance(read, dict):
        raise CheckpointError(
            f"{file} does not hold options", received=type(read).__name__, expected="a JSON object"
        )
    return cast(dict[str, Any], read), "opt.json"
