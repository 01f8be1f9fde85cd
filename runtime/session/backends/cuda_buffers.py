"""Runs on CUDA through buffers that are kept: inputs and outputs stay where they are from batch to batch.

For every shape of a batch there is one set of buffers: page-locked arrays on the host, from which the bus
carries twice what it carries from ordinary memory, and tensors on the device that the session is bound to.
Kept addresses are also what CUDA graphs need: the work of a shape is recorded in its first runs and replayed.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...gates.manifest import Manifest

# Shapes whose buffers are kept; every one holds a batch on the device.
MOST_SHAPES = 8
_NOT_RECORDED = "-1"

_log = logging.getLogger("gatescope")


@dataclass(frozen=True)
class _Slot:
    """Buffers of one shape: host arrays and device tensors by input, and the binding that joins them."""

    number: int
    host: dict[str, NDArray[Any]]
    device: dict[str, Any]
    binding: Any


class CudaBuffers:
    """The runs of one session on CUDA; one at a time, whatever thread they come from."""

    def __init__(self, session: Any, manifest: Manifest, *, graphs: bool) -> None:
        self._session = session
        self._manifest = manifest
        self._graphs = graphs
        self._slots: OrderedDict[tuple[Any, ...], _Slot] = OrderedDict()
        self._lock = Lock()
        self._made = 0

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs ``names`` for ``arrays``."""
        with self._lock:
            slot = self._slot(names, arrays)
            for name, array in arrays.items():
                slot.host[name][...] = array
                slot.device[name].update_inplace(slot.host[name])
            options = onnxruntime.RunOptions()
            if self._graphs:
                recorded = slot.number < MOST_SHAPES
                number = str(slot.number) if recorded else _NOT_RECORDED
                options.add_run_config_entry("gpu_graph_id", number)
            slot.binding.synchronize_inputs()
            self._session.run_with_iobinding(slot.binding, options)
            slot.binding.synchronize_outputs()
            return list(slot.binding.copy_outputs_to_cpu())

    def _slot(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> _Slot:
        key = (*names, *(array.shape for array in arrays.values()))
        if key not in self._slots:
            if self._graphs and self._made == MOST_SHAPES:
                _log.warning(
                    "CUDA graphs: batches have more than %d shapes; the further ones run without a graph: "
                    "use one batch size, or leave CUDA graphs out",
                    MOST_SHAPES,
                )
            if len(self._slots) == MOST_SHAPES and not self._graphs:
                self._slots.popitem(last=False)
            self._slots[key] = self._make(names, arrays)
            self._made += 1
            if len(self._slots) > MOST_SHAPES + 1:  # recorded graphs keep their buffers; the last ones change
                self._slots.pop(list(self._slots)[MOST_SHAPES])
        if not self._graphs:
            self._slots.move_to_end(key)
        return self._slots[key]

    def _make(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> _Slot:
        binding = self._session.io_binding()
        host: dict[str, NDArray[Any]] = {}
        device: dict[str, Any] = {}
        for name, array in arrays.items():
            host[name] = page_locked(array.shape, array.dtype)
            device[name] = _device_tensor(array.shape, array.dtype)
            binding.bind_ortvalue_input(name, device[name])
        lengths: dict[str, int] = {}
        for tensor in self._manifest.inputs:
            if tensor.name not in self._manifest.override_names and tensor.name in arrays:
                lengths |= dict(zip(map(str, tensor.axes), arrays[tensor.name].shape, strict=True))
        for tensor in self._manifest.outputs:
            if tensor.name in names:
                shape = tuple(axis if isinstance(axis, int) else lengths[axis] for axis in tensor.axes)
                binding.bind_ortvalue_output(tensor.name, _device_tensor(shape, np.dtype(tensor.dtype)))
        return _Slot(self._made, host, device, binding)


def page_locked(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array whose memory the device reads directly; ordinary memory where CUDA's runtime does not help.

    The memory is unlocked again before it is freed: pages that are freed while they are registered may come
    back in another array, and the device would go on reading the old ones.
    """
    memory = np.zeros(shape, dtype)
    runtime = _cuda_runtime()
    if runtime is None or memory.nbytes == 0:
        return memory
    address = ctypes.c_void_p(memory.ctypes.data)
    if runtime.cudaHostRegister(address, ctypes.c_size_t(memory.nbytes), 0) != 0:
        return memory
    array = memory.view()  # holds ``memory`` as its base until it is gone itself
    weakref.finalize(array, _unlock, runtime, address, memory)
    return array


def _unlock(runtime: Any, address: ctypes.c_void_p, _memory: NDArray[Any]) -> None:
    runtime.cudaHostUnregister(address)


def _cuda_runtime() -> Any:
    """CUDA's runtime library as ONNX Runtime loaded it; None where there is none."""
    for name in ("libcudart.so.13", "libcudart.so.12"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _device_tensor(shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype.type, "cuda", 0)
