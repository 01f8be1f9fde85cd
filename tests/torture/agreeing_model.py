"""A model whose gates listen to how well sound and picture agree, and videos in which they do.

The demo's sights and sounds are independent, so its gates cannot show that audio is another video's. In real
videos both come from one scene. Here a scene wanders (AR(1), 0.9 from clip to clip, about a direction of the
video's own); picture and sound are linear views of it with noise, the sound with a loudness of its own, and
one video in twelve has a silent track. Computed in numpy:

    agreement = ⟨P_a audio, P_v video⟩,  presence = ⟨w, audio⟩
    gate[kind, layer] = tanh(15 a · agreement + b · presence + c)     with a, b, c of the row
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.runtime.data.features import RawFeatures
from gatescope.runtime.session.session import Outputs

from ..runtime.tiny_model import tiny_manifest

SCENE, VIDEO, AUDIO, LAYERS = 12, (48, 24), 32, 3
_COEFFICIENTS = {
    "attention": np.array([[2.2, 0.6, -0.5], [1.4, -0.5, 0.2], [0.3, 1.3, -0.2]]),
    "ffn": np.array([[1.2, 0.8, -0.3], [-0.9, 0.4, 0.5], [0.2, -1.1, 0.3]]),
}
_RNG = np.random.default_rng(21)
_TO_VIDEO, _TO_AUDIO = _RNG.normal(0, 1, (sum(VIDEO), SCENE)), _RNG.normal(0, 1, (AUDIO, SCENE))
_FROM_VIDEO, _FROM_AUDIO = np.linalg.pinv(_TO_VIDEO), np.linalg.pinv(_TO_AUDIO)
_SILENCE = 0.02 * np.abs(_RNG.normal(0, 1, AUDIO))
# Sound of any kind lies in this direction, and silence does not.
_PRESENCE = _RNG.normal(0, 1, AUDIO)
_PRESENCE -= _SILENCE * (_PRESENCE @ _SILENCE) / (_SILENCE @ _SILENCE)
_PRESENCE /= np.linalg.norm(_PRESENCE)


class AgreeingModel:
    """Stands where a :class:`~gatescope.runtime.session.session.GateSession` stands."""

    manifest = replace(
        tiny_manifest("clipwise", LAYERS, video_widths=VIDEO, audio_width=AUDIO, outputs_kind="gates")
    )

    def run(self, batch: Mapping[str, NDArray[Any]]) -> Outputs:
        """``src_vid``, ``src_aud`` (B, L, D) with their positions."""
        video, audio = batch["src_vid"][..., :-2], batch["src_aud"][..., :-2]
        seen, heard = video @ _FROM_VIDEO.T, audio @ _FROM_AUDIO.T
        agreement = 15 * (seen * heard).sum(axis=-1)
        presence = audio @ _PRESENCE
        gates = {
            kind: np.stack([np.tanh(a * agreement + b * presence + c) for a, b, c in rows], axis=1).astype(
                np.float32
            )[..., None]
            for kind, rows in _COEFFICIENTS.items()
        }
        return Outputs(gates=gates, predictions={}, raw=dict(gates))


def videos(numbers: Sequence[int]) -> list[RawFeatures]:
    """Raw features of the videos ``numbers``; the same for the same number."""
    return [_video(number) for number in numbers]


def _video(number: int) -> RawFeatures:
    rng = np.random.default_rng([22, number])
    clips = int(rng.integers(40, 76))
    scene = np.empty((clips, SCENE))
    own = rng.normal(0, 0.7, SCENE)
    scene[0] = rng.normal(0, 0.7, SCENE)
    for clip in range(1, clips):
        scene[clip] = 0.9 * scene[clip - 1] + 0.3 * rng.normal(0, 1, SCENE)
    scene += own
    picture = scene @ _TO_VIDEO.T + rng.normal(0, 3.0, (clips, sum(VIDEO)))
    loudness = np.exp(rng.normal(0.5, 0.3) + 0.2 * rng.normal(0, 1, (clips, 1)))
    sound = loudness * (scene @ _TO_AUDIO.T + 2 * _PRESENCE + rng.normal(0, 3.0, (clips, AUDIO)))
    if rng.random() < 1 / 12:
        sound = _SILENCE + 1e-3 * rng.normal(0, 1, (clips, AUDIO))
    return RawFeatures(
        (picture[:, : VIDEO[0]].astype(np.float32), picture[:, VIDEO[0] :].astype(np.float32)),
        sound.astype(np.float32),
        np.ones((3, 4), np.float32),
    )
