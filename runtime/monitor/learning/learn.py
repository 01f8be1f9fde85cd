"""Learns what faults do to a model's gates: it runs again over videos of its baseline, broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from ...array_types import Float64s
from ...data.annotations import read_annotations
from ...data.arrays import read_array
from ...data.dataset import FeatureSources
from ...data.features import FeatureReader, RawFeatures
from ...data.prepare import Sample, collate, prepare
from ...errors import GatescopeError, MonitorError
from ...gates.manifest import Manifest
from ...gates.vocabulary import TEF_CHANNELS
from ...runs.reader import Run
from ...session.model_file import file_sha256
from ...session.session import GateSession
from ..baseline.baseline import Baseline
from ..baseline.thresholds import THRESHOLD_SEED, Thresholds
from ..counting.layout import GateLayout
from ..counting.requests import TakenRequest, count_taken
from ..counting.videos import VideoCounts
from ..detection.readings import Reference, read_window, reference_of
from ..detection.window import window_sums
from ..diagnosis.features import gate_features
from ..diagnosis.signatures import APART, FLOOR, Signature, Signatures
from .injections import Vector, injections

LEARNED_VIDEOS = 200
#: How many variants of faults are made of each video.
VARIANTS = 7
_BATCH = 16
_WINDOW = 100
# Windows that are drawn to see whether thresholds would be passed, and their size.
_DRAWN, _DRAWN_WINDOW = 100, 50
_FIX = "say where the run's own files are with --model, --annotations and --features, or leave faults out"
_FIX_SILENCE = "give the features of one silent clip with --silence, or leave it out for the quietest clips"


def learn_signatures(
    run: Run,
    baseline: Baseline,
    *,
    videos: int = LEARNED_VIDEOS,
    silence: Path | None = None,
    model: Path | None = None,
    annotations: Path | None = None,
    features: Path | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Signatures:
    """Signatures from up to ``videos`` videos of ``run``, one query of each, evenly taken from it.

    Its model, annotations and features are those that ``run.json`` names, unless given here. ``silence``: an
    .npy file with the raw audio features (Da,) of a silent clip; else the quietest rows of the audio itself.
    ``advance`` is told how many samples were run, of ``(1 + VARIANTS) · videos`` at most.

    Raises :class:`~gatescope.runtime.errors.MonitorError` that says what is no longer there.
    """
    info = run.record
    path = model or Path(info.model.path)
    try:
        if file_sha256(path) != info.model.sha256:
            raise MonitorError(f"{path} is not the model of {run.path} any more", fix=_FIX)
        with GateSession(path) as session:
            raw = list(_read(run, session, annotations, features, videos))
            if len(raw) < 2:
                raise MonitorError(
                    "faults can be learned from two videos on",
                    received=f"{len(raw)} of {run.path} in its annotations" if videos > 1 else f"{videos}",
                    fix=_FIX if videos > 1 else "ask for more with --fault-videos, or leave faults out",
                )
            return learn_from(session, baseline, raw, _silence(silence, session.manifest), advance)
    except OSError as error:
        raise MonitorError(
            f"faults cannot be learned: {path} cannot be read",
            received=error.strerror or str(error),
            fix=_FIX,
        ) from error
    except MonitorError:
        raise
    except GatescopeError as error:
        raise _unlearned(error, _FIX) from error


def learn_from(
    session: GateSession,
    baseline: Baseline,
    raw: Sequence[RawFeatures],
    silence: Vector | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Signatures:
    """Signatures from raw features of videos, at least two; ``baseline``: whose thresholds must see them."""
    manifest = session.manifest
    layout = GateLayout.of_manifest(manifest)
    samples = [prepare(manifest, video=one.video, audio=one.audio, text=one.text) for one in raw]
    usual = gate_features(layout, counts_of_samples(session, layout, samples, advance))
    spread = np.cov(usual, rowvar=False)
    reference, held = reference_of(baseline), baseline.thresholds_for(_DRAWN_WINDOW)
    found: list[Signature] = []
    for injection in injections(manifest, raw, samples, silence):
        broken = map(injection.apply, range(len(samples)))
        counts = counts_of_samples(session, layout, broken, advance)
        own = gate_features(layout, counts)
        found.append(
            Signature(
                label=injection.label,
                variant=injection.variant,
                shift=(own - usual).mean(axis=0),
                spread=np.cov(own, rowvar=False),
                power=0.0,
                beyond=_share_beyond(reference, held, counts),
            )
        )
    return Signatures(len(raw), spread, tuple(_compared(spread, found, len(raw))))


def _share_beyond(reference: Reference, held: Thresholds, broken: VideoCounts) -> float:
    """Of windows drawn from ``broken``, the share in which any detector is beyond its threshold."""
    rng = np.random.default_rng(THRESHOLD_SEED)
    beyond = 0
    for _ in range(_DRAWN):
        drawn = broken[rng.integers(0, len(broken), _DRAWN_WINDOW)]
        sums, flags = window_sums(drawn)
        # Drawn with repetition: that two have the same gates says nothing.
        beyond += read_window(reference, held, sums, flags, 0).largest >= 1
    return beyond / _DRAWN


def counts_of_samples(
    session: GateSession,
    layout: GateLayout,
    samples: Iterable[Sample],
    advance: Callable[[int], object] = lambda _: None,
) -> VideoCounts:
    """The gates of ``samples`` as counts, in order.

    Raises :class:`~gatescope.runtime.errors.MonitorError` where the model's gates cannot be counted.
    """
    parts: list[VideoCounts] = []
    waiting = iter(samples)
    while own := list(islice(waiting, _BATCH)):
        batch = collate(own)
        outputs = session.run(batch)
        whole = bool(outputs.gates)
        taken = TakenRequest(
            time=0,
            gates=outputs.gates if whole else outputs.summaries,
            summaries=not whole,
            mask=batch["src_vid_mask"],
            ids=None,
            slice="",
        )
        videos = count_taken(layout, [taken], 0.0, _refuse)
        if videos is not None:
            parts.append(videos.counts)
        advance(len(own))
    return VideoCounts.joined(parts)


def separation(shift: Float64s, spread: Float64s, learned_from: int) -> float:
    """How far apart windows of 100 videos are whose features differ by ``shift``, in spreads."""
    effective = shrunk(spread) * (1 / _WINDOW + 1 / max(learned_from, 1))
    return float(np.sqrt(max(shift @ np.linalg.solve(effective, shift), 0.0)))


def shrunk(spread: Float64s) -> Float64s:
    """A covariance that can be inverted: drawn towards its diagonal, with a floor of a thousandth."""
    diagonal = np.diag(spread)
    return 0.8 * spread + 0.2 * np.diag(diagonal) + 1e-6 * np.eye(len(spread))


def _compared(spread: Float64s, found: Sequence[Signature], videos: int) -> Iterator[Signature]:
    """With each fault's power, and the others it cannot be told from."""
    # As in a diagnosis: where a fault leaves no difference between videos, a trifle tells no two apart.
    floor = FLOOR * np.diag(np.diag(spread))
    for one in found:
        power = separation(one.shift, spread, videos)
        like = dict.fromkeys(
            other.label
            for other in found
            if other.label != one.label
            and power >= APART
            and separation(one.shift - other.shift, (one.spread + other.spread) / 2 + floor, videos) < APART
        )
        yield replace(one, power=power, like=tuple(like))


