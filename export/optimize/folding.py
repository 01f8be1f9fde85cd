"""Products of weights, computed in float64 and rounded once."""

from __future__ import annotations

from torch import Tensor, nn


def linear(weight: Tensor, bias: Tensor | None, like: Tensor) -> nn.Linear:
    """A Linear layer with these weights (out, in) and (out,), in the dtype and on the device of ``like``."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.to(like), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.to(like), requires_grad=False)
    return made


def chain(*layers: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of ``layers`` applied one after the other."""
    first, *rest = layers
    weight, bias = first.weight.double(), first.bias.double()
    for layer in rest:
        weight, bias = layer.weight.double() @ weight, layer.weight.double() @ bias + layer.bias.double()
    return weight, bias
