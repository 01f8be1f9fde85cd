"""How an intervention changes a batch's inputs and the model's gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....runtime.array_types import Float32s
from ....runtime.gates.manifest import Manifest
from ....runtime.gates.vocabulary import TEF_CHANNELS
from ....runtime.session.overrides import shut_values
from .donors import fitted
from .gate_means import GateMeans
from .interventions import Intervention

ModelInputs = Mapping[str, Float32s]


@dataclass(frozen=True, eq=False)
class Donated:
    """What the donors of a batch's samples donate, fitted to the batch's clips.

    - ``gates``: by kind, (B, layers, L | 1, channels | 1). ``audio`` (B, L, D) as the model takes it.
    """

    gates: Mapping[str, Float32s]
    audio: Float32s


def fit_donors(batch: ModelInputs, donated: ModelInputs, gates: Mapping[str, Float32s]) -> Donated:
    """What the donors' batch ``donated`` and their ``gates`` in the unchanged model give to ``batch``."""
    clips = batch["src_vid"].shape[1]
    lengths = clip_counts(donated)
    return Donated(
        {kind: own if own.shape[2] == 1 else fitted(own, lengths, clips) for kind, own in gates.items()},
        fitted(donated["src_aud"], lengths, clips),
    )


def changed(
    manifest: Manifest, intervention: Intervention, batch: ModelInputs, means: GateMeans, lent: Donated | None
) -> tuple[ModelInputs, dict[str, dict[str, Any]] | None]:
    """The batch and the overrides to run; a model's session takes both.

    The audio's own channels are replaced where the sample has clips; its TEF and its padding stay. ``lent``
    may be None where nothing is exchanged between videos.
    """
    if intervention.what == "audio":
        return {**batch, "src_aud": _audio(manifest, intervention, batch, lent)}, None
    return batch, _overrides(manifest, intervention, means, lent)


def clip_counts(batch: ModelInputs) -> NDArray[np.intp]:
    """How many clips each sample has, (B,)."""
    return batch["src_vid_mask"].sum(axis=1).astype(np.intp)


def _audio(
    manifest: Manifest, intervention: Intervention, batch: ModelInputs, lent: Donated | None
) -> Float32s:
    audio = batch["src_aud"].copy()
    own = audio.shape[2] - (TEF_CHANNELS if manifest.preprocessing.tef else 0)
    audio[..., :own] = 0
    if intervention.treatment == "shuffled":
        assert lent is not None
        valid = batch["src_vid_mask"][..., None] > 0
        audio[..., :own] = np.where(valid, lent.audio[..., :own], 0)
    return audio


def _overrides(
    manifest: Manifest, intervention: Intervention, means: GateMeans, lent: Donated | None
) -> dict[str, dict[str, Any]] | None:
    """A gate that is replaced has scale 0, and what replaces it as its offset."""
    overrides: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(kind for kind, _ in intervention.gates):
        replaced = np.zeros((len(means[kind]), 1, 1), np.bool_)
        replaced[[index for of, index in intervention.gates if of == kind]] = True
        overrides[kind] = {"scale": np.where(replaced, 0.0, 1.0).astype(np.float32)}
        if intervention.treatment == "shut":
            overrides[kind]["offset"] = np.where(replaced, shut_values(manifest, kind), np.float32(0))
        elif intervention.treatment == "mean":
            overrides[kind]["offset"] = np.where(replaced, means[kind], 0.0).astype(np.float32)
        elif intervention.treatment == "shuffled":
            assert lent is not None
            overrides[kind]["offset"] = np.where(replaced, lent.gates[kind], np.float32(0))
    return overrides or None
