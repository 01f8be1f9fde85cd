"""Which graph to export: what it returns, and whether its gates can be changed from outside.

- ``tracked``: predictions and gates. ``plain``: predictions alone, the baseline that shows what tracking
  costs. ``gates``: ends at the last gate. ``summary``: predictions and in-graph statistics of the gates.
- ``contribution`` adds, per layer, kind and clip, how far the gated branch moves the stream.
- ``overridable`` adds two inputs per kind, g' = scale · g + offset.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...runtime.array_types import Float32s
from ...runtime.errors import UsageError
from ...runtime.gates.manifest import Override, Summary
from ...runtime.gates.shape import GateShape
from ...runtime.gates.vocabulary import GATE_KINDS, SUMMARY_FIELDS, OutputsKind, Precision
from ..families.family import FAMILIES
from ..families.fusion import Fused
from ..families.qd_detr import GatedQDDETR
from ..families.summary import summary_of_gates

CONTRIBUTION_OUTPUTS = {kind: f"contribution_{kind}" for kind in GATE_KINDS}
SUMMARIES = {kind: Summary(f"summary_{kind}") for kind in GATE_KINDS}
OVERRIDES = {kind: Override(f"{kind}_scale", f"{kind}_offset") for kind in GATE_KINDS}

Axes = tuple[str | int, ...]


@dataclass(frozen=True)
class Variant:
    """What a graph returns and takes in addition to the features."""

    outputs: OutputsKind = "tracked"
    contribution: bool = False
    overridable: bool = False

    def __post_init__(self) -> None:
        if self.contribution and self.outputs in ("plain", "summary"):
            raise UsageError(
                f"--contribution has no place in a '{self.outputs}' export",
                expected="--outputs tracked or gates",
            )

    @property
    def predicts(self) -> bool:
        """Whether it returns predictions, which need the query."""
        return self.outputs != "gates"


class VariantGraph(nn.Module):
    """A model as the graph of one variant: tensors in by name, a tuple out as ``output_axes`` orders it.

    With ``precision`` float16 it computes in half precision; what it takes and gives stays float32.
    """

    def __init__(self, model: GatedQDDETR, variant: Variant, precision: Precision = "float32") -> None:
        super().__init__()
        self.model = model if variant.predicts else model.up_to_the_gates()
        self.half_precision = precision == "float16"
        if self.half_precision:
            self.model = copy.deepcopy(self.model).half()
        self.variant = variant
        for shape in model.fusion.gate_shapes:
            ranges = torch.tensor([one.range for one in shape.layers])
            self.register_buffer(f"{shape.kind}_ranges", ranges, persistent=False)
        self.eval()

    @property
    def input_axes(self) -> dict[str, Axes]:
        """Axes of every input the graph needs, by name, in order."""
        config, family = self.model.config, FAMILIES[self.model.config.family]
        axes: dict[str, Axes] = {}
        if self.variant.predicts or family.words_first:
            axes |= {"src_txt": ("batch", "word", config.text_width), "src_txt_mask": ("batch", "word")}
        axes["src_vid"] = "batch", "clip", config.video_width
        if self.variant.predicts or family.gates_read_video_mask(config):
            axes["src_vid_mask"] = "batch", "clip"
        axes["src_aud"] = "batch", "clip", config.audio_width
        reads = family.reads_audio_mask if self.variant.predicts else family.gates_read_audio_mask
        if reads(config):
            axes["src_aud_mask"] = ("batch", "clip")
        if self.variant.overridable:
            for shape in self.gate_shapes:
                override = OVERRIDES[shape.kind]
                axes |= {override.scale: shape.sizes, override.offset: shape.sizes}
        return axes

    @property
    def gate_shapes(self) -> tuple[GateShape, ...]:
        """What the gates of each kind look like."""
        return self.model.fusion.gate_shapes

    @property
    def output_axes(self) -> dict[str, Axes]:
        """Axes of every output, by name, in order."""
        config, variant = self.model.config, self.variant
        axes: dict[str, Axes] = {}
        if variant.predicts:
            axes |= {
                "pred_logits": ("batch", config.queries, 2),
                "pred_spans": ("batch", config.queries, 2),
                "saliency_scores": ("batch", "clip"),
            }
        if variant.outputs in ("tracked", "gates"):
            axes |= {shape.output: shape.sizes for shape in self.gate_shapes}
        if variant.outputs == "summary":
            shape = ("batch", config.fusion_layers, len(SUMMARY_FIELDS))
            axes |= {summary.output: shape for summary in SUMMARIES.values()}
        if variant.contribution:
            axes |= dict.fromkeys(CONTRIBUTION_OUTPUTS.values(), ("batch", config.fusion_layers, "clip"))
        return axes

    def forward(
        self,
        src_txt: Tensor | None = None,
        src_txt_mask: Tensor | None = None,
        src_vid: Tensor | None = None,
        src_vid_mask: Tensor | None = None,
        src_aud: Tensor | None = None,
        src_aud_mask: Tensor | None = None,
        attention_scale: Tensor | None = None,
        attention_offset: Tensor | None = None,
        ffn_scale: Tensor | None = None,
        ffn_offset: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The outputs named by ``output_axes``, from the inputs named by ``input_axes``."""
        assert src_vid is not None and src_aud is not None
        if src_vid_mask is None:  # nothing the graph returns depends on it
            src_vid_mask = torch.ones_like(src_vid[..., 0])
        # Masks stay float32: positions and means are counted in it.
        src_vid, src_aud = self._narrow(src_vid), self._narrow(src_aud)
        overrides: dict[str, tuple[Tensor, Tensor]] = {}
        if attention_scale is not None and attention_offset is not None:
            overrides["attention"] = self._narrow(attention_scale), self._narrow(attention_offset)
        if ffn_scale is not None and ffn_offset is not None:
            overrides["ffn"] = self._narrow(ffn_scale), self._narrow(ffn_offset)
        audio_mask = src_vid_mask if src_aud_mask is None else src_aud_mask
        words = None if src_txt is None else self._narrow(src_txt)
        fused: Fused = self.model.fuse(
            src_vid, src_vid_mask, src_aud, audio_mask, overrides, words, src_txt_mask
        )
        gates = [self._widen(kind) for kind in fused.gates]
        outputs: list[Tensor] = []
        if self.variant.predicts:
            assert words is not None and src_txt_mask is not None
            outputs += self.model.predict(fused.video, src_vid_mask, words, src_txt_mask)
        if self.variant.outputs in ("tracked", "gates"):
            outputs += gates
        if self.variant.outputs == "summary":
            for shape, values in zip(self.gate_shapes, gates, strict=True):
                ranges: Tensor = getattr(self, f"{shape.kind}_ranges")
                outputs.append(summary_of_gates(values, src_vid_mask, ranges, per_clip=shape.per_clip))
        if self.variant.contribution:
            outputs += fused.contributions
        return tuple(map(self._widen, outputs))

    def _narrow(self, x: Tensor) -> Tensor:
        return x.half() if self.half_precision else x

    def _widen(self, x: Tensor) -> Tensor:
        return x.float() if self.half_precision else x

    def run(self, batch: Mapping[str, Float32s]) -> dict[str, Float32s]:
        """Run in PyTorch on arrays: outputs by name.

        Inputs the graph does not need are ignored; overrides left out are neutral.
        """
        needed = {name: torch.from_numpy(batch[name]) for name in self.input_axes if name in batch}
        with torch.inference_mode():
            outputs = self(**needed)
        return {name: value.numpy() for name, value in zip(self.output_axes, outputs, strict=True)}
