"""Our file on CUDA with the bus kept busy: while one batch computes, the next crosses it.

Two slots take turns. Each has page-locked host memory, device memory the graph is bound to, and page-locked
memory for what comes back; nothing is allocated, and a batch waits only for the one before it in its slot.
The graph runs on a stream of PyTorch's, so that events order the copies and the computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime
import torch

from gatescope.runtime.session.backends.onnx_runtime import assert_device

SLOTS = 2


class PinnedPipeline:
    """``content`` is an ONNX file; every batch has the shapes of ``example``, all its arrays are float32."""

    def __init__(
        self, content: bytes, example: Mapping[str, np.ndarray], outputs: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._computing = torch.cuda.Stream()
        self._copying = torch.cuda.Stream()
        self._session = _session(content, str(self._computing.cuda_stream))
        names = [one.name for one in self._session.get_inputs()]
        self._slots = [
            _Slot(self._session, {name: example[name].shape for name in names}, outputs) for _ in range(SLOTS)
        ]
        # Waiting at the end of each run is what a pipeline is there to avoid; events do it instead.
        self._without_waiting = onnxruntime.RunOptions()
        self._without_waiting.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run(self, batches: Iterable[Mapping[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
        """Outputs batch by batch, in order; each is valid until the next one is drawn."""
        waiting: list[_Slot] = []
        for i, batch in enumerate(batches):
            slot = self._slots[i % SLOTS]
            self._start(slot, batch)
            waiting.append(slot)
            if len(waiting) == SLOTS:
                yield waiting.pop(0).wait()
        for slot in waiting:
            yield slot.wait()

    def _start(self, slot: _Slot, batch: Mapping[str, np.ndarray]) -> None:
        slot.fill(batch)
        with torch.cuda.stream(self._copying):
            for name, tensor in slot.inputs.items():
                tensor.copy_(slot.staged[name], non_blocking=True)
            slot.arrived.record(self._copying)
        self._computing.wait_event(slot.arrived)
        self._session.run_with_iobinding(slot.binding, self._without_waiting)
        with torch.cuda.stream(self._computing):
            for name, tensor in slot.outputs.items():
                slot.returned[name].copy_(tensor, non_blocking=True)
            slot.done.record(self._computing)


class _Slot:
    """Memory of one batch on its way there and back."""

    def __init__(
        self, session: Any, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.staged = {name: torch.empty(shape, pin_memory=True) for name, shape in inputs.items()}
        self.inputs = {name: torch.empty(shape, device="cuda") for name, shape in inputs.items()}
        self.outputs = {name: torch.empty(shape, device="cuda") for name, shape in outputs.items()}
        self.returned = {name: torch.empty(shape, pin_memory=True) for name, shape in outputs.items()}
        self.arrived, self.done = torch.cuda.Event(), torch.cuda.Event()
        self.binding = session.io_binding()
        for name, tensor in self.inputs.items():
            self.binding.bind_input(name, "cuda", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
        for name, tensor in self.outputs.items():
            self.binding.bind_output(name, "cuda", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
        # Memory allocated on another stream is not to be touched before it is there.
        torch.cuda.synchronize()

    def fill(self, batch: Mapping[str, np.ndarray]) -> None:
        """Copy ``batch`` to page-locked memory, once the slot's earlier batch has left it."""
        self.done.synchronize()
        for name, tensor in self.staged.items():
            np.copyto(tensor.numpy(), batch[name])

    def wait(self) -> dict[str, np.ndarray]:
        """The outputs, once they are back."""
        self.done.synchronize()
        return {name: tensor.numpy() for name, tensor in self.returned.items()}


def _session(content: bytes, stream: str) -> Any:
    """On CUDA without TF32, computing on ``stream``; an error if CUDA did not get the model."""
    settings: Any = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(
        content,
        settings,
        providers=[
            ("CUDAExecutionProvider", {"use_tf32": "0", "user_compute_stream": stream}),
            "CPUExecutionProvider",
        ],
        enable_fallback=0,
    )
    assert_device(session, "cuda")
    return session
