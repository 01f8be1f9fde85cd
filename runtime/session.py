"""One exported model, opened and ready to run on arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device import Device, available_cpus, create_session
from .errors import GatescopeError, UsageError
from .inputs import check_batch
from .manifest import Manifest
from .model_file import read_model_file


@dataclass(frozen=True)
class Outputs:
    """What one batch of B samples gave.

    - ``gates``: by kind, float32 (B, layers, L, 1) for clipwise gates, (B, layers, 1, 1) for global and
      (B, layers, L, d) for elementwise ones; values within the manifest's range of that kind.
    - ``predictions``: by name, the outputs that are not gates: ``pred_logits`` (B, Q, 2), class 0 is
      foreground; ``pred_spans`` (B, Q, 2), centre and width as fractions of the duration;
      ``saliency_scores`` (B, L). Empty for a graph that ends at the gates.
    - ``raw``: every output by its name in the graph.

    L is the longest sample's number of clips. Entries at padding clips are whatever the graph computed
    there, and mean nothing: cut each sample to its own number of clips before looking at it.
    """

    gates: dict[str, NDArray[np.float32]]
    predictions: dict[str, NDArray[np.float32]]
    raw: dict[str, NDArray[Any]]


class GateSession:
    """An exported model on one device, with every gate among its outputs.

    ``path`` is a file written by ``gatescope export``. ``device`` is ``cpu``, ``cuda`` (an error where
    it cannot be had) or ``auto`` (CUDA where it really gets the model, else CPU). ``threads`` limits the
    threads one operator may use on the CPU; by default every CPU this process may use.

    A context manager; without ``with``, call :meth:`close` to release the model's memory. Runs may
    be made from several threads at once.

    Raises :class:`~gatescope.runtime.errors.ModelFileError` for a file that is not an exported model,
    :class:`~gatescope.runtime.errors.DeviceError` and :class:`~gatescope.runtime.errors.UsageError`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, device: str = "auto", threads: int | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"a session cannot run on {threads} threads", expected="at least 1")
        model = read_model_file(path)
        self.path = model.path
        self.manifest: Manifest = model.manifest
        self.threads = threads or available_cpus()
        self._session: Any
        self.device: Device
        self._session, self.device = create_session(
            model.content, device, self.threads, origin=str(model.path)
        )
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs this graph needs; :meth:`run` ignores the rest of the full set."""
        return self.manifest.input_names

    @property
    def provider_options(self) -> dict[str, str]:
        """Options of the provider that runs the model, as it reports them (``use_tf32`` on CUDA)."""
        return dict(self._open().get_provider_options()[self.providers[0]])

    def run(self, batch: Mapping[str, Any]) -> Outputs:
        """Run the model on a batch of B samples.

        ``batch`` holds the full set of inputs: ``src_txt`` (B, T, Dt), ``src_vid`` (B, L, Dv), ``src_aud``
        (B, L, Da) and for each a ``…_mask`` (B, T or L), 1 for valid entries, which come first. Numbers of
        other widths and booleans are cast to float32; inputs the graph does not need may be absent.

        Raises :class:`~gatescope.runtime.errors.InputError` for arrays that do not fit, and
        :class:`~gatescope.runtime.errors.GatescopeError` where the session is closed or the run fails.
        """
        session = self._open()
        arrays = check_batch(self.manifest, batch)
        names = self.manifest.output_names
        try:
            values: list[NDArray[Any]] = session.run(names, arrays)
        except Exception as error:  # ONNX Runtime's own types share no base of their own
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise GatescopeError(
                f"ONNX Runtime failed while running {self.path} on {self.device}",
                received=f"{(str(error) or type(error).__name__).splitlines()[0]}\n    for {shapes}",
                fix="use a smaller batch if memory ran out",
            ) from error
        return self._sort(dict(zip(names, values, strict=True)))

    def close(self) -> None:
        """Release the model; a later :meth:`run` is an error. Closing twice is not."""
        self._session = None

    def __enter__(self) -> GateSession:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> Any:
        if self._session is None:
            raise GatescopeError(
                f"this session of {self.path} is closed", fix="open a new GateSession on the file"
            )
        return self._session

    def _sort(self, raw: dict[str, NDArray[Any]]) -> Outputs:
        gate_outputs = {kind: self.manifest.gate_output(kind) for kind in self.manifest.gate_kinds}
        rest = [name for name in raw if name not in gate_outputs.values()]
        return Outputs(
            gates={kind: _float32(raw[name]) for kind, name in gate_outputs.items()},
            predictions={name: _float32(raw[name]) for name in rest},
            raw=raw,
        )


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """A no-copy pass-through, except for a model exported in another precision."""
    return array.astype(np.float32, copy=False)
