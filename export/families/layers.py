"""Small stacks that several parts of the model share, under the checkpoint's parameter names."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class InputProjection(nn.Sequential):
    """``blocks`` times LayerNorm → Linear → ReLU, the last block without ReLU: (B, N, width) → (B, N, d)."""

    def __init__(self, width: int, dim: int, blocks: int) -> None:
        super().__init__(*(ProjectionBlock(dim if i else width, dim, i < blocks - 1) for i in range(blocks)))


class ProjectionBlock(nn.Module):
    """LayerNorm → Linear, then ReLU where ``relu`` is set."""

    def __init__(self, width: int, dim: int, relu: bool) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(width)
        # The checkpoint has dropout at net.0; inference has none.
        self.net = nn.Sequential(nn.Identity(), nn.Linear(width, dim))
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) → (B, N, d)."""
        x = self.net(self.LayerNorm(x))
        return x.relu() if self.relu else x


class Perceptron(nn.Module):
    """Linear layers with ReLU between; ``sizes`` are the widths from input to output."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(…, sizes[0]) → (…, sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x).relu()
        return last(x)


def two_layers(width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear → ReLU → Linear, under the names ``0`` and ``2``."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
