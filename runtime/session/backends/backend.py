"""The one shape every back end has, and the choice of one by a file's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from numpy.typing import NDArray

from ...errors import ModelFileError
from ...extras import missing_extra
from ...torch_range import refuse_old_torch
from ..device import Device, DeviceOptions
from ..model_file import ModelFile


class Backend(Protocol):
    """An exported model on one device, taking and giving numpy arrays.

    - ``title``: what runs it, for messages. ``versions``: of the packages that compute its numbers.
    - ``providers``: what computes, the one that comes first first. ``threads``: how many CPUs it may use.
    - ``lanes``: one thread for each of them where :meth:`run_on_lane` keeps to one core, else None.
    """

    title: str
    device: Device
    providers: tuple[str, ...]
    threads: int
    versions: dict[str, str]
    lanes: Executor | None

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """The outputs ``names`` for ``arrays``, which hold every input in the order of the manifest.

        Raises whatever the library raises; the session gives it a name.
        """
        ...

    def run_on_lane(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Like :meth:`run`, on the calling thread alone; only where there are ``lanes``."""
        ...

    def close(self) -> None:
        """Release the model and its threads."""
        ...

    def provider_options(self) -> dict[str, str]:
        """Options of the first provider that decide its numbers or speed, as it reports them."""
        ...


def open_backend(model: ModelFile, wanted: DeviceOptions) -> Backend:
    """The back end for ``model`` on the device that is ``wanted``.

    Only the library that the file needs is imported. Raises
    :class:`~gatescope.runtime.errors.UsageError`, :class:`~gatescope.runtime.errors.DeviceError`,
    :class:`~gatescope.runtime.errors.ModelFileError` where the library refuses the model,
    :class:`~gatescope.runtime.errors.UnsupportedTorchError` where it is a PyTorch that is too old, and
    :class:`~gatescope.runtime.errors.MissingExtraError` where it is not installed.
    """
    if model.manifest.format in ("torchscript", "pt2"):
        refuse_old_torch()
    try:
        match model.manifest.format:
            case "onnx":
                from .onnx_runtime import OnnxBackend

                return OnnxBackend(model, wanted)
            case "torchscript":
                from .torchscript import TorchScriptBackend

                return TorchScriptBackend(model, wanted)
            case "pt2":
                from .pt2 import Pt2Backend

                return Pt2Backend(model, wanted)
            case "live":
                raise ModelFileError(f"{model.path} stands for a live PyTorch model, which is in no file")
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
