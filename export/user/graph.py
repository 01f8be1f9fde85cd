"""A user's model as a graph with its gates among its outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...runtime.array_types import Float32s
from ...runtime.gates.manifest import Summary
from ...runtime.gates.shape import GateShape
from ...runtime.gates.vocabulary import SUMMARY_FIELDS
from ..families.summary import summary_of_gates
from ..graph.variant import Axes, Variant
from .places import GatePlace

PREDICTION_AXES: dict[str, tuple[str, ...]] = {
    "pred_logits": ("batch", "query", "class"),
    "pred_spans": ("batch", "query", "span"),
    "saliency_scores": ("batch", "clip"),
}


@dataclass(frozen=True)
class Anatomy:
    """What was learnt of a user's model by running it.

    - ``places``: by kind, where each layer's gate is. ``shapes``: by kind, what the gates look like.
    - ``predictions``: axes of those predictions it returns.
    - ``input_axes``: axes of the inputs its forward takes by keyword, features with their widths.
    - ``hidden_dim``: channels of the stream that the gates act on.
    """

    places: dict[str, tuple[GatePlace, ...]]
    shapes: dict[str, GateShape]
    predictions: dict[str, Axes]
    input_axes: dict[str, Axes]
    hidden_dim: int

    @property
    def layers(self) -> int:
        """Number of fusion layers."""
        return max(len(places) for places in self.places.values())

    @property
    def summaries(self) -> dict[str, Summary]:
        """By kind, the output with the statistics of its gates."""
        return {kind: Summary(f"summary_{kind}") for kind in self.shapes}


class UserGraph(nn.Module):
    """The user's ``model`` and, next to what it predicts, the gates of the first pass through its fusion.

    ``needed``: the inputs that matter for what is returned; the others are made up inside, where nothing
    depends on them, and so leave the graph.
    """

    def __init__(self, model: nn.Module, anatomy: Anatomy, variant: Variant, needed: Collection[str]) -> None:
        super().__init__()
        self.model = model
        self.anatomy = anatomy
        self.variant = variant
        self.needed = tuple(name for name in anatomy.input_axes if name in needed)
        for kind, shape in anatomy.shapes.items():
            ranges = torch.tensor([one.range for one in shape.layers])
            self.register_buffer(f"{kind}_ranges", ranges, persistent=False)
        self.eval()

    @property
    def gate_shapes(self) -> tuple[GateShape, ...]:
        """What the gates of each kind look like."""
        return tuple(self.anatomy.shapes.values())

    @property
    def input_axes(self) -> dict[str, Axes]:
        """Axes of every input, by name, in order."""
        return {name: self.anatomy.input_axes[name] for name in self.needed}

    @property
    def output_axes(self) -> dict[str, Axes]:
        """Axes of every output, by name, in order."""
        axes: dict[str, Axes] = dict(self.anatomy.predictions) if self.variant.predicts else {}
        for kind, shape in self.anatomy.shapes.items():
            if self.variant.outputs in ("tracked", "gates"):
                axes[shape.output] = shape.sizes
            if self.variant.outputs == "summary":
                output = self.anatomy.summaries[kind].output
                axes[output] = ("batch", len(shape.layers), len(SUMMARY_FIELDS))
        return axes

    def forward(
        self,
        src_txt: Tensor | None = None,
        src_txt_mask: Tensor | None = None,
        src_vid: Tensor | None = None,
        src_vid_mask: Tensor | None = None,
        src_aud: Tensor | None = None,
        src_aud_mask: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The outputs named by ``output_axes``, from the inputs named by ``input_axes``."""
        given = {
            "src_txt": src_txt,
            "src_txt_mask": src_txt_mask,
            "src_vid": src_vid,
            "src_vid_mask": src_vid_mask,
            "src_aud": src_aud,
            "src_aud_mask": src_aud_mask,
        }
        inputs = self._complete({name: value for name, value in given.items() if value is not None})
        gates, predicted = self._watched(inputs)
        outputs: list[Tensor] = []
        if self.variant.predicts:
            outputs += [predicted[name] for name in self.anatomy.predictions]
        for kind, shape in self.anatomy.shapes.items():
            stacked = torch.stack(gates[kind], 1)
            if self.variant.outputs in ("tracked", "gates"):
                outputs.append(stacked)
            if self.variant.outputs == "summary":
                ranges: Tensor = getattr(self, f"{kind}_ranges")
                mask = inputs["src_vid_mask"]
                outputs.append(summary_of_gates(stacked, mask, ranges, per_clip=shape.per_clip))
        return tuple(outputs)

    def run(self, batch: Mapping[str, Float32s]) -> dict[str, Float32s]:
        """Run the user's model on arrays, with all the inputs it takes: outputs by name."""
        inputs = {name: torch.from_numpy(batch[name]) for name in self.anatomy.input_axes}
        with torch.inference_mode():
            outputs = self(**inputs)
        return {name: value.numpy() for name, value in zip(self.output_axes, outputs, strict=True)}

    def _complete(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Make up the inputs nothing depends on: features of zeros, masks of ones."""
        example = next(iter(inputs.values()))
        lengths = {"batch": example.shape[0], "word": 1}
        for name, value in inputs.items():
            lengths[str(self.anatomy.input_axes[name][1])] = value.shape[1]
        for name, axes in self.anatomy.input_axes.items():
            if name not in inputs:
                shape = [lengths[axis] if isinstance(axis, str) else axis for axis in axes]
                inputs[name] = example.new_ones(shape) if len(axes) == 2 else example.new_zeros(shape)
        return inputs

    def _watched(self, inputs: dict[str, Tensor]) -> tuple[dict[str, list[Tensor]], Mapping[str, Tensor]]:
        """Gates by kind and layer, and what the model returned."""
        found: dict[str, dict[int, Tensor]] = {kind: {} for kind in self.anatomy.places}
        handles: list[Any] = []
        for kind, places in self.anatomy.places.items():
            for layer, place in enumerate(places):

                def keep(
                    _module: nn.Module,
                    _args: Any,
                    output: Any,
                    kind: str = kind,
                    layer: int = layer,
                    place: GatePlace = place,
                ) -> None:
                    # A fusion that runs a second time does so for the negative pair.
                    found[kind].setdefault(layer, place.take(output))

                handles.append(self.model.get_submodule(place.owner).register_forward_hook(keep))
        try:
            predicted = self.model(**inputs)
        finally:
            for handle in handles:
                handle.remove()
        gates = {kind: [one[layer] for layer in sorted(one)] for kind, one in found.items()}
        return gates, predicted
