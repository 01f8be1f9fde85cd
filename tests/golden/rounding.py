"""What float32 may do to a model's outputs, derived from the same model in float64.

A float32 run is off from the float64 one by its roundings. In which order a CPU sums (MKL, oneDNN and ONNX
Runtime each choose by its instructions and its cores) draws these roundings anew, and does not change their
size: PyTorch's, ONNX Runtime's and the reference's own numbers are all about as far from float64. So how far
one of them is says how far another may be. ``MARGIN`` leaves room for what differs: the largest of a few
thousand differences varies by a factor of two from draw to draw; 4 partial sums in place of 16, as without
AVX-512, make the error of a sum twice as large; and both sides of a comparison are off.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

#: How far the reference's float32 numbers are from our model in float64, the largest of every golden case in
#: both batchings; ``test_rounding.py`` measures it. None of it depends on the machine that runs the tests.
FLOAT32 = {
    "pred_logits": 7e-6,
    "pred_spans": 2e-6,
    "saliency_scores": 1.4e-5,
    "gate_attention": 1.5e-6,
    "gate_ffn": 1.5e-6,
}
MARGIN = 8
EPSILON = float(np.finfo(np.float32).eps)


def allowed(output: str) -> float:
    """How far two float32 runs of a model of real size, on unit features, may be apart in ``output``."""
    return MARGIN * FLOAT32[output]


def in_float64(graph: nn.Module, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a :class:`VariantGraph` in float64; ``graph`` is float64 from then on."""
    return graph.to(torch.float64).run({name: array.astype(np.float64) for name, array in batch.items()})


def assert_rounded(
    got: np.ndarray, other: np.ndarray, exact: np.ndarray, name: str = "", relative: bool = False
) -> None:
    """``got`` is as far from ``exact``, computed in float64, as float32 explains.

    ``other``: another float32 run, whose distance from ``exact`` is the measure. Fails also where that one is
    so far away that it would permit anything. ``relative``: distances are shares of ``exact``.
    """
    scale = np.abs(exact) if relative else max(1.0, float(np.abs(exact).max()))
    error = float((np.abs(other - exact) / scale).max())
    assert error <= 1e-5, f"{name}: two models, {error:.1e} apart"
    tolerance = MARGIN * max(error, EPSILON)
    distance = float((np.abs(got - exact) / scale).max())
    assert distance <= tolerance, f"{name}: {distance:.1e} from float64, {tolerance:.1e} allowed"
