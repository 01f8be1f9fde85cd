"""What exporting and verifying need of a model, whether gatescope rebuilt it or the user built it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...runtime.array_types import Float32s
from ...runtime.gates.preprocessing import Preprocessing
from ..families.choices import Choices
from ..families.encoder import Excerpt
from ..graph.variant import Axes, Variant, VariantGraph
from ..reading.checkpoint import Checkpoint
from ..reading.code import find_code
from ..reading.facts import describe
from ..reading.options import whole
from ..reading.rebuild import rebuild
from .causes import DifferenceCause, preprocessing_causes, rebuilding_causes

_SCRIPTS_BATCH_SIZE = 100


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


class Excerpts(Protocol):
    """Runs a few samples of a batch so that each gives the numbers it gives in the whole of it."""

    def __call__(
        self,
        few: Mapping[str, Float32s],
        lengths: Sequence[tuple[int, int]],
        places: tuple[int, ...],
        /,
    ) -> Mapping[str, Float32s]:
        """Outputs of ``few``, a batch of its own of the samples at ``places`` in the whole one.

        ``lengths``: clips and words of every sample of the whole batch.
        """
        ...


@dataclass(frozen=True)
class WayOn:
    """What is left to do where no cause explains the difference.

    ``advice`` in a sentence; ``options``: those that, added to the same command, do it, none where that takes
    something only the user knows.
    """

    advice: str
    options: tuple[str, ...] = ()


class Subject(Protocol):
    """A model that can be run under other choices than the user's, to find out which are right."""

    def graph(self, choices: Choices, variant: Variant) -> Graph:
        """The model under ``choices`` as a graph."""
        ...

    def excerpts(self, choices: Choices) -> Excerpts | None:
        """How to run a few samples of a batch under ``choices``; None where only whole batches will do."""
        ...

    def preprocessing(self, choices: Choices) -> Preprocessing:
        """The recipe under ``choices``."""
        ...

    def causes(self, choices: Choices, folders: Mapping[str, Path]) -> list[DifferenceCause]:
        """What may be wrong with ``choices``; ``folders`` says where each video source lies."""
        ...

    def batch_sizes(self) -> tuple[int, ...]:
        """What training may have evaluated with, the likeliest first."""
        ...

    @property
    def way_on(self) -> WayOn:
        """What is left to do where no other choices explain the difference."""
        ...


class CheckpointSubject:
    """A checkpoint whose model gatescope rebuilds."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def graph(self, choices: Choices, variant: Variant) -> VariantGraph:
        """The rebuilt model as a graph."""
        return VariantGraph(rebuild(describe(self._checkpoint, choices), self._checkpoint.weights), variant)

    def excerpts(self, choices: Choices) -> Excerpts:
        """The rebuilt model; all that passes between the samples of a batch is known."""
        graph = self.graph(choices, Variant("plain"))

        def run(
            few: Mapping[str, Float32s], lengths: Sequence[tuple[int, int]], places: tuple[int, ...]
        ) -> Mapping[str, Float32s]:
            clips, words = (_mask(several) for several in zip(*lengths, strict=True))
            graph.model.transformer.t2v_encoder.excerpt = Excerpt(clips, words, places)
            return graph.run({name: _padded(name, value, clips, words) for name, value in few.items()})

        return run

    def preprocessing(self, choices: Choices) -> Preprocessing:
        """The recipe in the checkpoint's options."""
        return describe(self._checkpoint, choices).preprocessing

    def causes(self, choices: Choices, folders: Mapping[str, Path]) -> list[DifferenceCause]:
        """Everything the weights leave open, and the preprocessing."""
        return [
            *rebuilding_causes(self._checkpoint, choices),
            *preprocessing_causes(choices, self.preprocessing(choices), folders),
        ]

    def batch_sizes(self) -> tuple[int, ...]:
        """The one recorded, the training script's default, and one by one."""
        return likely_batch_sizes(self._checkpoint.options)

    @property
    def way_on(self) -> WayOn:
        """The code that trained it builds the model."""
        why = "The weights fit, but the code that trained them may compute something else: "
        code = find_code(self._checkpoint.path.parent)
        if code is None:
            return WayOn(
                f"{why}let that code build the model, with --code code.zip|FOLDER or "
                "--model package.module:factory"
            )
        return WayOn(
            f"{why}let that code, which lies next to the checkpoint, build it", ("--code", str(code))
        )


def likely_batch_sizes(options: Mapping[str, Any]) -> tuple[int, ...]:
    """What training may have evaluated with: as in its ``options``, the script's default, one by one."""
    recorded = whole(options.get("eval_bsz"))
    return tuple(dict.fromkeys(size for size in (recorded, _SCRIPTS_BATCH_SIZE, 1) if size and size > 0))


def _mask(lengths: Sequence[int]) -> Tensor:
    """Lengths of a batch's samples as its mask (B, longest)."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).float()


def _padded(name: str, value: Float32s, clips: Tensor, words: Tensor) -> Float32s:
    """An input of a few samples, padded as the batch whose masks are given."""
    longest = (words if name.startswith("src_txt") else clips).shape[1]
    more = [(0, 0), (0, longest - value.shape[1]), *[(0, 0)] * (value.ndim - 2)]
    return np.pad(value, more)
