"""What each fault does to the gates of one model, as it was measured on videos of its baseline."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ...array_types import Float64s

#: Faults are told from each other where windows of 100 videos are this many spreads apart.
APART = 5.0
#: A fault is visible where so many windows of 50 videos with it are beyond a threshold.
VISIBLE = 0.9
#: Variance that every feature has at least under a fault, as a share of what it has in the baseline.
FLOOR = 0.05


@dataclass(frozen=True, eq=False)
class Signature:
    """One variant of one fault; F features of a video.

    - ``shift`` (F,): how the features' mean moves, over the same videos with and without the fault.
      ``spread`` (F, F): their covariance under the fault.
    - ``beyond``: the share of windows of 50 videos with the fault that are beyond a threshold of the
      baseline. ``power``: how far windows of 100 are from windows without it, in spreads.
      ``like``: labels of other faults that move the gates the same way, so that they cannot be told apart.
    """

    label: str
    variant: str
    shift: Float64s
    spread: Float64s
    power: float
    beyond: float = 0.0
    like: tuple[str, ...] = ()

    @property
    def visible(self) -> bool:
        """Whether the gates show the fault within 100 videos: two windows of 50, one to confirm the other."""
        return self.beyond >= VISIBLE


@dataclass(frozen=True, eq=False)
class Signatures:
    """Of one model: every variant of every fault that was made, on ``videos`` videos.

    ``spread`` (F, F): covariance of the features without a fault.
    """

    videos: int
    spread: Float64s
    faults: tuple[Signature, ...]

    @property
    def invisible(self) -> tuple[str, ...]:
        """Labels of faults that this model's gates do not show in any variant."""
        labels = dict.fromkeys(one.label for one in self.faults)
        return tuple(
            label for label in labels if not any(one.visible for one in self.faults if one.label == label)
        )

    def to_plain(self) -> dict[str, Any]:
        """Text and numbers, for JSON; arrays lose what float32 does not hold."""
        return {
            "videos": self.videos,
            "features": len(self.spread),
            "spread": _pack(self.spread),
            "faults": [
                {
                    "label": one.label,
                    "variant": one.variant,
                    "power": one.power,
                    "beyond": one.beyond,
                    "like": list(one.like),
                    "shift": _pack(one.shift),
                    "spread": _pack(one.spread),
                }
                for one in self.faults
            ],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Signatures:
        """What :meth:`to_plain` gave; ``KeyError``, ``ValueError``, ``TypeError``, ``zlib.error`` else."""
        count = int(plain["features"])
        faults = cast(list[Mapping[str, Any]], plain["faults"])
        return cls(
            int(plain["videos"]),
            _unpack(plain["spread"], (count, count)),
            tuple(
                Signature(
                    str(one["label"]),
                    str(one["variant"]),
                    _unpack(one["shift"], (count,)),
                    _unpack(one["spread"], (count, count)),
                    float(one["power"]),
                    float(one["beyond"]),
                    tuple(str(label) for label in one["like"]),
                )
                for one in faults
            ),
        )


def _pack(array: Float64s) -> str:
    return base64.b64encode(zlib.compress(array.astype("<f4").tobytes(), 9)).decode()


def _unpack(text: str, shape: tuple[int, ...]) -> Float64s:
    data = zlib.decompress(base64.b64decode(text, validate=True))
    return np.frombuffer(data, "<f4").astype(np.float64).reshape(shape)
