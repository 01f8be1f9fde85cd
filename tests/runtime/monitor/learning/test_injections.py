"""Each fault changes what it says and nothing else: every broken sample is made again here, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from gatescope.runtime.data.features import RawFeatures
from gatescope.runtime.data.prepare import Sample, prepare
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.monitor.learning.injections import (
    LABELS,
    NORMALISATION,
    SHIFTED,
    SHUFFLED,
    SILENT,
    ZERO,
    Injection,
    injections,
    quietest,
)
from gatescope.runtime.monitor.learning.learn import VARIANTS

from ...tiny_model import Kind, tiny_manifest

AUDIO = 3
# Audio is longer or shorter than the pictures; some videos have a single clip.
LENGTHS = ((9, 9), (1, 3), (4, 6), (2, 2), (12, 7), (5, 1))


@dataclass(frozen=True)
class Videos:
    """Samples of one model, and what they were prepared from."""

    manifest: Manifest
    raw: list[RawFeatures]
    samples: list[Sample]

    def faults(self, silence: np.ndarray | None = None) -> list[Injection]:
        return injections(self.manifest, self.raw, self.samples, silence)

    def broken(self, label: str, variant: str = "", silence: np.ndarray | None = None) -> list[Sample]:
        (one,) = (one for one in self.faults(silence) if one.label == label and variant in one.variant)
        return [one.apply(number) for number in range(len(self.samples))]

    def sound(self, sample: Sample) -> np.ndarray:
        """Its audio without positions."""
        return sample.audio[:, :AUDIO]


def videos_of(
    lengths: tuple[tuple[int, int], ...] = LENGTHS, outputs_kind: Kind = "tracked", **preprocessing: bool
) -> Videos:
    rng = np.random.default_rng(3)
    manifest = tiny_manifest(audio_width=AUDIO, outputs_kind=outputs_kind, **preprocessing)
    text = "src_txt" in manifest.input_names
    raw = [
        RawFeatures(
            tuple(rng.normal(0, 2, (clips, width)).astype(np.float32) for width in (3, 2)),
            rng.normal(0, 2, (sounds, AUDIO)).astype(np.float32),
            rng.normal(0, 2, (3, 4)).astype(np.float32) if text else None,
        )
        for clips, sounds in lengths
    ]
    samples = [prepare(manifest, video=one.video, audio=one.audio, text=one.text) for one in raw]
    return Videos(manifest, raw, samples)


@pytest.fixture(params=[True, False], ids=["positions", "no positions"])
def tef(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(params=[True, False], ids=["normalised", "as they are"])
def normalised(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def videos(tef: bool, normalised: bool) -> Videos:
    return videos_of(tef=tef, normalize_video=normalised)


def unit(rows: np.ndarray) -> np.ndarray:
    """Each row over its length + 1e-5."""
    return np.array([row / (sum(float(one) ** 2 for one in row) ** 0.5 + 1e-5) for row in rows])


def test_every_label_is_made_and_the_variants_are_counted(videos: Videos) -> None:
    faults = videos.faults()
    assert tuple(dict.fromkeys(one.label for one in faults)) == LABELS
    assert len({(one.label, one.variant) for one in faults}) == len(faults) == VARIANTS


def test_positions_text_and_pictures_stay_and_no_fault_touches_the_sample_it_is_made_of(
    videos: Videos,
) -> None:
    before = [
        Sample(one.video.copy(), one.audio.copy(), None if one.text is None else one.text.copy())
        for one in videos.samples
    ]
    for fault in videos.faults():
        for number, own in enumerate(before):
            made, kept = fault.apply(number), videos.samples[number]
            assert made.video.shape == own.video.shape and made.audio.shape == own.audio.shape
            assert made.video.dtype == made.audio.dtype == np.float32
            assert np.array_equal(made.audio[:, AUDIO:], own.audio[:, AUDIO:])
            assert made.text is not None and own.text is not None
            assert np.array_equal(made.text, own.text)
            if fault.variant != "of audio and video":
                assert np.array_equal(made.video, own.video)
            assert np.array_equal(kept.audio, own.audio) and np.array_equal(kept.video, own.video)


def test_a_graph_without_text_gets_none() -> None:
    videos = videos_of(outputs_kind="gates")
    assert all(fault.apply(0).text is None for fault in videos.faults())


def test_zero_features_are_zero(videos: Videos) -> None:
    assert not any(videos.sound(made).any() for made in videos.broken(ZERO))


def test_a_silent_clip_that_is_given_is_in_every_row_as_the_model_would_get_it(
    videos: Videos, normalised: bool
) -> None:
    silence = np.array([0.5, -0.25, 2.0], np.float32)
    row = unit(silence[None])[0] if normalised else silence
    for made in videos.broken(SILENT, silence=silence):
        np.testing.assert_allclose(videos.sound(made), np.tile(row, (made.clips, 1)), rtol=1e-6)


def test_silence_that_is_not_given_is_the_quietest_row_of_all(videos: Videos, normalised: bool) -> None:
    rows = np.concatenate([one.audio for one in videos.raw])
    quiet = min(rows, key=lambda row: float((row.astype(np.float64) ** 2).sum()))
    row = unit(quiet[None])[0] if normalised else quiet
    for made in videos.broken(SILENT):
        np.testing.assert_allclose(videos.sound(made), np.tile(row, (made.clips, 1)), rtol=1e-5)


def test_of_many_rows_the_quietest_half_percent_tell_the_direction_and_zeros_do_not_count() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(0, 1, (900, AUDIO)).astype(np.float32)
    audio = [rows[:400], np.zeros((50, AUDIO), np.float32), rows[400:]]
    ranked = sorted(rows.astype(np.float64), key=lambda row: float(np.linalg.norm(row)))[:4]
    direction = sum(row / np.linalg.norm(row) for row in ranked) / 4
    np.testing.assert_allclose(quietest(audio), direction * np.linalg.norm(ranked[0]), rtol=1e-5)


def test_audio_that_is_zero_throughout_is_its_own_silence() -> None:
    found = quietest([np.zeros((5, AUDIO), np.float32)] * 2)
    assert found.dtype == np.float32 and found.tolist() == [0.0] * AUDIO


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_shuffled_audio_is_each_time_anothers_repeated_or_cropped_and_never_ones_own(
    count: int, tef: bool
) -> None:
    videos = videos_of(LENGTHS[:count], tef=tef)
    sounds = [videos.sound(sample) for sample in videos.samples]

    def is_of(made: np.ndarray, other: np.ndarray) -> bool:
        return all(np.array_equal(row, other[clip % len(other)]) for clip, row in enumerate(made))

    owners = [
        [owner for owner, sound in enumerate(sounds) if is_of(videos.sound(made), sound)]
        for made in videos.broken(SHUFFLED)
    ]
    assert all(len(found) == 1 for found in owners)
    assert sorted(owner for (owner,) in owners) == list(range(count))
    assert all(owner != number for number, (owner,) in enumerate(owners))


@pytest.mark.parametrize(
    ("variant", "clips_of"),
    [("by a fifth", lambda length: length / 5), ("by half", lambda length: length / 2)],
)
def test_shifted_audio_is_late_by_its_share_of_the_video_and_by_a_clip_at_least(
    videos: Videos, variant: str, clips_of: Callable[[int], float]
) -> None:
    for own, made in zip(videos.samples, videos.broken(SHIFTED, variant), strict=True):
        late = max(round(clips_of(own.clips)), 1)
        for clip in range(own.clips):
            assert np.array_equal(videos.sound(made)[clip], videos.sound(own)[(clip - late) % own.clips])


@pytest.mark.parametrize("variant", ["of the audio", "of audio and video"])
def test_features_are_left_as_they_are_where_training_normalised_and_normalised_where_it_did_not(
    videos: Videos, normalised: bool, variant: str
) -> None:
    for number, made in enumerate(videos.broken(NORMALISATION, variant)):
        own, raw = videos.samples[number], videos.raw[number]
        changed = (lambda rows: rows) if normalised else unit
        np.testing.assert_allclose(videos.sound(made), changed(raw.audio[: own.clips]), rtol=1e-5)
        if variant == "of audio and video":
            pictures = [changed(source[: own.clips]) for source in raw.video]
            np.testing.assert_allclose(made.video[:, :5], np.hstack(pictures), rtol=1e-5)
            assert np.array_equal(made.video[:, 5:], own.video[:, 5:])


def test_videos_of_one_clip_are_broken_as_well_and_only_a_shift_cannot_be_seen() -> None:
    videos = videos_of(((1, 1), (1, 1), (1, 4)))
    for fault in videos.faults():
        for number, own in enumerate(videos.samples):
            same = np.array_equal(fault.apply(number).audio, own.audio)
            quiet = fault.label == SILENT and number == _quietest_of(videos)
            assert same == (fault.label == SHIFTED or quiet)


def _quietest_of(videos: Videos) -> int:
    """The video of one clip that has the quietest row, or -1."""
    norms = [np.linalg.norm(one.audio, axis=1) for one in videos.raw]
    least = min(float(one.min()) for one in norms)
    return next((number for number, one in enumerate(norms) if float(one[0]) == least), -1)
