"""Our own clean model in eager PyTorch: one pass, nothing that training alone needs, gates read by hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gatescope.export.families.attention import allow_keys
from gatescope.export.families.fusion import FusionLayer
from gatescope.export.families.qd_detr import GatedQDDETR

from .fusion import fuse
from .gate_hooks import History, copied_gates


def clean_eager(model: GatedQDDETR, batch: Mapping[str, Tensor]) -> Callable[[], History]:
    """A call moves ``batch`` to the model, runs it, and returns the gates; predictions become numpy too."""
    device = model.global_rep_token.device

    @torch.no_grad()
    def run() -> History:
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        with copied_gates(model.fusion) as history:
            for prediction in predict(model, **moved):
                prediction.float().numpy(force=True)
        return history

    return run


def predict(
    model: GatedQDDETR,
    src_txt: Tensor,
    src_txt_mask: Tensor,
    src_vid: Tensor,
    src_vid_mask: Tensor,
    src_aud: Tensor,
    src_aud_mask: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, spans and saliency."""
    video, audio = model.input_vid_proj(src_vid), model.input_aud_proj(src_aud)
    video = fuse(model.fusion, video, audio, src_vid_mask, src_aud_mask, _attend)
    return model.predict(video, src_vid_mask, src_txt, src_txt_mask)


def _attend(layer: FusionLayer, normed: Tensor, mask: Tensor) -> Tensor:
    return layer.self_attention(normed, normed, normed, allow_keys(mask))
