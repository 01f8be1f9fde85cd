"""``flat_products``: samples and their clips become one axis around every product with a weight matrix.

Rule: x·Wᵀ + b for x (B, N, k) is the same for x (B·N, k), shape restored afterwards. On two axes the product
and its bias are one Gemm of ONNX, on three they are a MatMul and an Add, which reads and writes every result
once more. Pays 1 to 2 % on the CPU; it is last, because it replaces the layers that others look for.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..families.attention import MultiheadAttention, attend
from ..families.qd_detr import GatedQDDETR
from .folding import linear


class FlatLinear(nn.Module):
    """A Linear layer that sees two axes, whatever it is given."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias: Tensor | None = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        if x.ndim == 2:
            return F.linear(x, self.weight, self.bias)
        return F.linear(x.flatten(0, -2), self.weight, self.bias).unflatten(0, x.shape[:-1])


class FlatAttention(nn.Module):
    """A :class:`MultiheadAttention` whose four projections are flat."""

    def __init__(self, attention: MultiheadAttention) -> None:
        super().__init__()
        self.heads = attention.heads
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        like = attention.in_proj_weight
        self.query, self.key, self.value = (
            FlatLinear(linear(weight, bias, like)) for weight, bias in zip(weights, biases, strict=True)
        )
        self.out = FlatLinear(attention.out_proj)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """As :meth:`MultiheadAttention.forward`."""
        return self.out(attend(self.query(query), self.key(key), self.value(value), self.heads, mask))

    def of_one(self, key: Tensor) -> Tensor:
        """As :meth:`MultiheadAttention.of_one`."""
        return self.out(self.value(key))


def flatten_products(model: GatedQDDETR) -> bool:
    """Replace every Linear layer and every attention's projections."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, FlatLinear(child))
            elif isinstance(child, MultiheadAttention):
                setattr(parent, name, FlatAttention(child))
    return True
