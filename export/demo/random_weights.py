"""The seeded random weights under the planted ones: every parameter of the real model, small and random.

On these weights the other files set a few rows by hand. Numbers that training would have made are needed
too: with zeros everywhere else the gates would be two values and every statistic of them a curiosity.

Some channels of the clips' stream carry the demo's meaning from layer to layer. Random weights write nothing
into them, so what they hold is what was put there, up to the normalisations on the way.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..families.config import ModelConfig
from ..families.qd_detr import GatedQDDETR
from .features import CLIP, PANN, SLOWFAST, TEXT
from .random_streams import stream

Array = NDArray[np.float32]
Weights = dict[str, Array]

TEF = 2

CONFIG = ModelConfig(
    gating="clipwise",
    attention_activation="tanh",
    batching="reference",
    video_width=SLOWFAST + CLIP + TEF,
    audio_width=PANN + TEF,
    text_width=TEXT,
    hidden_dim=256,
    input_projections=2,
    fusion_layers=4,
    fusion_heads=4,
    fusion_feedforward=1024,
    gate_hidden=128,
    encoder_layers=2,
    t2v_layers=2,
    decoder_layers=2,
    heads=8,
    feedforward=1024,
    queries=10,
    text_positions=True,
    max_words=32,
)

# Channels of the clips' stream: the event was heard, the sight is seen, what the query asks for (+ sound,
# − sight), the clip has what was asked for, and, in the decoder, the window has it.
SOUND, SIGHT, ASKED, RELEVANT, FOUND = range(5)
RESERVED = slice(0, 5)
# Channel of the projected audio that says how much the clip sounds like the event.
HEARD = 0

# How large the random weights are, relative to what keeps the size of its input: inputs must fill the stream,
# the rest only ripples it.
_SCALES = (
    (re.compile(r"input_\w+_proj\.|gating_function\.\w+\.0\."), 1.0),
    (re.compile(r"bbox_embed\.layers\.2|span_embed\.layers\.2|class_embed"), 0.02),
    (re.compile(""), 0.3),
)
# Matrices whose rows are channels of the clips' stream, the words' or the decoder's content.
_INTO_STREAM = re.compile(
    r"input_(vid|txt)_proj\.1\.net\.1\.|ffn[12]\.2\.|linear2\.|out_proj\.|^global_rep_token$|input_aud_proj\.1\.net"
)


def random_weights(seed: int) -> Weights:
    """Every parameter of a full-size checkpoint by name, ``txt_position_embed`` included; float32."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in GatedQDDETR(CONFIG).state_dict().items()}
    return {name: _parameter(seed, name, shape) for name, shape in shapes.items()}


def _parameter(seed: int, name: str, shape: tuple[int, ...]) -> Array:
    noise: NDArray[Any] = stream(seed, f"weights of {name}").standard_normal(shape)
    if "activation" in name:
        values = 0.25 + 0.01 * noise
    elif "norm" in name.lower():
        values = 0.02 * noise + (1.0 if name.endswith("weight") else 0.0)
    elif name.startswith("global_rep_"):
        values = noise
    elif len(shape) == 1:
        values = 0.02 * noise
    else:
        scale = next(scale for pattern, scale in _SCALES if pattern.search(name))
        values = scale / np.sqrt(shape[1]) * noise
    if _INTO_STREAM.search(name):
        values[RESERVED] = 0
    return values.astype(np.float32)
