"""The gates of an exported model's session, as a tracker takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, RunFolderError, UsageError
from ..gates.manifest import Manifest
from ..statistics.limits import GateLimits, limits_of
from ..tracking.batch import TrackedBatch
from ..tracking.source import ModelIdentity
from .inputs import as_numbers
from .model_file import file_sha256

if TYPE_CHECKING:
    from .session import GateSession

_LENGTHS = ("src_vid_mask", "src_aud_mask")
_FEATURES = ("src_vid", "src_aud")


class SessionGates:
    """A :class:`~gatescope.runtime.tracking.source.GateSource` over an open session."""

    def __init__(self, session: GateSession) -> None:
        self._session = session

    def start(self) -> None:
        """Raises :class:`~gatescope.runtime.errors.UsageError` for a model without gate outputs."""
        manifest = self._session.manifest
        if not manifest.tracked_kinds:
            raise UsageError(
                f"{self._session.path} has no gate outputs to track",
                received=f"a model exported with --outputs {manifest.outputs_kind}",
                expected="one exported with --outputs tracked or --outputs gates",
                fix="export the checkpoint again with --outputs tracked",
            )

    def stop(self) -> None:
        """Nothing to undo: a session asks its tracker whether it is on."""

    def limits(self, kind: str, layer: int) -> GateLimits:
        """From the range that the manifest declares."""
        return limits_of(self._session.manifest, layer, kind)

    def identity(self) -> ModelIdentity:
        """The exported file and its manifest."""
        from ..runs.info import FileRef  # brings Polars, which a session alone does not need

        session = self._session
        try:
            sha256 = file_sha256(session.path)
        except OSError as error:
            raise RunFolderError(
                f"the model file {session.path} is needed to say which model the gates are of",
                received=error.strerror or str(error),
                fix="put the file back where it was",
            ) from error
        model = FileRef(str(session.path.resolve()), sha256)
        return ModelIdentity(model, session.manifest, session.device, session.versions)


def session_batch(
    manifest: Manifest, gates: Mapping[str, NDArray[np.float32]], batch: Mapping[str, Any]
) -> TrackedBatch:
    """The gates (B, layers, L | 1, 1 | d) by kind that a session gave for ``batch``, as copies.

    Valid clips come from the batch's masks, whether or not the graph needs them. Raises
    :class:`~gatescope.runtime.errors.InputError` for a mask of another shape than its features.
    """
    samples = len(next(iter(gates.values())))
    length = max(
        [array.shape[2] for array in gates.values()]
        + [int(np.shape(batch[name])[1]) for name in _FEATURES if name in batch]
    )
    return TrackedBatch(
        gates={
            kind: tuple(array[:, layer].copy() for layer in range(array.shape[1]))
            for kind, array in gates.items()
        },
        clips=_clips(batch, samples, length),
        length=length,
        gating=manifest.gating,
        hidden_dim=manifest.hidden_dim,
    )


def _clips(batch: Mapping[str, Any], samples: int, length: int) -> tuple[int, ...]:
    for name in _LENGTHS:
        if name not in batch:
            continue
        mask = as_numbers(name, batch[name], f"a mask of shape ({samples}, {length})", kinds="fiub")
        counts = (mask != 0).sum(axis=1) if mask.shape == (samples, length) else np.zeros(1)
        if not counts.all():
            raise InputError(
                f"{name} does not say which clips are valid",
                received=f"shape {mask.shape}"
                + ("" if mask.shape != (samples, length) else ", with samples that have no valid clip"),
                expected=f"shape ({samples}, {length}), 1 for valid clips, which come first",
            )
        return tuple(int(count) for count in counts)
    return (length,) * samples
