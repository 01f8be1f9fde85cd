"""Where the gates of a call are, for each kind of session that can be watched.

A tap makes the call as the caller wanted it, and with it fetches the gate outputs. What the caller gets back
is what the session alone would have given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ...errors import ManifestError, MonitorError
from ...forks import end_without_parents, never_end, renew_after_fork
from ...gates.manifest import METADATA_KEY, Manifest

# The mask of the clips; a model that gates audio by clip has as many of both.
_LENGTHS = ("src_vid_mask", "src_aud_mask")


@dataclass(frozen=True, eq=False)
class Tapped:
    """What a call gave.

    - ``result``: for the caller. ``gates()``: by kind, (B, layers, …); none where they were moved on purpose.
    - ``inputs()``: the caller's own arrays. Both may raise: nothing of it has happened yet.
    - ``shared``: whether the caller holds the same gates and may write into them.
    """

    result: Any
    gates: Callable[[], Mapping[str, NDArray[Any]]]
    inputs: Callable[[], Mapping[str, Any]]
    shared: bool


class Tap(Protocol):
    """One kind of session."""

    manifest: Manifest
    summaries: bool
    file: str

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Tapped:
        """Call ``session.run(*args, **options)``; raises whatever it raises."""
        ...


def tap_of(session: Any) -> Tap:
    """The tap for ``session``.

    Raises :class:`~gatescope.runtime.errors.MonitorError` for something else than a session of an exported
    model, or a model without gate outputs.
    """
    if isinstance(getattr(session, "manifest", None), Manifest):
        return _GateSessionTap(session)
    if callable(getattr(session, "get_modelmeta", None)) and callable(getattr(session, "run", None)):
        return _OnnxRuntimeTap(session)
    raise MonitorError(
        "this session cannot be monitored",
        received=f"a {type(session).__module__}.{type(session).__qualname__}",
        expected="a gatescope.runtime.GateSession, or an onnxruntime.InferenceSession of a model that"
        " 'gatescope export' wrote",
    )


def clip_mask(inputs: Mapping[str, Any]) -> NDArray[Any] | None:
    """A copy of the mask (B, L) that says which clips are valid; None where there is none."""
    for name in _LENGTHS:
        if name in inputs:
            return np.array(inputs[name])
    return None


def _outputs(manifest: Manifest, what: str) -> tuple[dict[str, str], bool]:
    """The output of each kind, and whether it holds summaries."""
    if manifest.tracked_kinds:
        return {kind: manifest.gate_output(kind) for kind in manifest.tracked_kinds}, False
    if manifest.summaries:
        return {kind: summary.output for kind, summary in manifest.summaries.items()}, True
    raise MonitorError(
        f"{what} has no gate outputs to watch",
        received=f"a model exported with --outputs {manifest.outputs_kind}",
        expected="one exported with --outputs tracked, gates or summary",
        fix="export the checkpoint again with --outputs summary, which costs least, or tracked",
    )


class _GateSessionTap:
    """A :class:`~gatescope.runtime.session.session.GateSession`: ``run(batch, overrides=…)``."""

    def __init__(self, session: Any) -> None:
        self._run = session.run
        self.manifest: Manifest = session.manifest
        self.file = _file_of(session.path)
        _, self.summaries = _outputs(self.manifest, str(session.path))

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Tapped:
        result = self._run(*args, **options)

        def gates() -> Mapping[str, NDArray[Any]]:
            if options.get("overrides"):
                return {}
            return result.summaries if self.summaries else result.gates

        return Tapped(result, gates, lambda: args[0] if args else options["batch"], shared=True)


class _OnnxRuntimeTap:
    """An ``onnxruntime.InferenceSession``: ``run(output_names, input_feed, run_options=None)``."""

    def __init__(self, session: Any) -> None:
        self._run = session.run
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if not text:
            raise ManifestError(
                "the session's model has no gatescope manifest",
                received="an ONNX file without it",
                expected="a file that 'gatescope export' wrote",
                fix="export the checkpoint with gatescope export",
            )
        self.manifest = Manifest.from_json(text, origin="the session's model")
        path = getattr(session, "_model_path", None)
        self.file = _file_of(path) if path else ""
        outputs, self.summaries = _outputs(self.manifest, "the session's model")
        names = [output.name for output in session.get_outputs()]
        self._all = {kind: names.index(name) for kind, name in outputs.items()}
        self._by_name = outputs
        self._session = session
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child a session runs, on the calling thread, and cannot be ended."""
        end_without_parents()
        never_end(self._session)

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Tapped:
        wanted = cast(Sequence[str] | None, args[0] if args else options.get("output_names"))
        if not wanted:
            values = self._run(*args, **options)
            return Tapped(
                values,
                lambda: {kind: values[at] for kind, at in self._all.items()},
                lambda: _feed(args, options),
                shared=True,
            )
        lacking = [name for name in self._by_name.values() if name not in wanted]
        names = [*wanted, *lacking]
        if args:
            args = (names, *args[1:])
        else:
            options = {**options, "output_names": names}
        values = self._run(*args, **options)
        return Tapped(
            values[: len(wanted)],
            lambda: {kind: values[names.index(name)] for kind, name in self._by_name.items()},
            lambda: _feed(args, options),
            shared=len(lacking) < len(self._by_name),
        )


def _feed(args: tuple[Any, ...], options: dict[str, Any]) -> Mapping[str, Any]:
    return args[1] if len(args) > 1 else options["input_feed"]


def _file_of(path: Any) -> str:
    """SHA-256 of the model file, empty where there is none. The library that checks files is not needed."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, TypeError):
        return ""
