"""Weights that make the decoder choose moments: ten fixed windows, each scored by what its clips have.

A real decoder moves its windows; this one only chooses among them, which is enough to see what the gates do
to moments. ``query_embed`` holds seven short windows side by side and three long ones. In both layers:

- Cross-attention compares places: the position halves of two heads get the same sine codes of window and
  clip, so that a clip's score is Σ cos((x − c) / f) over a few frequencies f, a bell around the window's
  centre c. The decoder divides by the window's width, so narrow windows have narrow bells.
- Head 0's bell is steep: what it brings is RELEVANT inside the window. Head 1's is flat: RELEVANT around it.
  Inside less half of around goes into channel FOUND, which the class reads.
"""

from __future__ import annotations

import numpy as np

from .random_weights import CONFIG, FOUND, RELEVANT, Weights

_WINDOWS = [(0.07 + 0.143 * i, 0.12) for i in range(7)] + [(c, 0.3) for c in (0.17, 0.5, 0.83)]
_INSIDE, _AROUND = 0, 1
_STEEP, _FLAT = 3.5, 1.2
_FREQUENCIES = 8
_PER_HEAD = CONFIG.hidden_dim // CONFIG.heads


def set_windows(weights: Weights) -> None:
    """Set the windows, the cross-attention's positions and the class, in place."""
    places = np.array(_WINDOWS)
    weights["query_embed.weight"][:] = np.log(places / (1 - places))
    for layer in range(CONFIG.decoder_layers):
        _attend_places(weights, f"transformer.decoder.layers.{layer}.")
        _bring(weights, f"transformer.decoder.layers.{layer}.")
    weights["class_embed.weight"][:, FOUND] = (0.8, -0.8)
    weights["class_embed.bias"][:] = (-1.0, 1.0)


def _attend_places(weights: Weights, prefix: str) -> None:
    """Clips' codes have 256 channels, a window's centre has 128: every second frequency is the same."""
    query, key = weights[prefix + "ca_qpos_sine_proj.weight"], weights[prefix + "ca_kpos_proj.weight"]
    for head, height in ((_INSIDE, _STEEP), (_AROUND, _FLAT)):
        rows = slice(head * _PER_HEAD, (head + 1) * _PER_HEAD)
        query[rows], key[rows] = 0, 0
        for pair in range(_FREQUENCIES):
            for part in range(2):  # sine, cosine
                row = head * _PER_HEAD + 2 * pair + part
                query[row, 2 * pair + part] = height
                key[row, 4 * pair + part] = height
        # Places alone decide where these heads look. Only the first layer has the second projection.
        for name in ("ca_qcontent_proj", "ca_qpos_proj"):
            if prefix + name + ".weight" in weights:
                weights[prefix + name + ".weight"][rows] = 0
                weights[prefix + name + ".bias"][rows] = 0


def _bring(weights: Weights, prefix: str) -> None:
    """RELEVANT inside the window less half of RELEVANT around it, into FOUND."""
    values, out = weights[prefix + "ca_v_proj.weight"], weights[prefix + "cross_attn.out_proj.weight"]
    for head, share in ((_INSIDE, 1.0), (_AROUND, -0.5)):
        row = head * _PER_HEAD
        values[row] = 0
        values[row, RELEVANT] = 1
        weights[prefix + "ca_v_proj.bias"][row] = 0
        out[:, row] = 0
        out[FOUND, row] = share
