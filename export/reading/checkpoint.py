"""Reading a training checkpoint safely, whatever layout it was saved in.

Layouts met in the field: a dict with ``model`` (and ``opt``, ``epoch``, …), a dict with ``state_dict``,
a bare state dict; parameter names with or without the ``module.`` prefix of DataParallel; options inside as
an ``argparse.Namespace``, or in an ``opt.json`` beside the file. A checkpoint is input from a stranger: only
tensors, plain containers and ``argparse.Namespace`` are admitted, and nothing in the file is executed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch

from ...runtime.errors import CheckpointError, UnsafeCheckpointError
from ...runtime.files import local
from ...runtime.model_file import file_sha256

OPTIONS_FILE = "opt.json"
PARALLEL_PREFIX = "module."


@dataclass(frozen=True)
class Checkpoint(Mapping[str, Any]):
    """A checkpoint that was read: ``checkpoint["model"]`` works as on the dict that ``torch.load`` gave.

    - ``weights``: parameter name → float32 tensor on the CPU, without the ``module.`` prefix.
    - ``options``: training's options, empty where none were recorded; ``options_source`` says where they
      were: ``opt`` (inside), ``opt.json`` (beside), or None.
    - ``sha256``: of the file. ``content``: everything in it, ``model`` being ``weights``.
    """

    path: Path
    sha256: str
    weights: dict[str, torch.Tensor]
    options: dict[str, Any]
    options_source: Literal["opt", "opt.json"] | None
    content: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read the checkpoint at ``path`` without executing anything in it.

    Raises :class:`UnsafeCheckpointError` where the pickle asks for more than tensors and options, and
    :class:`CheckpointError` where the file is missing, damaged or holds no parameters.
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
    weights = _weights(content, path)
    options, source = _options(content, path)
    kept = {key: value for key, value in content.items() if key not in ("model", "state_dict")}
    if not ("model" in content or "state_dict" in content):
        kept = {}
    kept["model"] = weights
    return Checkpoint(path, file_sha256(path), weights, options, source, kept)


def _read(path: Path) -> object:
    if not path.exists():
        raise CheckpointError(f"there is no file {path}", fix="check the path given to --checkpoint")
    if path.is_dir():
        held = sorted(p.name for p in path.iterdir() if p.suffix in (".ckpt", ".pth", ".pt"))
        raise CheckpointError(
            f"{path} is a folder",
            expected="the checkpoint file itself",
            fix=f"give one of: {', '.join(held)}" if held else "give the path of the checkpoint file",
        )
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes)", fix="copy the file again")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch.load has no exception of its own for a damaged file
        raise _reading_failed(path, error) from error


def _reading_failed(path: Path, error: Exception) -> CheckpointError:
    text = str(error)
    forbidden = re.search(r"GLOBAL ([\w.]+)|global ([\w.]+) was not an allowed", text)
    if forbidden:
        name = forbidden.group(1) or forbidden.group(2)
        return UnsafeCheckpointError(
            f"{path} holds Python objects that are not loaded from a file of unknown origin; "
            "nothing in it was executed",
            received=f"a pickle that asks for {name}",
            expected="tensors, plain containers and argparse.Namespace",
            fix="in the training environment, where the file is trusted: "
            "c = torch.load(FILE, weights_only=False); "
            "plain = (str, int, float, bool, list, type(None)); "
            "opt = {k: v for k, v in vars(c['opt']).items() if isinstance(v, plain)}; "
            "torch.save({'model': c['model'], 'opt': argparse.Namespace(**opt)}, NEW_FILE)",
        )
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return CheckpointError(
        f"{path} cannot be read as a PyTorch checkpoint",
        received=f"{path.stat().st_size:,} bytes; torch says: {first[:200]}",
        expected="a complete file written by torch.save",
        fix="it may be truncated or another kind of file: copy it again and compare its size",
    )


def _weights(content: dict[str, Any], path: Path) -> dict[str, torch.Tensor]:
    found: object = content
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            found = content[key]
            break
    state = cast(Mapping[object, object], found)
    weights = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    others = [str(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if not weights or (others and found is not content):
        raise CheckpointError(
            f"{path} holds no state dict",
            received=f"keys {', '.join(map(str, list(state)[:8])) or 'none'}"
            + (f"; not tensors: {', '.join(others[:5])}" if weights else ""),
            expected="a dict of tensors under 'model' or 'state_dict', or at the top",
            fix="save model.state_dict(), or the dict that training saves",
        )
    if all(name.startswith(PARALLEL_PREFIX) for name in weights):
        weights = {name.removeprefix(PARALLEL_PREFIX): value for name, value in weights.items()}
    _refuse_no_numbers(weights, path)
    return {
        name: value.to(torch.float32) if value.is_floating_point() else value
        for name, value in weights.items()
    }


def _refuse_no_numbers(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Refuse tensors no model of ours computes with; whole numbers pass, as buffers (counters) are some."""
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
    inside = content.get("opt")
    if isinstance(inside, argparse.Namespace):
        return dict(vars(inside)), "opt"
    if isinstance(inside, dict):
        return cast(dict[str, Any], inside), "opt"
    beside = path.parent / OPTIONS_FILE
    if not beside.is_file():
        return {}, None
    try:
        read: object = json.loads(beside.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{beside} is not JSON",
            received=str(error),
            fix="mend it, or move it away and give flags instead",
        ) from error
    if not isinstance(read, dict):
        raise CheckpointError(
            f"{beside} does not hold options", received=type(read).__name__, expected="a JSON object"
        )
    return cast(dict[str, Any], read), "opt.json"
