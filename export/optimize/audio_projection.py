"""``audio_projection``: one product for the two that carry the audio, and one normalisation for all layers.

Rules: (1) between ``a_proj`` and ``out_proj`` stands nothing, so out_proj(a_proj(x)) is one matrix;
(2) LN(x) = x̂·γ + β with x̂ the same for every layer that normalises the same x: γ and β go into that matrix,
x̂ is computed once. Saves d² products per clip and layer (2 % of a tracked sample, 4 % of the gates alone at
the training script's sizes), and all layers' normalisations but one. Not where clips attend to the audio:
a softmax stands between the two.
"""

from __future__ import annotations

from torch import nn

from ..families.fusion import FusionLayer
from ..families.qd_detr import GatedQDDETR
from .folding import chain, linear


def fold_audio_projection(model: GatedQDDETR) -> bool:
    """Fold every layer's audio projections; the fusion normalises the audio for all of them."""
    layers = [layer for layer in model.fusion.fusion_layers if isinstance(layer, FusionLayer)]
    if any(layer.attends_audio for layer in layers):
        return False
    for layer in layers:
        norm = layer.norm1
        weight, bias = chain(layer.a_proj, layer.out_proj)
        bias = weight @ norm.bias.double() + bias
        layer.audio_projection = linear(weight * norm.weight.double(), bias, layer.a_proj.weight)
        model.fusion.audio_norm = nn.LayerNorm(model.config.hidden_dim, norm.eps, elementwise_affine=False)
        del layer.norm1, layer.a_proj, layer.out_proj
    return True
