"""Statistics of gates computed inside the graph: what a service can afford to fetch for every request."""

from __future__ import annotations

import torch
from torch import Tensor

from ...runtime.gates.vocabulary import RAIL, SUMMARY_BINS


def summary_of_gates(gates: Tensor, mask: Tensor, ranges: Tensor, *, per_clip: bool) -> Tensor:
    """Statistics over valid entries, (B, layer, field) in the order of ``SUMMARY_FIELDS``.

    ``gates`` (B, layer, L | 1, C), ``mask`` (B, L), ``ranges`` (layer, 2): each layer's smallest and largest
    value. ``per_clip``: there is one per clip; if not, one value counts once per sample.
    """
    weight = mask[:, None, :, None].expand_as(gates) if per_clip else torch.ones_like(gates)
    values, weight = gates.flatten(2), weight.flatten(2)
    low, high = ranges[:, :1], ranges[:, 1:]
    far = torch.full_like(values, torch.inf)
    statistics = (
        weight.sum(-1),
        (values * weight).sum(-1),
        (values.square() * weight).sum(-1),
        (values.abs() * weight).sum(-1),
        torch.where(weight > 0, values, far).amin(-1),
        torch.where(weight > 0, values, -far).amax(-1),
        ((values <= low + RAIL) * weight).sum(-1),
        ((values >= high - RAIL) * weight).sum(-1),
    )
    place = (
        ((values - low) / (high - low).clamp(min=1e-12) * SUMMARY_BINS)
        .floor()
        .clamp(0, SUMMARY_BINS - 1)
        .long()
    )
    bins = values.new_zeros(*values.shape[:2], SUMMARY_BINS).scatter_add(2, place, weight)
    return torch.cat((torch.stack(statistics, -1), bins), -1)
