"""The clean model through ``torch.compile``, gates as outputs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gatescope.export.families.qd_detr import GatedQDDETR
from gatescope.export.graph.variant import Variant, VariantGraph


def compiler() -> str | None:
    """The C++ compiler that PyTorch's code generator would call on the CPU, None where there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


def compiled(
    model: GatedQDDETR,
    batch: Mapping[str, Tensor],
    *,
    backend: str = "inductor",
    options: dict[str, bool] | None = None,
) -> Callable[[], list[object]]:
    """A call moves ``batch`` to the model, runs it, and returns every output as numpy.

    The first call compiles, for a minute or so.
    """
    device = model.global_rep_token.device
    graph = VariantGraph(model, Variant()).to(device)
    fast = torch.compile(graph, backend=backend, options=options, dynamic=False)

    @torch.no_grad()
    def run() -> list[object]:
        moved = {name: batch[name].to(device) for name in graph.input_axes}
        return [output.numpy(force=True) for output in fast(**moved)]

    return run
