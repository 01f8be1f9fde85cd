"""Every rewrite by name, and their application to a model before it is captured.

A rewrite takes a model and changes it in place: it requires eval mode and float32 weights, ensures outputs
equal up to rounding (one rounding of weights multiplied in float64 besides), and says whether it changed
anything. What a rewrite makes of a model need not load checkpoints any more: it lives until it is captured.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch

from ...runtime.errors import UsageError
from ..families.qd_detr import GatedQDDETR
from .audio_projection import fold_audio_projection
from .few_queries import project_queries_not_clips
from .first_decoder_layer import compute_first_decoder_layer
from .flat_products import flatten_products
from .gate_perceptrons import split_gate_perceptrons
from .leaky_relu import replace_prelu
from .saliency import project_token_not_clips

Rewrite = Callable[[GatedQDDETR], bool]

# In the order in which they are applied.
REWRITES: dict[str, Rewrite] = {
    "leaky_relu": replace_prelu,
    "audio_projection": fold_audio_projection,
    "gate_perceptrons": split_gate_perceptrons,
    "few_queries": project_queries_not_clips,
    "first_decoder_layer": compute_first_decoder_layer,
    "saliency": project_token_not_clips,
    "flat_products": flatten_products,
}


def choose_rewrites(wanted: str) -> tuple[str, ...]:
    """The names in ``wanted``: ``all``, ``none``, or some of :data:`REWRITES` separated by commas.

    Raises :class:`~gatescope.runtime.errors.UsageError` for any other word.
    """
    if wanted == "all":
        return tuple(REWRITES)
    if wanted == "none":
        return ()
    names = [name.strip() for name in wanted.split(",")]
    unknown = [name for name in names if name not in REWRITES]
    if unknown:
        raise UsageError(
            "there is no such rewrite of the model",
            received=", ".join(map(repr, unknown)),
            expected=f"all, none, or some of {', '.join(REWRITES)}",
        )
    return tuple(name for name in REWRITES if name in names)


def optimize(model: GatedQDDETR, names: Sequence[str]) -> tuple[GatedQDDETR, tuple[str, ...]]:
    """A copy of ``model`` with the rewrites ``names`` applied, and those that changed anything.

    ``model`` stays as it is; the copy shares its weights where no rewrite touches them.
    """
    rewritten = _copy(model)
    with torch.no_grad():
        applied = tuple(name for name, rewrite in REWRITES.items() if name in names and rewrite(rewritten))
    return rewritten.eval(), applied


def _copy(model: GatedQDDETR) -> GatedQDDETR:
    """New copies of the modules around the same weights."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo=dict(shared))
