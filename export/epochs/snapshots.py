"""The checkpoints of one training, read one after another: which epoch, which weights, or why not."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import torch

from ...runtime.array_types import Float32s
from ...runtime.errors import GatescopeError
from ...runtime.gates.manifest import Manifest
from ...runtime.gates.shape import GateShape
from ..families.choices import Choices
from ..graph.manifest import build_manifest
from ..graph.variant import Variant, VariantGraph
from ..reading.checkpoint import Checkpoint, load_checkpoint
from ..reading.facts import describe
from ..reading.forward import refuse_other_forward
from ..reading.options import whole
from ..reading.rebuild import TRAINING_ONLY, count_not_finite, rebuild
from ..user.export import gates_in_pytorch
from ..user.factory import build_model, load_into
from ..user.graph import UserGraph

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


class GateGraph(Protocol):
    """A model up to its gates."""

    @property
    def gate_shapes(self) -> tuple[GateShape, ...]:
        """What the gates of each kind look like."""
        ...

    def run(self, batch: Mapping[str, Float32s]) -> dict[str, Float32s]:
        """The gates of a batch, by the names of outputs."""
        ...


class TrainedModel(ABC):
    """One training's model, as the checkpoint that stands for it, ``taken``, has it.

    ``batch_size``: videos in a batch, with which a video's gates do not depend on the others.
    """

    batch_size = 16

    def __init__(self, taken: Checkpoint, choices: Choices) -> None:
        self._taken = taken
        self._choices = choices

    @abstractmethod
    def manifest(self) -> Manifest:
        """What the model takes and gives, whatever its weights are."""

    @abstractmethod
    def graph(self, weights: Mapping[str, torch.Tensor]) -> GateGraph:
        """The model with ``weights``, until the next call.

        Raises :class:`~gatescope.runtime.errors.WeightsMismatchError` for weights that do not fit.
        """

    @abstractmethod
    def difference(self, read: Checkpoint) -> str:
        """In what the model in ``read`` is another one; empty where it is the same."""

    def snapshot(self, path: Path) -> Snapshot:
        """The checkpoint at ``path``. Raises :class:`NotShownError` that says why it cannot be shown."""
        try:
            read = self._taken if path == self._taken.path else load_checkpoint(path)
            difference = self.difference(read)
        except GatescopeError as error:
            raise NotShownError(_reason(error)) from error
        except OSError as error:
            raise NotShownError(f"it cannot be read: {error.strerror or error}") from error
        if difference:
            raise NotShownError(f"another model than {self._taken.path.name}: {difference}")
        epoch = _epoch(read, path)
        if epoch is None:
            raise NotShownError("neither the file nor its name says of which epoch it is")
        used = [value for name, value in read.weights.items() if not name.startswith(TRAINING_ONLY)]
        return Snapshot(path.name, epoch, _hash(read.weights), sum(map(count_not_finite, used)), read.weights)


class RebuiltModel(TrainedModel):
    """A model that gatescope rebuilds."""

    def __init__(self, taken: Checkpoint, choices: Choices) -> None:
        super().__init__(taken, choices)
        self._description = describe(taken, choices)
        # Of a model that diverged the names and sizes are still known.
        self._finite = {
            name: torch.nan_to_num(value) if count_not_finite(value) else value
            for name, value in taken.weights.items()
        }
        used = rebuild(self._description, self._finite).state_dict()
        refuse_other_forward(taken, used, choices.frozen)

    def manifest(self) -> Manifest:
        """From the taken checkpoint's description."""
        return build_manifest(self._taken, self._description, self.graph(self._finite), "onnx", None)

    def graph(self, weights: Mapping[str, torch.Tensor]) -> VariantGraph:
        """A new one each time; the weights are not copied."""
        return VariantGraph(rebuild(self._description, weights), Variant("gates"))

    def difference(self, read: Checkpoint) -> str:
        """In sizes or preprocessing."""
        mine, theirs = describe(read, self._choices), self._description
        for one, other in ((mine.config, theirs.config), (mine.preprocessing, theirs.preprocessing)):
            for field in fields(one):
                if (value := getattr(one, field.name)) != (wanted := getattr(other, field.name)):
                    return f"{field.name} {value}, not {wanted}"
        return ""


class CodeModel(TrainedModel):
    """A model that the user's own code builds: ``factory`` is ``package.module:function``."""

    batch_size = 1  # their code may pool over padding

    def __init__(self, taken: Checkpoint, choices: Choices, factory: str) -> None:
        super().__init__(taken, choices)
        self._model = build_model(factory, taken)
        self._graph, self._manifest = gates_in_pytorch(self._model, taken, choices)

    def manifest(self) -> Manifest:
        """As the model was found to be."""
        return self._manifest

    def graph(self, weights: Mapping[str, torch.Tensor]) -> UserGraph:
        """The same one each time, with other weights."""
        load_into(self._model, weights, self._taken.wrappers)
        return self._graph

    def difference(self, read: Checkpoint) -> str:
        """In the parameters' names or shapes."""
        mine, theirs = read.weights, self._taken.weights
        for name in dict.fromkeys([*theirs, *mine]):
            found, wanted = (tuple(one[name].shape) if name in one else None for one in (mine, theirs))
            if found != wanted:
                return f"parameter {name} {found or 'missing'}, not {wanted or 'there'}"
        return ""


def _reason(error: GatescopeError) -> str:
    received = f" ({error.received.splitlines()[0]})" if error.received else ""
    return f"{error.problem}{received}"


def _epoch(read: Checkpoint, path: Path) -> int | None:
    inside = whole(read.content.get("epoch"))
    named = _IN_NAME.search(path.stem)
    return inside if inside is not None else int(named[1]) if named else None


def _hash(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
