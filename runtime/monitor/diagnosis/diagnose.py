"""Which fault a window of videos looks like, and the sentences that say why.

Gates that are no numbers name themselves, frozen and constant ones where no other fault explains them. For
the rest, the mean features of the window
are compared with the baseline's, moved by what each fault was seen to do to this model: a Gaussian whose
covariance is that of a mean over the window, of the baseline's mean, and of the signature. A window may hold
videos from before the fault, so a share of it is fitted as well. A fault is named where it explains most of
the change and clearly more than any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...array_types import Float64s
from ..alarm import Diagnosis, WindowReading
from ..counting.layout import GateLayout
from ..counting.videos import VideoCounts
from .features import gate_features
from .signatures import FLOOR, Signature, Signatures

UNKNOWN, ANOTHER_MODEL = "unknown", "another model"
NOT_NUMBERS, FROZEN, CONSTANT = "not finite numbers", "frozen input", "constant gates"
_NO_FIT = "no known fault fits: the traffic, the features or the model changed"

# Of the change between baseline and window, what a named fault must explain, and how much more likely
# (in nats) it must be than the next label.
_EXPLAINED, _AHEAD = 0.5, 3.0
# And what it must explain where different videos also have the same gates.
_EXPLAINED_FROZEN = 0.9
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
# A fault in production is not exactly the one that was made: as if no window said more than fifty videos do.
_MISFIT = 0.02
# Share of the rows that must be far beyond their threshold for the model itself to be in doubt.
_MOST_ROWS, _FAR = 0.9, 3.0


@dataclass(frozen=True)
class _Fit:
    signature: Signature
    share: float
    likelihood: float
    explained: float


def diagnose(
    signatures: Signatures | None,
    layout: GateLayout,
    reference: VideoCounts,
    window: VideoCounts,
    readings: Sequence[WindowReading],
) -> Diagnosis:
    """What ``window`` (at least one video), beside ``reference``, looks like.

    ``readings``: those beyond their thresholds, the farthest first.
    """
    broken, frozen = _not_numbers(readings), _frozen(readings)
    if broken is not None:
        return broken
    told = _levels(layout, reference, window, readings)
    if signatures is None or not signatures.faults:
        told.append("no fault signatures: the baseline was made without them")
        return frozen or _constant(layout, readings, told) or Diagnosis(UNKNOWN, (_NO_FIT, *told))
    fits = _fits(signatures, gate_features(layout, reference), gate_features(layout, window))
    scores = {fit.signature.label: round(fit.likelihood - fits[0].likelihood, 3) for fit in reversed(fits)}
    best = fits[0]
    others = [fit for fit in fits if fit.signature.label != best.signature.label]
    ahead = best.likelihood - others[0].likelihood if others else np.inf
    # A fault that takes away all that differs between videos freezes their gates as well.
    if frozen is not None and best.explained < _EXPLAINED_FROZEN:
        return frozen
    if best.explained < _EXPLAINED:
        explained = f"{max(best.explained, 0):.0%} of the change"
        told.append(f"the nearest known fault, {best.signature.label}, explains {explained}")
        return _nameless(layout, readings, told, scores)
    evidence = [
        f"{best.signature.label} ({best.signature.variant}) explains {best.explained:.0%} of the change",
        *told,
    ]
    if best.share < 1:
        evidence.append(f"about {best.share:.0%} of the window's videos have it")
    if ahead < _AHEAD:
        evidence.append(f"nearly as likely: {others[0].signature.label}")
    if best.signature.like:
        evidence.append(f"in this model's gates it looks like {', '.join(best.signature.like)}")
    return Diagnosis(best.signature.label, tuple(evidence), scores)


def _not_numbers(readings: Sequence[WindowReading]) -> Diagnosis | None:
    """Gates that are NaN or infinite."""
    worst = max((one.value for one in readings if one.kind == "nan"), default=0.0)
    if not worst:
        return None
    return Diagnosis(
        NOT_NUMBERS, (f"gates of {worst:.1%} of the videos are NaN or infinite: check the features first",)
    )


def _frozen(readings: Sequence[WindowReading]) -> Diagnosis | None:
    """Different videos with the same gates."""
    worst = max((one.value for one in readings if one.kind == "frozen"), default=0.0)
    if not worst:
        return None
    why = (
        f"{worst:.0%} of the videos have exactly the gates of the one before, under another id: features are"
        " not being refreshed, or ids name requests instead of videos"
    )
    return Diagnosis(FROZEN, (why,))


def _constant(layout: GateLayout, readings: Sequence[WindowReading], told: Sequence[str]) -> Diagnosis | None:
    """Gates that do not change over a video's clips, in half of the rows and of the videos."""
    rows = {(one.gate, one.layer) for one in readings if one.kind == "constant" and one.value >= 0.5}
    if len(rows) < len(layout) / 2:
        return None
    why = f"{len(rows)} of {len(layout)} gates do not change over their videos' clips"
    return Diagnosis(CONSTANT, (why, *told))