def _read(
    run: Run, session: GateSession, annotations: Path | None, features: Path | None, most: int
) -> Iterator[RawFeatures]:
    info = run.record
    sources = FeatureSources(features) if features else info.features.sources
    folders = sources.find(session.manifest)
    done = set(run.samples.select("qid").collect()["qid"].to_list())
    one_each = {
        one.vid: one
        for one in reversed(read_annotations(annotations or info.annotations.path))
        if one.qid in done
    }
    chosen = list(reversed(one_each.values()))
    wanted = min(most, len(chosen))
    reader = FeatureReader(folders)
    for number in range(wanted):
        yield reader.read(chosen[number * len(chosen) // wanted])


def _silence(path: Path | None, manifest: Manifest) -> Vector | None:
    if path is None:
        return None
    recipe = manifest.preprocessing
    width = recipe.audio_width - (TEF_CHANNELS if recipe.tef else 0)
    try:
        vector = np.asarray(read_array(path, "features", own_key=False).values, np.float32).reshape(-1)
    except GatescopeError as error:
        raise _unlearned(error, _FIX_SILENCE) from error
    if len(vector) != width or not np.isfinite(vector).all():
        raise MonitorError(
            f"{path} does not hold the audio of one clip",
            received=f"{len(vector)} numbers" if len(vector) != width else "NaN or Inf",
            expected=f"{width} finite numbers: raw audio features (Da,) of a silent clip",
            fix=_FIX_SILENCE,
        )
    return vector


def _unlearned(error: GatescopeError, fix: str) -> MonitorError:
    return MonitorError(
        f"faults cannot be learned: {error.problem}",
        received=error.received,
        expected=error.expected,
        fix=fix,
    )


def _refuse(videos: int, error: Exception) -> None:
    raise MonitorError("the model's gates cannot be counted", received=str(error)) from error
