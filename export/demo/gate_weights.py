"""Weights that make the gates respond to the sound, from the audio features to the clips' stream.

1. ``input_aud_proj``: one unit of the first block is a matched filter, the event's direction less its mean
   (LayerNorm takes the mean away before). The block's LayerNorm divides by a length that depends on TEF, on
   the clip's place; the next block's LayerNorm divides it out again, because the biases and TEF's columns
   here are 0. So channel HEARD of the projected audio says how much a clip sounds like the event: about 3
   where it is plain, about 0 elsewhere, and 0 or less where there is nothing to hear.
2. ``input_vid_proj``: in the same way channel SIGHT says how much the clip looks like the sight.
3. The gates read both by one hidden unit each, relu(hears · HEARD + sees · SIGHT − threshold), see ``GATES``.
4. ``out_proj · a_proj`` carries HEARD into channel SOUND, so what arrives is gate times HEARD; ``ffn1`` adds
   to SOUND where there is some.

What the gates of the four layers read differs, so that the report has something to show:

- Layer 0 opens on the event. Its FFN gate follows it, weakly.
- Layer 1 closes on it: a negative gate. Its branch is negated as well, so it still adds the event:
  the sign of a gate says nothing without the sign of its branch. Its FFN gate opens on the event.
- Layer 2 hardly knows it: mostly the random weights' noise.
- Layer 3 wants event and sight together: the event alone opens it a little, the sight alone not at all.
  Its FFN gate sees only the picture and opens in silent videos too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .features import SLOWFAST, event_direction, sight_direction
from .random_streams import stream
from .random_weights import CONFIG, HEARD, SIGHT, SOUND, TEF, Array, Weights

_UNIT = 0  # the hidden unit that carries a cue, wherever there is one


@dataclass(frozen=True)
class DemoReading:
    """What one gate reads: tanh(rest + slope · relu(hears · HEARD + sees · SIGHT − threshold) + noise).

    ``noise`` is the standard deviation of what the random weights add, before tanh.
    """

    rest: float
    slope: float
    hears: float
    sees: float
    threshold: float
    noise: float


@dataclass(frozen=True)
class Layer:
    """The two gates of one fusion layer, and by how much its audio branch multiplies HEARD."""

    attention: DemoReading
    ffn: DemoReading
    branch: float


GATES = (
    Layer(
        attention=DemoReading(rest=-0.03, slope=0.42, hears=1, sees=0, threshold=0.8, noise=0.05),
        ffn=DemoReading(rest=0.02, slope=0.1, hears=1, sees=0, threshold=0.8, noise=0.06),
        branch=0.8,
    ),
    Layer(
        attention=DemoReading(rest=-0.04, slope=-0.3, hears=1, sees=0, threshold=0.8, noise=0.1),
        ffn=DemoReading(rest=0.0, slope=0.25, hears=1, sees=0, threshold=0.8, noise=0.1),
        branch=-0.6,
    ),
    Layer(
        attention=DemoReading(rest=0.02, slope=0.05, hears=1, sees=0, threshold=0.5, noise=0.12),
        ffn=DemoReading(rest=-0.15, slope=0.0, hears=0, sees=0, threshold=0.0, noise=0.1),
        branch=0.3,
    ),
    Layer(
        attention=DemoReading(rest=-0.02, slope=0.45, hears=1, sees=0.6, threshold=2.2, noise=0.08),
        ffn=DemoReading(rest=-0.02, slope=0.3, hears=0, sees=1, threshold=0.8, noise=0.06),
        branch=0.5,
    ),
)


def set_gates(weights: Weights, seed: int) -> None:
    """Set everything up to the end of the fusion, in place."""
    _listen(weights, seed)
    _look(weights, seed)
    for number, layer in enumerate(GATES):
        prefix = f"fusion.fusion_layers.{number}."
        _read(weights, f"{prefix}gating_function.mlp_mha.", layer.attention, seed)
        _read(weights, f"{prefix}gating_function.mlp_ffn.", layer.ffn, seed)
        _carry(weights, prefix, layer.branch)


def _listen(weights: Weights, seed: int) -> None:
    first, second = "input_aud_proj.0.net.1.", "input_aud_proj.1.net.1."
    weights[first + "weight"][:, -TEF:] = 0
    weights[first + "bias"][:] = 0
    _matched_filter(weights[first + "weight"], event_direction(seed), 0, gain=0.28)
    weights[second + "weight"][HEARD, _UNIT] = 0.5


def _look(weights: Weights, seed: int) -> None:
    first, second = "input_vid_proj.0.net.1.", "input_vid_proj.1.net.1."
    _matched_filter(weights[first + "weight"], sight_direction(seed), SLOWFAST, gain=0.28)
    weights[first + "bias"][_UNIT] = 0
    weights[second + "weight"][SIGHT, _UNIT] = 0.5


def _matched_filter(matrix: Array, direction: np.ndarray, offset: int, gain: float) -> None:
    centred = direction - direction.mean()
    matrix[_UNIT] = 0
    matrix[_UNIT, offset : offset + len(direction)] = gain * centred / np.linalg.norm(centred)


def _read(weights: Weights, prefix: str, reading: DemoReading, seed: int) -> None:
    d = CONFIG.hidden_dim
    hidden, bias = weights[prefix + "0.weight"], weights[prefix + "0.bias"]
    hidden[_UNIT] = 0
    hidden[_UNIT, SIGHT] = reading.sees
    hidden[_UNIT, d + HEARD] = reading.hears
    bias[_UNIT] = -reading.threshold
    # Half of the units are on, each with variance 0.34; weights that sum to 0 leave no offset.
    noise = stream(seed, f"murmur of {prefix}").standard_normal(CONFIG.gate_hidden)
    noise -= noise.mean()
    out = weights[prefix + "2.weight"]
    out[0] = reading.noise * noise / np.sqrt(0.34 * CONFIG.gate_hidden)
    out[0, _UNIT] = reading.slope
    weights[prefix + "2.bias"][:] = reading.rest


def _carry(weights: Weights, prefix: str, branch: float) -> None:
    heard, said = weights[prefix + "a_proj.weight"], weights[prefix + "out_proj.weight"]
    heard[_UNIT] = 0
    heard[_UNIT, HEARD] = 1
    weights[prefix + "a_proj.bias"][_UNIT] = 0
    said[:, _UNIT] = 0
    said[SOUND, _UNIT] = branch
    grow, grown = weights[prefix + "ffn1.0.weight"], weights[prefix + "ffn1.2.weight"]
    grow[_UNIT] = 0
    grow[_UNIT, SOUND] = 1
    weights[prefix + "ffn1.0.bias"][_UNIT] = -0.5
    grown[:, _UNIT] = 0
    grown[SOUND, _UNIT] = 0.3
