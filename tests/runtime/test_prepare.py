"""Preparing features: recomputed number by number in float64, and every bad source named."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.runtime.data.prepare import Sample, collate, prepare, tef_channels
from gatescope.runtime.errors import InputError
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.session.inputs import check_batch

from .tiny_model import tiny_manifest

Raw = dict[str, Any]


def raw(slowfast: int = 6, clip: int = 5, audio: int = 7, words: int = 4, seed: int = 0) -> Raw:
    """Raw features of the tiny model's widths (3 + 2, 3, 4), far from unit length."""
    rng = np.random.default_rng(seed)

    def draw(length: int, width: int) -> np.ndarray:
        return (5 * rng.standard_normal((length, width)) + 1).astype(np.float32)

    return {"video": [draw(slowfast, 3), draw(clip, 2)], "audio": draw(audio, 3), "text": draw(words, 4)}


def by_hand(features: Raw, length: int, words: int, *, norm: bool, norm_text: bool, tef: bool) -> Raw:
    """The recipe, one row and one number at a time."""

    def unit(row: Any, wanted: bool) -> list[float]:
        values = [float(x) for x in row]
        size = math.sqrt(sum(x * x for x in values)) + 1e-5
        return [x / size for x in values] if wanted else values

    rows: Raw = {"video": [], "audio": []}
    for i in range(length):
        ends = [i / length, (i + 1) / length] if tef else []
        rows["video"].append([x for source in features["video"] for x in unit(source[i], norm)] + ends)
        rows["audio"].append(unit(features["audio"][i], norm) + ends)
    rows["text"] = [unit(features["text"][i], norm_text) for i in range(words)]
    return rows


def agree(sample: Sample, want: Raw) -> None:
    for name in ("video", "audio", "text"):
        got = getattr(sample, name)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, np.asarray(want[name]), rtol=1e-6, atol=1e-7, err_msg=name)


