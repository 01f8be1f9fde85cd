"""Kept buffers on CUDA, with a stand-in for the device: what is copied, kept, recorded and let go."""

from __future__ import annotations

import ctypes
import gc
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.errors import UsageError
from gatescope.runtime.session.backends import cuda_buffers as subject
from gatescope.runtime.session.device import DeviceOptions
from gatescope.runtime.session.session import GateSession

from .tiny_model import tiny_batch, tiny_model


class FakeTensor:
    def __init__(self, shape: list[int], dtype: Any) -> None:
        self.array = np.full(shape, np.nan, dtype)

    def update_inplace(self, array: np.ndarray) -> None:
        assert array.shape == self.array.shape
        self.array[...] = array


class FakeBinding:
    def __init__(self) -> None:
        self.inputs: dict[str, FakeTensor] = {}
        self.outputs: dict[str, FakeTensor] = {}
        self.bind_ortvalue_input = self.inputs.__setitem__
        self.bind_ortvalue_output = self.outputs.__setitem__

    def synchronize_inputs(self) -> None: ...

    def synchronize_outputs(self) -> None: ...

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        return [tensor.array.copy() for tensor in self.outputs.values()]


class FakeSession:
    """Runs a real CPU session on what is bound."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.io_binding = FakeBinding
        self.graphs: list[str | None] = []

    def run_with_iobinding(self, binding: FakeBinding, options: Any) -> None:
        self.graphs.append(options.entries.get("gpu_graph_id"))
        feed = {name: tensor.array for name, tensor in binding.inputs.items()}
        for name, values in zip(binding.outputs, self.real.run(list(binding.outputs), feed), strict=True):
            binding.outputs[name].array[...] = values


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[GateSession, FakeSession]:
    path = tmp_path / "model.onnx"
    tiny_model(path, "clipwise", 2)
    session = GateSession(path, threads=1)
    backend: Any = session._backend

    def options() -> Any:
        entries: dict[str, str] = {}
        return SimpleNamespace(entries=entries, add_run_config_entry=entries.__setitem__)

    tensors = SimpleNamespace(
        ortvalue_from_shape_and_type=lambda shape, dtype, device, number: FakeTensor(shape, dtype)
    )
    monkeypatch.setattr(subject, "onnxruntime", SimpleNamespace(RunOptions=options, OrtValue=tensors))
    return session, FakeSession(backend._session)


def feed(session: GateSession, clips: int, seed: int = 0) -> dict[str, np.ndarray]:
    batch = tiny_batch(session.manifest, (clips, clips), (2, 1), seed=seed)
    return {name: batch[name] for name in session.manifest.input_names}


def test_outputs_are_the_sessions_and_buffers_are_kept(cuda: tuple[GateSession, FakeSession]) -> None:
    session, fake = cuda
    buffers = subject.CudaBuffers(fake, session.manifest, graphs=False)
    names = session.manifest.output_names
    for seed in range(3):
        arrays = feed(session, 4, seed)
        for got, want in zip(buffers.run(names, arrays), fake.real.run(list(names), arrays), strict=True):
            np.testing.assert_array_equal(got, want)
    assert len(buffers._slots) == 1
    assert fake.graphs == [None] * 3


def test_only_the_last_shapes_are_kept(cuda: tuple[GateSession, FakeSession]) -> None:
    session, fake = cuda
    buffers = subject.CudaBuffers(fake, session.manifest, graphs=False)
    for clips in range(1, subject.MOST_SHAPES + 4):
        buffers.run(session.manifest.output_names, feed(session, clips))
    assert len(buffers._slots) == subject.MOST_SHAPES


def test_each_shape_is_recorded_up_to_a_bound(
    cuda: tuple[GateSession, FakeSession], caplog: pytest.LogCaptureFixture
) -> None:
    session, fake = cuda
    buffers = subject.CudaBuffers(fake, session.manifest, graphs=True)
    with caplog.at_level(logging.WARNING, "gatescope"):
        for clips in (*range(1, subject.MOST_SHAPES + 3), 1):
            arrays = feed(session, clips)
            outputs = buffers.run(session.manifest.output_names, arrays)
            np.testing.assert_array_equal(
                outputs[0], fake.real.run(list(session.manifest.output_names), arrays)[0]
            )
    assert fake.graphs == [*map(str, range(subject.MOST_SHAPES)), "-1", "-1", "0"]
    assert len(caplog.records) == 1


def test_graphs_need_a_device_that_has_them() -> None:
    with pytest.raises(UsageError, match="CUDA graphs on the CPU"):
        DeviceOptions("cpu", cuda_graphs=True)


def test_page_locked_memory_is_unlocked_before_it_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: dict[int, int] = {}

    def register(address: Any, size: Any, flags: int) -> int:
        locked[address.value] = size.value
        return 0

    def unregister(address: Any) -> int:
        del locked[address.value]
        return 0

    runtime = SimpleNamespace(cudaHostRegister=register, cudaHostUnregister=unregister)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: runtime)
    array = subject.page_locked((3, 5), np.dtype(np.float32))
    assert locked == {array.ctypes.data: 60}
    del array
    gc.collect()
    assert not locked
    refusing = SimpleNamespace(cudaHostRegister=lambda *_: 2, cudaHostUnregister=None)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: refusing)
    assert subject.page_locked((2,), np.dtype(np.float32)).shape == (2,)
