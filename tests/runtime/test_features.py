"""Features: folders found or asked for, arrays read as stored, and every fault told with its file."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.runtime.data.annotations import Annotation, read_annotations
from gatescope.runtime.data.arrays import find_array_file, read_array
from gatescope.runtime.data.check import check_samples
from gatescope.runtime.data.features import FeatureReader, read_raw
from gatescope.runtime.data.folders import FeatureFolders
from gatescope.runtime.errors import DatasetError, UsageError
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.gates.preprocessing import InputSource

from .tiny_dataset import TinyDataset, tiny_dataset
from .tiny_model import tiny_manifest


@pytest.fixture
def manifest() -> Manifest:
    return tiny_manifest()


@pytest.fixture
def data(tmp_path: Path, manifest: Manifest) -> TinyDataset:
    return tiny_dataset(tmp_path / "data", manifest)


def trained_on(manifest: Manifest, *video: str, audio: str = "a/pann_features", text: str = "t") -> Manifest:
    """The manifest of a model trained on these paths."""
    recipe = manifest.preprocessing
    sources = tuple(replace(source, path=path) for source, path in zip(recipe.video, video, strict=True))
    recipe = replace(recipe, video=sources, audio=InputSource(audio), text=InputSource(text))
    return replace(manifest, preprocessing=recipe)


def names(folders: FeatureFolders, root: Path) -> list[str]:
    return [str(f.relative_to(root)) for f in (*folders.video, folders.audio, folders.text or root)]


TRAINED = {
    "last part": (
        ("../features/my_sf", "../features/my_clip"),
        ["my_sf", "my_clip", "pann_features", "t"],
        ["my_sf", "my_clip", "pann_features", "t"],
    ),
    "trailing slashes": (
        ("features/my_sf/", "features/my_clip//"),
        ["my_sf", "my_clip", "pann_features", "t"],
        ["my_sf", "my_clip", "pann_features", "t"],
    ),
    "windows paths": (
        ("D:\\f\\my_sf", "D:\\f\\my_clip\\"),
        ["my_sf", "my_clip", "pann_features", "t"],
        ["my_sf", "my_clip", "pann_features", "t"],
    ),
    "usual names by what the path contains": (
        ("x/vid_slowfast_2fps", "x/clip_b32"),
        ["slowfast_features", "clip_features", "audio", "text_features", "video_features"],
        ["slowfast_features", "clip_features", "audio", "text_features"],
    ),
    "the last part tells more than its parents": (
        ("clip_and_i3d/sf_slowfast", "slowfast_run/the_clip"),
        ["slowfast", "umt_clip_features", "panns", "query"],
        ["slowfast", "umt_clip_features", "panns", "query"],
    ),
    "sources that share their last part": (
        ("x/slowfast/features", "x/clip/features"),
        ["slowfast/features", "clip/features", "pann_features", "t"],
        ["slowfast/features", "clip/features", "pann_features", "t"],
    ),
}


@pytest.mark.parametrize("trained, made, found", TRAINED.values(), ids=TRAINED.keys())
def test_folders_are_found_under_root(
    tmp_path: Path, manifest: Manifest, trained: tuple[str, str], made: list[str], found: list[str]
) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    folders = FeatureFolders.find(trained_on(manifest, *trained), tmp_path)
    assert names(folders, tmp_path) == found


def test_explicit_folders_override_and_need_no_root(tmp_path: Path, manifest: Manifest) -> None:
    for name in ("one", "two", "sound", "words", "slowfast_features", "clip_features", "pann_features"):
        (tmp_path / name).mkdir()
    explicit = FeatureFolders.find(
        manifest,
        None,
        video=[tmp_path / "one", tmp_path / "two"],
        audio=tmp_path / "sound",
        text=tmp_path / "words",
    )
    assert names(explicit, tmp_path) == ["one", "two", "sound", "words"]
    mixed = FeatureFolders.find(manifest, tmp_path, text=tmp_path / "words")
    assert names(mixed, tmp_path) == ["slowfast_features", "clip_features", "pann_features", "words"]


def test_a_model_without_text_needs_no_text_folder(tmp_path: Path) -> None:
    for name in ("slowfast_features", "clip_features", "pann_features"):
        (tmp_path / name).mkdir()
    assert FeatureFolders.find(tiny_manifest(outputs_kind="gates"), tmp_path).text is None


def test_missing_folders_are_listed_with_what_is_there(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "slowfast_features").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match="feature folders are missing") as caught:
        FeatureFolders.find(manifest, tmp_path)
    message = str(caught.value)
    assert "video source 'clip_features': looked for clip_features, umt_clip_features" in message
    assert "audio source 'pann_features'" in message and "text source 'clip_text_features'" in message
    assert "notes.txt, slowfast_features/" in message
    assert "source 'slowfast_features'" not in message


def test_a_root_one_level_off_is_recognised(tmp_path: Path, manifest: Manifest) -> None:
    root = tmp_path / "features"
    for name in ("slowfast_features", "clip_features", "pann_features", "clip_text_features"):
        (root / name).mkdir(parents=True)
    with pytest.raises(DatasetError, match="features/ below it has them") as caught:
        FeatureFolders.find(manifest, tmp_path)
    assert f"--features {root}" in str(caught.value)
    with pytest.raises(DatasetError, match="features/ above it has them"):
        FeatureFolders.find(manifest, root / "pann_features")
    (root / "pann_features").rmdir()
    with pytest.raises(DatasetError, match="correct --features"):
        FeatureFolders.find(manifest, tmp_path)


def test_a_missing_root_and_a_missing_explicit_folder(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(DatasetError, match="is not there"):
        FeatureFolders.find(manifest, tmp_path / "absent")
    with pytest.raises(UsageError, match="nothing says where the features are"):
        FeatureFolders.find(manifest, None)
    for name in ("slowfast_features", "clip_features", "clip_text_features"):
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match="audio source 'pann_features': looked for gone"):
        FeatureFolders.find(manifest, tmp_path, audio=tmp_path / "gone")


def test_the_number_of_video_folders_must_fit(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="number of video feature folders") as caught:
        FeatureFolders.find(manifest, tmp_path, video=[tmp_path])
    assert "2, in this order: slowfast_features, clip_features" in str(caught.value)


def test_two_sources_are_not_taken_from_one_folder_by_accident(tmp_path: Path, manifest: Manifest) -> None:
    for name in ("features", "pann_features", "t"):
        (tmp_path / name).mkdir()
    model = trained_on(manifest, "slowfast/features", "clip/features")
    with pytest.raises(DatasetError, match="two video sources were found in the same folder"):
        FeatureFolders.find(model, tmp_path)


def test_arrays_are_read_as_stored(data: TinyDataset, manifest: Manifest) -> None:
    annotation = read_annotations(data.annotations)[2]
    raw = read_raw(FeatureFolders.find(manifest, data.root), annotation)
    for number, array in enumerate(raw.video):
        np.testing.assert_array_equal(array, np.load(data.video(number, annotation.vid))["features"])
    np.testing.assert_array_equal(raw.audio, np.load(data.audio(annotation.vid)))
    np.testing.assert_array_equal(raw.text, np.load(data.text(annotation.qid))["last_hidden_state"])
    assert {array.dtype for array in (*raw.video, raw.audio)} == {np.dtype(np.float32)}


def test_the_other_array_format_is_accepted_where_only_it_exists(
    data: TinyDataset, manifest: Manifest
) -> None:
    annotation = read_annotations(data.annotations)[0]
    folders = FeatureFolders.find(manifest, data.root)
    before = read_raw(folders, annotation)
    assert before.text is not None
    for path, array in (
        (data.video(0, annotation.vid), before.video[0]),
        (data.text(annotation.qid), before.text[None]),
    ):
        path.unlink()
        np.save(path.with_suffix(".npy"), array)
    data.audio(annotation.vid).unlink()
    np.savez(data.audio(annotation.vid).with_suffix(".npz"), anything=before.audio)
    after = read_raw(folders, annotation)
    np.testing.assert_array_equal(after.video[0], before.video[0])
    np.testing.assert_array_equal(after.audio, before.audio)
    np.testing.assert_array_equal(np.asarray(after.text), before.text)


def test_tvsum_joins_its_two_streams_and_reads_tokens(tmp_path: Path) -> None:
    manifest = tiny_manifest(video_widths=(5,), dataset="tvsum", video=(InputSource("video_features", 5),))
    for name in ("video_features", "pann_features", "clip_text_features"):
        (tmp_path / name).mkdir()
    rgb, flow = np.full((3, 2), 1.0), np.full((3, 3), 2.0)
    np.save(tmp_path / "video_features" / "v_rgb.npy", rgb)
    np.save(tmp_path / "video_features" / "v_opt.npy", flow)
    np.save(tmp_path / "pann_features" / "v.npy", np.ones((3, 3)))
    np.savez(tmp_path / "clip_text_features" / "12.npz", token=np.ones((2, 4)))
    folders = FeatureFolders.find(manifest, tmp_path)
    raw = read_raw(folders, Annotation("12", 12, "", "v", 3.0, 1))
    np.testing.assert_array_equal(raw.video[0], np.hstack([rgb, flow]))
    assert raw.text is not None and raw.text.shape == (2, 4)
    np.save(tmp_path / "video_features" / "v_opt.npy", flow[:2])
    with pytest.raises(DatasetError, match=r"v_rgb.npy has 3 clips, .*v_opt.npy has 2"):
        read_raw(folders, Annotation("12", 12, "", "v", 3.0, 1))


def test_charades_uses_the_names_of_qvhighlights(tmp_path: Path) -> None:
    manifest = tiny_manifest(dataset="charades", clip_length=1.0)
    data = tiny_dataset(tmp_path, manifest)
    raw = read_raw(FeatureFolders.find(manifest, data.root), read_annotations(data.annotations)[0])
    assert [array.shape[1] for array in raw.video] == [3, 2]


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def zipped(**members: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in members.items():
            archive.writestr(f"{name}.npy", saved(array))
    return buffer.getvalue()


def with_first(value: float, shape: tuple[int, int] = (4, 3)) -> np.ndarray:
    array = np.ones(shape, np.float64)
    array[2, 1] = value
    return array


class _Bomb:
    """Unpickling it would leave a trace."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("unpickled",))