@settings(max_examples=60)
@given(
    lengths=st.tuples(*[st.integers(1, 9)] * 4),
    limits=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_the_recipe(lengths: Any, limits: Any, flags: Any) -> None:
    norm, norm_text, tef = flags
    manifest = tiny_manifest(
        max_v_l=limits[0], max_q_l=limits[1], normalize_video=norm, normalize_text=norm_text, tef=tef
    )
    features = raw(*lengths)
    sample = prepare(manifest, **features)
    length, words = min(*lengths[:3], limits[0]), min(lengths[3], limits[1])
    assert (sample.clips, sample.words) == (length, words)
    agree(sample, by_hand(features, length, words, norm=norm, norm_text=norm_text, tef=tef))


def test_the_order_of_cutting_and_normalising_does_not_matter() -> None:
    """Training normalises each whole source before it cuts them to a common length."""
    features = raw(9, 5, 7)
    want: list[np.ndarray] = []
    for source in (*features["video"], features["audio"]):
        want.append((source / (np.linalg.norm(source, axis=1, keepdims=True) + 1e-5))[:5])
    sample = prepare(tiny_manifest(), **features)
    # Sums of squares may be added in another order: that is the last bit or two.
    np.testing.assert_array_max_ulp(sample.video[:, :5], np.concatenate(want[:2], axis=1), 2)
    np.testing.assert_array_max_ulp(sample.audio[:, :3], want[2], 2)


def test_tef_is_that_of_torch_to_the_bit() -> None:
    torch = pytest.importorskip("torch")
    for length in range(1, 200):
        start = torch.arange(0, length, 1.0) / length
        np.testing.assert_array_equal(
            tef_channels(length), torch.stack([start, start + 1.0 / length], dim=1).numpy()
        )


def test_a_row_of_zeros_stays_zero() -> None:
    features = raw()
    features["audio"][2] = 0
    assert not prepare(tiny_manifest(tef=False), **features).audio[2].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_dtypes_are_cast_first(dtype: Any) -> None:
    features = raw()
    cast = {
        "video": [np.round(x).astype(dtype) for x in features["video"]],
        "audio": np.round(features["audio"]).astype(dtype),
        "text": np.round(features["text"]).astype(dtype),
    }
    whole = {
        "video": [np.round(x) for x in features["video"]],
        "audio": np.round(features["audio"]),
        "text": np.round(features["text"]),
    }
    one, other = prepare(tiny_manifest(), **cast), prepare(tiny_manifest(), **whole)
    np.testing.assert_array_equal(one.video, other.video)
    np.testing.assert_array_equal(one.text, other.text)


def test_a_leading_axis_of_text_is_dropped() -> None:
    features = raw()
    want = prepare(tiny_manifest(), **features)
    got = prepare(tiny_manifest(), **{**features, "text": features["text"][None]})
    np.testing.assert_array_equal(got.text, want.text)  # type: ignore[arg-type]


def test_one_source_may_come_without_a_list() -> None:
    manifest = tiny_manifest(video_widths=(3,))
    features = raw()
    alone = prepare(manifest, **{**features, "video": features["video"][0]})
    listed = prepare(manifest, **{**features, "video": features["video"][:1]})
    np.testing.assert_array_equal(alone.video, listed.video)


def test_raw_arrays_are_left_alone() -> None:
    features = raw()
    kept = features["audio"].copy()
    sample = prepare(tiny_manifest(normalize_video=False, tef=False), **features)
    sample.audio[:] = 0
    np.testing.assert_array_equal(features["audio"], kept)


def test_text_is_needed_only_where_the_graph_takes_it() -> None:
    features = raw()
    del features["text"]
    with pytest.raises(InputError, match="needs text"):
        prepare(tiny_manifest(), **features)
    sample = prepare(tiny_manifest(outputs_kind="gates"), **features)
    assert sample.text is None
    assert sample.words == 0
    assert set(sample.as_batch()) == {"src_vid", "src_vid_mask", "src_aud", "src_aud_mask"}


def unrecorded(manifest: Manifest) -> Manifest:
    """Only the total width of the video is known."""
    video = tuple(replace(source, width=None) for source in manifest.preprocessing.video)
    return replace(manifest, preprocessing=replace(manifest.preprocessing, video=video))


def test_widths_of_single_sources_may_be_unknown() -> None:
    features = raw()
    manifest = unrecorded(tiny_manifest())
    np.testing.assert_array_equal(
        prepare(manifest, **features).video, prepare(tiny_manifest(), **features).video
    )
    features["video"][1] = np.ones((5, 9), np.float32)
    with pytest.raises(InputError, match=r"(?s)3 \+ 9 = 12 channels.*5 channels"):
        prepare(manifest, **features)


def spoiled(name: str, row: int, value: float) -> Raw:
    features = raw()
    target = features["video"][0] if name == "slowfast" else features[name]
    target[row, 1] = value
    return features


BAD: dict[str, tuple[Raw, list[str]]] = {
    "a source too few": (
        {**raw(), "video": raw()["video"][:1]},
        ["1 video sources instead of 2", "(6, 3)", "slowfast_features (3 channels), clip_features"],
    ),
    "one array for two sources": (
        {**raw(), "video": np.ones((5, 5), np.float32)},
        ["1 video sources instead of 2"],
    ),
    "no source": ({**raw(), "video": []}, ["0 video sources", "none"]),
    "sources in another order": (
        {**raw(), "video": raw()["video"][::-1]},
        ["video source slowfast_features has the wrong width", "2 channels", "3 channels", "order"],
    ),
    "audio of another width": (
        {**raw(), "audio": np.ones((5, 8), np.float32)},
        ["audio source pann_features", "8 channels", "3 channels"],
    ),
    "text of another width": (
        {**raw(), "text": np.ones((5, 8), np.float32)},
        ["text source clip_text_features", "8 channels", "4 channels"],
    ),
    "no clips": (
        {**raw(), "audio": np.ones((0, 3), np.float32)},
        ["audio source pann_features is empty", "(0, 3)"],
    ),
    "no words": ({**raw(), "text": np.ones((0, 4), np.float32)}, ["text source", "is empty"]),
    "one axis": (
        {**raw(), "audio": np.ones(3, np.float32)},
        ["audio source pann_features has 1 axes", "(3,)", "(clips, 3)"],
    ),
    "two texts": ({**raw(), "text": np.ones((2, 5, 4), np.float32)}, ["text source", "3 axes", "(words, 4)"]),
    "NaN": (
        spoiled("slowfast", 2, np.nan),
        ["video source slowfast_features holds NaN or Inf", "row 2"],
    ),
    "Inf": (spoiled("audio", 0, np.inf), ["audio source pann_features holds NaN or Inf", "row 0"]),
    "NaN in text": (spoiled("text", 3, np.nan), ["text source clip_text_features", "row 3"]),
    "huge": (spoiled("audio", 1, 1e30), ["audio source pann_features", "too large", "row 1"]),
    "strings": ({**raw(), "audio": np.full((5, 3), "x")}, ["audio source pann_features", "real numbers"]),
    "objects": (
        {**raw(), "text": np.full((5, 4), None)},
        ["text source clip_text_features", "dtype object", "(words, 4)"],
    ),
    "ragged": ({**raw(), "audio": [[1.0], [2.0, 3.0]]}, ["audio source pann_features cannot be read"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_features_are_refused_by_source(case: str) -> None:
    features, parts = BAD[case]
    with pytest.raises(InputError) as caught:
        prepare(tiny_manifest(), **features)
    for part in parts:
        assert part in str(caught.value)


def test_what_is_cut_away_need_not_be_finite() -> None:
    """Training never sees these rows either."""
    features = raw(slowfast=9, clip=5)
    features["video"][0][7] = np.nan
    assert prepare(tiny_manifest(), **features).clips == 5


def test_collating_pads_with_zeros_and_masks_what_is_valid() -> None:
    manifest = tiny_manifest()
    samples = [
        prepare(manifest, **raw(clips, clips, clips, words, seed=clips))
        for clips, words in ((3, 2), (1, 5), (4, 1))
    ]
    batch = collate(samples)
    shapes = {name: array.shape for name, array in batch.items()}
    assert shapes == {
        "src_txt": (3, 5, 4),
        "src_txt_mask": (3, 5),
        "src_vid": (3, 4, 7),
        "src_vid_mask": (3, 4),
        "src_aud": (3, 4, 5),
        "src_aud_mask": (3, 4),
    }
    assert all(array.dtype == np.float32 for array in batch.values())
    assert batch["src_vid_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert batch["src_aud_mask"].tolist() == batch["src_vid_mask"].tolist()
    assert batch["src_txt_mask"].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(batch["src_vid"][i, : sample.clips], sample.video)
        np.testing.assert_array_equal(batch["src_aud"][i, : sample.clips], sample.audio)
        np.testing.assert_array_equal(batch["src_txt"][i, : sample.words], sample.text)  # type: ignore[arg-type]
        assert not batch["src_vid"][i, sample.clips :].any()
        assert not batch["src_txt"][i, sample.words :].any()
    assert set(check_batch(manifest, batch)) == set(manifest.input_names)


def test_a_sample_alone_is_a_batch_of_one() -> None:
    sample = prepare(tiny_manifest(), **raw())
    batch = sample.as_batch()
    np.testing.assert_array_equal(batch["src_vid"][0], sample.video)
    assert batch["src_vid_mask"].shape == (1, 5)
    assert batch["src_vid_mask"].all()


def test_samples_that_do_not_belong_together_are_refused() -> None:
    whole = prepare(tiny_manifest(), **raw())
    with pytest.raises(InputError, match="at least one sample"):
        collate([])
    with pytest.raises(InputError, match="some samples have text"):
        collate([whole, replace(whole, text=None)])
    with pytest.raises(InputError, match="width of their audio"):
        collate([whole, replace(whole, audio=whole.audio[:, :2])])
