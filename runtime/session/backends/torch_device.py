"""What the TorchScript and pt2 back ends share: device, threads, one run, arrays to tensors and back."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from threading import Lock
from typing import Any, cast

import torch
from numpy.typing import NDArray

from ...errors import DeviceError, GatescopeError, UsageError
from ...forks import not_after_fork, renew_after_fork
from ..device import Device, DeviceOptions, check_device
from ..model_file import ModelFile


class _Settings:
    """PyTorch's settings are the process's: who changes them holds ``lock``."""

    def __init__(self) -> None:
        self.lock = Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the parent's other threads may have held it."""
        self.lock = Lock()


_SETTINGS = _Settings()


def choose_device(wanted: str) -> Device:
    """``cpu`` or ``cuda``; raises :class:`DeviceError` where CUDA is wanted and PyTorch has none.

    PyTorch puts a model where it is told to or fails, so nothing has to be asserted afterwards.
    """
    check_device(wanted)
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise DeviceError(
        "CUDA was asked for and cannot be used: "
        + ("this build of PyTorch has no CUDA" if torch.version.cuda is None else "PyTorch finds no GPU"),
        received=installed_build(),
        expected="a CUDA build of PyTorch, an NVIDIA GPU and its driver",
        fix="install torch for CUDA (pytorch.org), or pass device 'cpu'",
    )


def installed_build() -> str:
    """The installed build of PyTorch, for messages."""
    return f"torch {torch.__version__}"


def use_threads(threads: int | None) -> int:
    """Limit PyTorch's threads where a number is given, for the whole process; returns how many it uses."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def to_tensors(arrays: Mapping[str, NDArray[Any]], device: Device) -> dict[str, torch.Tensor]:
    """The arrays on ``device``; on the CPU without a copy."""
    # PyTorch warns of arrays it may not write to; a model's inputs are only read.
    return {
        name: torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
        for name, array in arrays.items()
    }


def to_arrays(names: Sequence[str], declared: Sequence[str], values: object) -> list[NDArray[Any]]:
    """The outputs ``names`` of what a model returned, a tuple in the order ``declared``.

    Raises :class:`GatescopeError` where it returned anything else.
    """
    given = list(cast("Sequence[object]", values)) if isinstance(values, (tuple, list)) else [values]
    tensors = [value for value in given if isinstance(value, torch.Tensor)]
    if len(tensors) != len(given) or len(given) != len(declared):
        raise GatescopeError(
            "the model does not return what its manifest declares",
            received=f"{len(given)} outputs, {len(tensors)} of them tensors",
            expected=f"{len(declared)}: {', '.join(declared)}",
            fix="export the model again",
        )
    by_name = dict(zip(declared, tensors, strict=True))
    return [by_name[name].cpu().numpy() for name in names]


@contextmanager
def inference(*, tf32: bool = False) -> Generator[None]:
    """No gradients; TF32, which rounds to 10 bits and moves gates by 1e-3, only where asked for."""
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, tf32
    try:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=tf32),
        ):
            yield
    finally:
        products.allow_tf32 = before


class TorchBackend:
    """What both back ends are: a model on one device, its batch computed whole.

    PyTorch's threads are the process's, so there are no lanes of one core each.
    """

    title = "PyTorch"
    lanes: Executor | None = None

    def __init__(self, model: ModelFile, wanted: DeviceOptions) -> None:
        if wanted.cuda_graphs:
            raise UsageError(
                f"CUDA graphs need an ONNX file, and {model.path} is {model.manifest.format}",
                fix="export with --format onnx, or leave out --cuda-graphs",
            )
        self.device: Device = choose_device(wanted.device)
        self.threads = use_threads(wanted.threads)
        self.tf32 = wanted.tf32
        self.providers: tuple[str, ...] = (f"torch {self.device}",)
        self.versions = {"torch": str(torch.__version__)}
        self._declared = model.manifest.output_names
        self._origin = str(model.path)
        self._forked = False
        renew_after_fork(self)

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs ``names`` for ``arrays``."""
        if self._forked:
            self._begin_in_child()
        # One at a time: PyTorch's settings are the process's, and so are the cores it uses.
        with _SETTINGS.lock, inference(tf32=self.tf32):
            values = self.call(to_tensors(arrays, self.device))
        return to_arrays(names, self._declared, values)

    def after_fork(self) -> None:
        """In a forked child: the next run has something to see to first."""
        self._forked = True

    def _begin_in_child(self) -> None:
        """One thread: those of OpenMP are the parent's, and PyTorch would wait for them for ever."""
        if self.device == "cuda":
            raise not_after_fork(self._origin)
        self.threads = use_threads(1)
        self._forked = False

    def call(self, tensors: dict[str, torch.Tensor]) -> object:
        """What the model returns for ``tensors``, in the order of the manifest's inputs."""
        raise NotImplementedError

    def run_on_lane(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """As :meth:`run`: there are no lanes."""
        return self.run(names, arrays)

    def close(self) -> None:
        """Nothing to release but the object itself."""

    def provider_options(self) -> dict[str, str]:
        """PyTorch has none."""
        return {}
