"""``leaky_relu``: a PReLU with one weight is a LeakyReLU with that slope.

Rule: PReLU(x) = x where x ≥ 0, else a·x. With one weight a for all channels this is LeakyReLU(x, a), whose
slope is a constant of the graph. The numbers are the same to the last bit. It pays because ONNX Runtime's
PRelu broadcasts its slope element by element, while its LeakyRelu is one vectorised pass.
"""

from __future__ import annotations

from torch import nn

from ..families.qd_detr import GatedQDDETR


def replace_prelu(model: GatedQDDETR) -> bool:
    """Replace every PReLU that has a single weight."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.PReLU) and child.weight.numel() == 1
    ]
    for parent, name, child in found:
        setattr(parent, name, nn.LeakyReLU(float(child.weight)))
    return bool(found)