def huge_header() -> bytes:
    """An array file that claims terabytes and has 48 bytes."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(48)


ok = np.ones((4, 3), np.float32)
BAD_VIDEO = {
    "empty file": (b"", "is empty"),
    "not an array file": (b"hello there", "neither an .npy nor an .npz file"),
    "a pickle": (pickle.dumps(_Bomb()), "neither an .npy nor an .npz file"),
    "truncated archive": (zipped(features=ok)[:-30], "truncated or damaged"),
    "flipped byte": (zipped(features=ok).replace(b"\x00\x00\x80\x3f", b"\x00\x01\x80\x3f", 1), "damaged"),
    "no such key": (zipped(feats=ok, other=ok), "has no array 'features'; it holds feats, other"),
    "another single key": (zipped(feats=ok), "has no array 'features'; it holds feats"),
    "an archive of nothing": (zipped(), "has no array 'features'; it holds nothing"),
    "pickled objects": (zipped(features=np.array([_Bomb()])), "pickled Python objects"),
    "text": (zipped(features=np.array(["a"])), "not numbers"),
    "complex": (zipped(features=ok.astype(complex)), "not numbers"),
    "one axis": (zipped(features=ok[0]), r"has shape \(3,\), not \(clips, width\)"),
    "three axes": (zipped(features=ok[None]), r"has shape \(1, 4, 3\)"),
    "a scalar": (zipped(features=np.float32(3)), r"has shape \(\)"),
    "no clips": (zipped(features=ok[:0]), "holds no clips"),
    "another width": (zipped(features=np.ones((4, 7))), "is 7 wide; the model takes 3"),
    "NaN": (zipped(features=with_first(np.nan)), "holds 1 NaN or Inf values, the first in row 2"),
    "Inf": (zipped(features=with_first(-np.inf)), "holds 1 NaN or Inf values, the first in row 2"),
    "Inf as float32": (zipped(features=with_first(1e300)), "holds 1 NaN or Inf values"),
    "squares beyond float32": (zipped(features=with_first(1e30)), "values too large for float32"),
    "truncated array": (saved(ok)[:-4], "is truncated"),
    "cut in the header": (saved(ok)[:20], "truncated or damaged"),
    "a header that claims more": (
        huge_header(),
        r"is truncated: \d+ bytes for an array of shape \(1000000000000, 3\)",
    ),
    "a header of nonsense": (b"\x93NUMPY\x01\x00\x05\x00((((\n", "truncated or damaged"),
    "an unknown version": (b"\x93NUMPY\x09\x00" + saved(ok)[8:], "truncated or damaged"),
}


@pytest.mark.parametrize("content, reason", BAD_VIDEO.values(), ids=BAD_VIDEO.keys())
def test_a_bad_file_is_named_with_its_fault(
    data: TinyDataset, manifest: Manifest, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.root)
    annotation = read_annotations(data.annotations)[0]
    path = data.video(0, annotation.vid)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=reason) as caught:
        read_raw(FeatureFolders.find(manifest, data.root), annotation)
    assert str(path) in str(caught.value)
    assert not Path("unpickled").exists()


def test_big_endian_column_order_and_half_precision_are_read(tmp_path: Path) -> None:
    array = np.arange(12.0).reshape(4, 3)
    for i, stored in enumerate((array.astype(">f8"), np.asfortranarray(array), array.astype(np.float16))):
        np.save(tmp_path / f"{i}.npy", stored)
        read = read_array(tmp_path / f"{i}.npy", "features").values
        np.testing.assert_array_equal(read, array)
        assert read.dtype == np.float32


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), at=st.integers(0, 400), byte=st.integers(0, 255), npz=st.booleans())
def test_a_damaged_file_is_read_or_named_but_never_breaks(
    tmp_path: Path, cut: int, at: int, byte: int, npz: bool
) -> None:
    content = bytearray(zipped(features=ok) if npz else saved(ok))
    content[at % len(content)] = byte
    path = tmp_path / "damaged.npz"
    path.write_bytes(bytes(content[: max(len(content) - cut, 0)]) if byte % 2 else bytes(content))
    try:
        array = read_array(path, "features").values
    except DatasetError as error:
        assert str(path) in str(error)
    else:
        assert array.dtype == np.float32


HOSTILE = [
    "../secret",
    "..",
    "a/../../secret",
    "/etc/secret",
    "a//b",
    "./secret",
    "a\\b",
    "nul\0byte",
    "x" * 300,
]


@pytest.mark.parametrize("name", HOSTILE, ids=[repr(name)[:20] for name in HOSTILE])
def test_an_id_never_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    np.save(tmp_path / "secret.npy", ok)
    with pytest.raises(DatasetError):
        find_array_file(folder, name, ".npy")


def test_an_id_may_name_a_sub_folder(tmp_path: Path) -> None:
    (tmp_path / "shard1").mkdir()
    np.save(tmp_path / "shard1" / "v.npy", ok)
    assert find_array_file(tmp_path, "shard1/v", ".npy") == tmp_path / "shard1" / "v.npy"


def test_what_is_not_an_ordinary_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    for name in ("folder", "pipe"):
        with pytest.raises(DatasetError, match="not an ordinary file"):
            find_array_file(tmp_path, name, ".npy")


def test_widths_unknown_per_source_are_checked_together(data: TinyDataset, manifest: Manifest) -> None:
    recipe = manifest.preprocessing
    sources = tuple(InputSource(source.path) for source in recipe.video)
    model = replace(manifest, preprocessing=replace(recipe, video=sources, video_width=9))
    with pytest.raises(DatasetError, match=r"are 3 \+ 2 wide; the model takes 7 in all"):
        read_raw(FeatureFolders.find(model, data.root), read_annotations(data.annotations)[0])


def test_the_check_lists_every_bad_sample_and_counts_the_clips_of_the_others(
    data: TinyDataset, manifest: Manifest
) -> None:
    queries = read_annotations(data.annotations)
    folders = FeatureFolders.find(manifest, data.root)
    shared, alone = queries[0].vid, queries[-1]
    assert queries[1].vid == shared
    data.video(1, shared).unlink()
    data.text(queries[1].qid).write_bytes(b"")
    data.audio(alone.vid).write_bytes(saved(with_first(np.nan)))
    told: list[int] = []
    checked = check_samples(folders, queries, advance=told.append)
    reasons = dict(checked.bad)
    assert list(reasons) == [queries[0].qid, queries[1].qid, alone.qid]
    assert "no file" in reasons[queries[0].qid] and "is empty" not in reasons[queries[0].qid]
    assert "no file" in reasons[queries[1].qid] and "is empty" in reasons[queries[1].qid]
    assert "NaN" in reasons[alone.qid]
    assert checked.good == queries[2:-1]
    assert checked.clips == [data.clips(query.vid) for query in checked.good]
    assert sum(told) == len(queries)


def test_clips_stop_at_the_models_longest_video(tmp_path: Path) -> None:
    manifest = tiny_manifest(max_v_l=4)
    data = tiny_dataset(tmp_path, manifest)
    queries = read_annotations(data.annotations)
    checked = check_samples(FeatureFolders.find(manifest, data.root), queries)
    assert checked.clips == [min(data.clips(query.vid), 4) for query in queries]


def test_a_reader_reads_each_video_of_consecutive_queries_once(data: TinyDataset, manifest: Manifest) -> None:
    first, second, *_ = read_annotations(data.annotations)
    assert first.vid == second.vid
    reader = FeatureReader(FeatureFolders.find(manifest, data.root))
    before = reader.read(first)
    data.audio(first.vid).unlink()
    np.testing.assert_array_equal(reader.read(second).audio, before.audio)
