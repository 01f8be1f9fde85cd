"""The sizes and choices that define one model; every number comes from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Gating = Literal["global", "clipwise", "elementwise"]
Activation = Literal["tanh", "sigmoid"]
Batching = Literal["exact", "reference"]

# The decoder's reference points are encoded by 128 channels for the centre and 128 for the width.
HIDDEN_DIM = 256


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a QD-DETR model with a gated audio-video fusion.

    - ``gating``: one gate a layer (``global``), a clip (``clipwise``), a clip and channel (``elementwise``).
    - ``attention_activation``: what bounds the attention gate; the FFN gate is always tanh.
    - ``batching``: ``exact`` makes a sample's outputs independent of its batch; ``reference`` repeats what
      the reference does to padded batches (mean over padding, tiled text mask).
    - widths are channels of the raw inputs, TEF included; ``*_layers``, ``*_heads`` are counts.
    - ``text_positions``: learned positions are added to the words; ``max_words`` is the table's length.
    """

    gating: Gating
    attention_activation: Activation
    batching: Batching
    video_width: int
    audio_width: int
    text_width: int
    hidden_dim: int
    input_projections: int
    fusion_layers: int
    fusion_heads: int
    fusion_feedforward: int
    gate_hidden: int
    encoder_layers: int
    t2v_layers: int
    decoder_layers: int
    heads: int
    feedforward: int
    queries: int
    text_positions: bool
    max_words: int

    @property
    def gate_range(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value per kind of gate."""
        return {
            "attention": (-1.0, 1.0) if self.attention_activation == "tanh" else (0.0, 1.0),
            "ffn": (-1.0, 1.0),
        }
