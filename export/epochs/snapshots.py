"""The checkpoints of one training, read one after another: which epoch, which weights, or why not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from ...runtime.errors import GatescopeError
from ...runtime.gates.manifest import Manifest
from ..families.choices import Choices
from ..graph.manifest import build_manifest
from ..graph.variant import Variant, VariantGraph
from ..reading.checkpoint import Checkpoint, load_checkpoint
from ..reading.facts import Description, describe
from ..reading.options import whole
from ..reading.rebuild import TRAINING_ONLY, count_not_finite, rebuild

_IN_NAME = re.compile(r"_e(\d+)$")


class NotShownError(Exception):
    """Why a checkpoint is not shown; the others are."""


@dataclass(frozen=True)
class Snapshot:
    """The model as it was at one epoch.

    - ``sha256``: of its weights: files of the same weights are one model under several names.
    - ``not_finite``: how many of ``weights`` are NaN or infinite.
    """

    name: str
    epoch: int
    sha256: str
    not_finite: int
    weights: Mapping[str, torch.Tensor]


class TrainedModel:
    """One training's model, as ``taken``, the checkpoint that stands for it, has it."""

    def __init__(self, taken: Checkpoint, choices: Choices) -> None:
        self._choices = choices
        self.checkpoint = taken
        self.description = describe(taken, choices)

    def graph(self, weights: Mapping[str, torch.Tensor]) -> VariantGraph:
        """The model with ``weights`` up to its last gate."""
        return VariantGraph(rebuild(self.description, weights), Variant("gates"))

    def manifest(self) -> Manifest:
        """What the model takes and gives, whatever its weights are."""
        weights = {
            name: torch.nan_to_num(value) if count_not_finite(value) else value
            for name, value in self.checkpoint.weights.items()
        }
        return build_manifest(self.checkpoint, self.description, self.graph(weights), "onnx", None)

    def snapshot(self, path: Path) -> Snapshot:
        """The checkpoint at ``path``. Raises :class:`NotShownError` that says why it cannot be shown."""
        try:
            read = self.checkpoint if path == self.checkpoint.path else load_checkpoint(path)
            description = describe(read, self._choices)
        except GatescopeError as error:
            raise NotShownError(_reason(error)) from error
        except OSError as error:
            raise NotShownError(f"it cannot be read: {error.strerror or error}") from error
        if difference := _difference(description, self.description):
            raise NotShownError(f"another model than {self.checkpoint.path.name}: {difference}")
        epoch = _epoch(read, path)
        if epoch is None:
            raise NotShownError("neither the file nor its name says of which epoch it is")
        used = [value for name, value in read.weights.items() if not name.startswith(TRAINING_ONLY)]
        return Snapshot(path.name, epoch, _hash(read.weights), sum(map(count_not_finite, used)), read.weights)


def _reason(error: GatescopeError) -> str:
    received = f" ({error.received.splitlines()[0]})" if error.received else ""
    return f"{error.problem}{received}"


def _epoch(read: Checkpoint, path: Path) -> int | None:
    inside = whole(read.content.get("epoch"))
    named = _IN_NAME.search(path.stem)
    return inside if inside is not None else int(named[1]) if named else None


def _difference(one: Description, other: Description) -> str:
    """The first thing in which two models differ, empty where they do not."""
    for mine, theirs in ((one.config, other.config), (one.preprocessing, other.preprocessing)):
        for field in fields(mine):
            if (value := getattr(mine, field.name)) != (wanted := getattr(theirs, field.name)):
                return f"{field.name} {value}, not {wanted}"
    return ""


def _hash(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
