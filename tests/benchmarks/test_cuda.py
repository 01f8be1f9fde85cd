"""What bench-cuda makes of its measurements, on the CPU in the GPU's place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import GateSession
from gatescope.runtime.errors import DeviceError

from . import __main__ as command
from . import cuda
from .exports import Export
from .report import Part
from .settings import SMOKE
from .timing import Pace

Checkpoint = Callable[[str], Path]


class FakeExports:
    """The golden clipwise model, whatever is asked for."""

    def __init__(self, checkpoint: Path, model: Path) -> None:
        self.model = model
        self.checkpoint = lambda gating: checkpoint
        self.wanted: list[Export] = []

    def make(self, wanted: list[Export], tell: object) -> None:
        self.wanted = wanted

    def path(self, export: Export) -> Path:
        assert export in self.wanted
        return self.model


def test_parity_speed_and_floors_are_told(
    checkpoint: Checkpoint, exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = exported("clipwise_padded")

    def session(path: Path, *, device: str, tf32: bool = False, cuda_graphs: bool = False) -> GateSession:
        if cuda_graphs:
            raise DeviceError("no graphs here")
        return GateSession(path, device="cpu")

    class Pipeline:
        def __init__(self, content: bytes, example: Any, outputs: Any) -> None:
            assert content == model.read_bytes()
            self.session = GateSession(model, device="cpu")

        def run(self, batches: Iterable[Any]) -> Iterator[dict[str, np.ndarray]]:
            return (self.session.run(batch).raw for batch in batches)

    monkeypatch.setattr(cuda, "GateSession", session)
    monkeypatch.setattr(cuda, "PinnedPipeline", Pipeline)
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "compiled", lambda model, batch: lambda: None)
    monkeypatch.setattr(cuda, "bus_bandwidth", lambda: 1e9)
    monkeypatch.setattr(cuda, "product_rates", lambda: {"fp32": 1e12})
    part = Part("GPU")
    exports = FakeExports(checkpoint("clipwise_padded"), model)
    settings = replace(SMOKE, pace=Pace(1, 0, 0))
    cuda.measure_cuda(settings, exports, part, lambda _: None)  # type: ignore[arg-type]

    assert [goal["met"] for goal in part.data["goals"][:2]] == [True, True]
    text = "\n".join(part.tables)
    assert "CUDA graphs were not measured: no graphs here" in text
    for name in (cuda.OURS, cuda.PREFETCH):
        assert f"{name}, against {cuda.USERS}, batch {settings.gpu_batch}" in text
    clips, words, batch = settings.clips, settings.words, settings.gpu_batch
    sizes = clips * (2818 + 2050 + 1) + words * (512 + 1)  # the graph takes no mask of the audio
    bus, products = part.data["floors, seconds a batch"].values()
    assert bus == pytest.approx(4 * batch * sizes / 1e9)
    assert products == pytest.approx(cuda.tracked_flops(_config(checkpoint), clips, words) * batch / 1e12)


def test_the_process_ends_once_all_is_printed_and_before_anything_is_freed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[tuple[int, str]] = []
    monkeypatch.setattr(sys, "argv", ["benchmarks", "cuda", "--smoke"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(command, "use_own_kernels", lambda: None)
    monkeypatch.setattr(cuda, "gpu_name", lambda: "a GPU")
    monkeypatch.setattr(command, "measure_parts", lambda args, gpu: print(f"tables of {gpu}"))
    monkeypatch.setattr(os, "_exit", lambda code: ended.append((code, capsys.readouterr().out)))
    command.main()
    assert ended == [(0, "tables of a GPU\n")]


def _config(checkpoint: Checkpoint) -> Any:
    return cuda.read_model(checkpoint("clipwise_padded")).config
