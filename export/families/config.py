"""The sizes and choices that define one model; every number comes from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.gates.gatings import GATINGS
from ...runtime.gates.vocabulary import Activation, Batching, Family, Gating

# The decoder's reference points are encoded by 128 channels for the centre and 128 for the width.
HIDDEN_DIM = 256


@dataclass(frozen=True)
class SsmConfig:
    """Shape of a diagonal-strip SSM gate.

    - ``band_width``: diagonals on either side of the main one. ``channels``: of the encoder.
    - ``dilations``: of its width-3 convolutions. ``diag_subtract``: taken off the main diagonal.
    - ``video_branch``: whether the video's similarity counts as well as the audio's.
    """

    band_width: int
    channels: int
    dilations: tuple[int, ...]
    diag_subtract: float
    video_branch: bool
    gate_hidden: int


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a QD-DETR model with a gated audio-video fusion.

    - ``family``: which training code's fusion it has.
    - ``gating``: over which axes its gates have values of their own.
    - ``attention_activation``: what bounds the attention gate; the FFN gate is always tanh.
    - ``gate_temperature``, ``film``, ``ssm``: of families whose gates have them.
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
    family: Family = "avigate_custom"
    gate_temperature: float = 1.5
    film: bool = False
    ssm: SsmConfig | None = None

    @property
    def pooled(self) -> bool:
        """Whether a layer has one gate for the whole video."""
        return not GATINGS[self.gating].per_clip

    @property
    def gate_channels(self) -> int:
        """Channels of a gate: 1, or ``hidden_dim``."""
        return self.hidden_dim if GATINGS[self.gating].per_channel else 1
