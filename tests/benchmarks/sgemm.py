"""The machine's rate of single-precision matrix products, by three libraries: the yardstick of the rest."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from typing import Any

from .machine import cpu_facts
from .timing import Kind

NAMES = ("sgemm numpy", "sgemm torch", "sgemm ONNX Runtime")


def use_own_kernels(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let numpy's OpenBLAS use AVX-512 where the CPU has it; to be called before numpy is imported.

    OpenBLAS knows CPUs by their number and runs AVX2 kernels on AMD's that it does not know, at half the
    machine's rate.
    """
    facts = cpu_facts()
    if facts.get("vendor_id") == "AuthenticAMD" and "avx512f" in facts.get("flags", "").split():
        environment.setdefault("OPENBLAS_CORETYPE", "SkylakeX")


def sgemm_kinds(size: int) -> list[Kind]:
    """Products of two ``size`` × ``size`` matrices; a call does 2 · size³ floating-point operations."""
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    ta, tb, tout = (torch.from_numpy(x) for x in (a, b, out.copy()))
    session = _matmul_session(b)
    return [
        Kind(NAMES[0], lambda: np.matmul(a, b, out=out)),
        Kind(NAMES[1], lambda: torch.mm(ta, tb, out=tout)),
        Kind(NAMES[2], lambda: session.run(None, {"a": a})),
    ]


def rates(seconds: Sequence[float], size: int) -> list[float]:
    """Operations a second."""
    return [2 * size**3 / one for one in seconds]


def _matmul_session(weights: Any) -> Any:
    """One MatMul with constant weights, which ONNX Runtime packs in advance as it does those of a model."""
    from onnx import TensorProto, helper, numpy_helper

    from gatescope.runtime.session.backends.onnx_runtime import create_session
    from gatescope.runtime.session.device import DeviceOptions, available_cpus

    shape = list(weights.shape)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "sgemm",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    on_cpu = DeviceOptions("cpu")
    session, _ = create_session(model.SerializeToString(), on_cpu, available_cpus(), origin="one MatMul")
    return session
