"""Gates the way users read them from an eager model: forward hooks that copy them to numpy."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import numpy as np
from torch import Tensor, nn

from gatescope.export.families.fusion import Fusion
from gatescope.export.families.gating import Gates

History = list[tuple[np.ndarray, np.ndarray]]


@contextmanager
def copied_gates(fusion: Fusion) -> Generator[History]:
    """Within, each pass appends each layer's attention and FFN gate, on the CPU, in the order of layers."""
    history: History = []
    hook = partial(_copy, history)
    handles = [layer.gating_function.register_forward_hook(hook) for layer in fusion.fusion_layers]
    try:
        yield history
    finally:
        for handle in handles:
            handle.remove()


def _copy(history: History, module: nn.Module, inputs: object, gates: Gates) -> None:
    history.append((_copied(gates.attention), _copied(gates.ffn)))


def _copied(gate: Tensor) -> np.ndarray:
    return gate.float().numpy(force=True).copy()