def _nameless(
    layout: GateLayout, readings: Sequence[WindowReading], told: Sequence[str], scores: dict[str, float]
) -> Diagnosis:
    """No known fault: constant gates, another model where all is off by far, or nothing with a name."""
    if (constant := _constant(layout, readings, told)) is not None:
        return constant
    far = {(one.gate, one.layer) for one in readings if one.excess >= _FAR}
    if len(far) >= _MOST_ROWS * len(layout):
        why = f"{len(far)} of {len(layout)} gates are far beyond their thresholds: another model or recipe?"
        return Diagnosis(ANOTHER_MODEL, (why, *told), scores)
    return Diagnosis(UNKNOWN, (_NO_FIT, *told), scores)


def _fits(signatures: Signatures, usual: Float64s, seen: Float64s) -> list[_Fit]:
    """Every label's best variant and share, the likeliest first."""
    change = seen.mean(axis=0) - usual.mean(axis=0)
    certainty = 1 / len(seen) + 1 / len(usual) + 1 / signatures.videos + _MISFIT
    scale = np.sqrt(np.maximum(np.diag(np.cov(usual, rowvar=False)), 1e-6))
    best: dict[str, _Fit] = {}
    for signature in signatures.faults:
        for share in _SHARES:
            spread = share * signature.spread + (1 - share) * signatures.spread
            fit = _fit(signature, share, change, spread, certainty, scale)
            before = best.get(signature.label)
            if before is None or fit.likelihood > before.likelihood:
                best[signature.label] = fit
    return sorted(best.values(), key=lambda fit: -fit.likelihood)


def _fit(
    signature: Signature, share: float, change: Float64s, spread: Float64s, certainty: float, scale: Float64s
) -> _Fit:
    """How likely ``change`` is, if ``share`` of the videos have the fault; on the scale of usual videos."""
    left = (change - share * signature.shift) / scale
    scaled = spread / np.outer(scale, scale)
    # Towards a sphere, and never flat: under a fault that saturates every gate nothing varies any more.
    sphere = 0.2 * np.trace(scaled) / len(scaled) + FLOOR
    factor = np.linalg.cholesky(certainty * (0.8 * scaled + sphere * np.eye(len(scaled))))
    distance = float((np.linalg.solve(factor, left) ** 2).sum())
    volume = float(2 * np.log(np.diag(factor)).sum())
    whole = change / scale
    return _Fit(
        signature,
        share,
        -0.5 * (distance + volume),
        1 - float(left @ left) / max(float(whole @ whole), 1e-12),
    )


def _levels(
    layout: GateLayout, reference: VideoCounts, window: VideoCounts, readings: Sequence[WindowReading]
) -> list[str]:
    """The worst row's mean gate, then and now."""
    worst = next((one for one in readings if one.layer is not None), None)
    if worst is None:
        return []
    row = layout.names.index(f"{worst.gate}.{worst.layer}")

    def mean(counts: VideoCounts) -> float:
        return float(counts.sum_of("sum")[:, row].sum() / max(int(counts.count[:, row].sum()), 1))

    return [
        f"the {worst.gate} gate of layer {worst.layer} is {mean(window):.3f} on average,"
        f" {mean(reference):.3f} in the baseline"
    ]
