"""What exporting and verifying need of a model, whether gatescope rebuilt it or the user built it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ...runtime.array_types import Float32s
from ...runtime.gates.preprocessing import Preprocessing
from ..families.choices import Choices
from ..graph.variant import Axes, Variant, VariantGraph
from ..reading.checkpoint import Checkpoint
from ..reading.facts import describe
from ..reading.rebuild import rebuild
from .causes import DifferenceCause, preprocessing_causes, rebuilding_causes


class Graph(Protocol):
    """A module ready to be captured: keyword tensors in, a tuple of tensors out."""

    @property
    def variant(self) -> Variant:
        """What it returns and takes in addition to the features."""
        ...

    @property
    def input_axes(self) -> dict[str, Axes]:
        """Axes of every input, by name, in order."""
        ...

    @property
    def output_axes(self) -> dict[str, Axes]:
        """Axes of every output, by name, in order."""
        ...

    def run(self, batch: Mapping[str, Float32s]) -> dict[str, Float32s]:
        """Run in PyTorch on arrays; inputs the graph does not need are ignored."""
        ...


class Subject(Protocol):
    """A model that can be run under other choices than the user's, to find out which are right.

    ``last_resort``: a sentence on what is left to do where none of them is, with a space at its end.
    """

    last_resort: str

    def graph(self, choices: Choices, variant: Variant) -> Graph:
        """The model under ``choices`` as a graph."""
        ...

    def preprocessing(self, choices: Choices) -> Preprocessing:
        """The recipe under ``choices``."""
        ...

    def causes(self, choices: Choices, folders: Mapping[str, Path]) -> list[DifferenceCause]:
        """What may be wrong with ``choices``; ``folders`` says where each video source lies."""
        ...


class CheckpointSubject:
    """A checkpoint whose model gatescope rebuilds."""

    last_resort = (
        "The training code's forward pass may be another branch's, although its weights have the same names: "
        "let your own code build the model (--model package.module:factory). "
    )

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def graph(self, choices: Choices, variant: Variant) -> VariantGraph:
        """The rebuilt model as a graph."""
        return VariantGraph(rebuild(describe(self._checkpoint, choices), self._checkpoint.weights), variant)

    def preprocessing(self, choices: Choices) -> Preprocessing:
        """The recipe in the checkpoint's options."""
        return describe(self._checkpoint, choices).preprocessing

    def causes(self, choices: Choices, folders: Mapping[str, Path]) -> list[DifferenceCause]:
        """Everything the weights leave open, and the preprocessing."""
        description = describe(self._checkpoint, choices)
        return [
            *rebuilding_causes(choices, description.config),
            *preprocessing_causes(choices, description.preprocessing, folders),
        ]
