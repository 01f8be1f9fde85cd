"""One exported model, opened and ready to run on arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..brief import brief, one_line
from ..errors import GatescopeError
from ..gates.manifest import Manifest
from ..tracking.tracker import GateTracker
from .backends.backend import Backend, open_backend
from .device import Device, DeviceOptions
from .inputs import check_batch
from .lanes import chunks, run_chunks
from .memory import FittingRuns
from .model_file import read_model_file
from .overrides import Overrides, override_inputs
from .tracked import SessionGates, session_batch


@dataclass(frozen=True)
class Outputs:
    """What one batch of B samples gave.

    - ``gates``: by kind, float32 (B, layers, L, 1) for clipwise gates, (B, layers, 1, 1) for global and
      (B, layers, L, d) for elementwise ones; values within the manifest's range of that kind, unless they
      were overridden.
    - ``predictions``: by name, the outputs that are not gates: ``pred_logits`` (B, Q, 2), class 0 is
      foreground; ``pred_spans`` (B, Q, 2), centre and width as fractions of the duration;
      ``saliency_scores`` (B, L). Empty for a graph that ends at the gates.
    - ``contributions``: by kind, float32 (B, layers, L), where the export was asked for them: how far the
      gated branch moves the stream at that clip, ‖m·u‖ / ‖v‖ (m: g, or 1 + g where the manifest says so).
    - ``summaries``: by kind, float32 (B, layers, fields), for a ``summary`` export; the fields are
      :data:`~gatescope.runtime.gates.vocabulary.SUMMARY_FIELDS`.
    - ``raw``: every output by its name in the graph.

    L is the longest sample's number of clips. Entries at padding clips are whatever the graph computed
    there, and mean nothing: cut each sample to its own number of clips before looking at it.
    """

    gates: dict[str, NDArray[np.float32]]
    predictions: dict[str, NDArray[np.float32]]
    raw: dict[str, NDArray[Any]]
    contributions: dict[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    summaries: dict[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])

    def __repr__(self) -> str:
        return brief(self)


class GateSession:
    """An exported model on one device, with every gate among its outputs.

    ``path`` is a file written by ``gatescope export``, ONNX, TorchScript or pt2; the last two need PyTorch
    and deserve the trust a program deserves. ``device`` is ``cpu``, ``cuda`` (an error where it cannot be
    had) or ``auto`` (CUDA where it really gets the model, else CPU). ``threads`` limits the CPUs it may use;
    by default every CPU this process may use. For PyTorch it is a setting of the whole process, left alone
    where no number is given. ``tf32`` lets CUDA round the inputs of matrix products to 10 bits: faster, and
    gates move by up to 1e-3, ten times the tolerance of the export. ``cuda_graphs`` records the work of each
    shape of batch once and replays it: for few shapes and small batches.

    On the CPU an ONNX model in exact batching runs a batch in chunks, each on one core
    (:mod:`gatescope.runtime.session.lanes`). Where memory runs out, a batch in exact batching is halved
    until it fits.

    ``tracker`` remembers the gates of every run under sample ids once it is switched on
    (:class:`~gatescope.runtime.tracking.tracker.GateTracker`).

    A context manager; without ``with``, call :meth:`close` to release the model's memory. Runs may
    be made from several threads at once.

    Raises :class:`~gatescope.runtime.errors.ModelFileError` for a file that is not an exported model,
    :class:`~gatescope.runtime.errors.DeviceError`, :class:`~gatescope.runtime.errors.UsageError`, and
    :class:`~gatescope.runtime.errors.MissingExtraError` where the library the file needs is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        threads: int | None = None,
        tf32: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        wanted = DeviceOptions(device, threads, tf32=tf32, cuda_graphs=cuda_graphs)
        model = read_model_file(path)
        self.path = model.path
        self.manifest: Manifest = model.manifest
        backend = open_backend(model, wanted)
        self._backend: Backend | None = backend
        names = self.manifest.output_names
        self._run = FittingRuns(lambda arrays: self._open().run(names, arrays), self.manifest)
        self._run_on_lane = FittingRuns(lambda arrays: self._open().run_on_lane(names, arrays), self.manifest)
        self.threads = backend.threads
        self.device: Device = backend.device
        self.tf32 = tf32 and backend.device == "cuda"
        self.providers = backend.providers
        self.versions = backend.versions
        self.tracker = GateTracker(SessionGates(self))

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs this graph needs; :meth:`run` ignores the rest of the full set."""
        return self.manifest.input_names

    @property
    def provider_options(self) -> dict[str, str]:
        """Options of what runs the model, as it reports them (``use_tf32`` for ONNX Runtime on CUDA)."""
        return self._open().provider_options()

    def run(self, batch: Mapping[str, Any], *, overrides: Overrides | None = None) -> Outputs:
        """Run the model on a batch of B samples.

        ``batch`` holds the full set of inputs: ``src_txt`` (B, T, Dt), ``src_vid`` (B, L, Dv), ``src_aud``
        (B, L, Da) and for each a ``…_mask`` (B, T or L), 1 for valid entries, which come first. Numbers of
        other widths and booleans are cast to float32; inputs the graph does not need may be absent.

        ``overrides`` changes gates of a model exported with ``--overridable``: by kind of gate, ``scale``,
        ``offset`` or both, numbers or arrays that broadcast to (B, layers, L | 1, 1 | d) as the gates are:
        a gate g becomes scale · g + offset. ``{"attention": "shut"}`` takes the branch away: it sets the gate
        to 0, or to −1 where the manifest says that it acts as ``1+g`` and 0 leaves the branch as it is.

        Raises :class:`~gatescope.runtime.errors.InputError` for arrays that do not fit, and
        :class:`~gatescope.runtime.errors.GatescopeError` where the session is closed or the run fails.
        """
        backend = self._open()
        checked = check_batch(self.manifest, batch)
        if self.manifest.overrides or overrides:
            samples, clips = checked["src_vid"].shape[:2]
            checked |= override_inputs(self.manifest, batch, overrides, samples=samples, clips=clips)
        arrays = {name: checked[name] for name in self.manifest.input_names}
        samples = len(next(iter(arrays.values())))
        ids = self.tracker.claim(samples) if self.tracker.track_gates else None
        try:
            values = self._compute(backend, arrays, samples)
        except GatescopeError:
            raise
        except Exception as error:  # the libraries' own types share no base of their own
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise GatescopeError(
                f"{backend.title} failed while running {self.path} on {self.device}",
                received=f"{(str(error) or type(error).__name__).splitlines()[0]}\n    for {shapes}",
            ) from error
        outputs = self._sort(dict(zip(self.manifest.output_names, values, strict=True)))
        if ids is not None:
            self.tracker.record(ids, session_batch(self.manifest, outputs.gates, batch))
        return outputs

    def chunks(self, samples: int) -> list[slice]:
        """The chunks in which a batch of ``samples`` runs, each on one core; none where it runs whole."""
        backend = self._open()
        if backend.lanes is None or samples == 1 or self.manifest.batching != "exact":
            return []
        return chunks(samples, backend.threads)

    def _compute(
        self, backend: Backend, arrays: dict[str, NDArray[Any]], samples: int
    ) -> Sequence[NDArray[Any]]:
        """On all cores at once where samples do not depend on their batch, else whole."""
        pool, parts = backend.lanes, self.chunks(samples)
        if pool is None or not parts:
            return self._run(arrays)
        return run_chunks(self._run_on_lane, arrays, self.manifest.inputs, self.manifest.outputs, parts, pool)

    def close(self) -> None:
        """Release the model; a later :meth:`run` is an error. Closing twice is not."""
        if self._backend is not None:
            self._backend.close()
        self._backend = None

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

    def _open(self) -> Backend:
        if self._backend is None:
            raise GatescopeError(
                f"this session of {self.path} is closed", fix="open a new GateSession on the file"
            )
        return self._backend

    def _sort(self, raw: dict[str, NDArray[Any]]) -> Outputs:
        told = self.manifest
        gates = {kind: told.gate_output(kind) for kind in told.tracked_kinds}
        summaries = {kind: summary.output for kind, summary in told.summaries.items()}
        special = {*gates.values(), *told.contributions.values(), *summaries.values()}

        def pick(outputs: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
            return {key: _float32(raw[name]) for key, name in outputs.items()}

        return Outputs(
            gates=pick(gates),
            predictions=pick({name: name for name in raw if name not in special}),
            contributions=pick(told.contributions),
            summaries=pick(summaries),
            raw=raw,
        )

    def __repr__(self) -> str:
        state = f"on {self.device}" if self._backend is not None else "closed"
        return one_line(self, str(self.path), self.manifest.in_words, state)


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """A no-copy pass-through, except for a model exported in another precision."""
    return array.astype(np.float32, copy=False)
