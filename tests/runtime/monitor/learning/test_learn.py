"""What is learned of a model is what it does: from models that are known, and from runs and their files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.data.annotations import read_annotations
from gatescope.runtime.data.features import read_raw
from gatescope.runtime.data.folders import FeatureFolders
from gatescope.runtime.data.prepare import prepare
from gatescope.runtime.errors import MonitorError
from gatescope.runtime.monitor.baseline.baseline import Baseline, make_baseline
from gatescope.runtime.monitor.baseline.sources import model_of_run, videos_of_run
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates
from gatescope.runtime.monitor.diagnosis.features import gate_features
from gatescope.runtime.monitor.diagnosis.signatures import Signatures
from gatescope.runtime.monitor.learning.injections import (
    LABELS,
    NORMALISATION,
    SHIFTED,
    SHUFFLED,
    SILENT,
    ZERO,
)
from gatescope.runtime.monitor.learning.learn import VARIANTS, learn_from, learn_signatures, separation
from gatescope.runtime.running.pipeline import run_model
from gatescope.runtime.runs.reader import Run, open_run
from gatescope.runtime.session.session import GateSession

from ....torture.agreeing_model import videos
from ...tiny_dataset import TinyDataset, tiny_dataset
from ...tiny_model import expected, tiny_model
from .subjects import TAUGHT, Deaf, Loudness, Subject

VIDEOS = 7


@dataclass(frozen=True)
class World:
    """A run of the tiny model over seven videos of two queries each, and a baseline of it."""

    folder: Path
    data: TinyDataset
    run: Run
    baseline: Baseline

    def learn(self, **options: Any) -> Signatures:
        return learn_signatures(self.run, self.baseline, **options)

    def copied(self, folder: Path) -> dict[str, Path]:
        """Its model, annotations and features again in ``folder``, to be broken."""
        shutil.copytree(self.folder, folder)
        names = {"model": "m.onnx", "annotations": "data/val.jsonl", "features": "data"}
        return {option: folder / name for option, name in names.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world") / "files"
    folder.mkdir()
    manifest = tiny_model(folder / "m.onnx")
    data = tiny_dataset(folder / "data", manifest, 2 * VIDEOS, videos=VIDEOS, clips=(9, 1, 12, 6))
    run_model(folder / "m.onnx", data.annotations, data.root, folder.parent / "run", device="cpu")
    run = open_run(folder.parent / "run")
    known = [videos_of_run(run)]
    return World(folder, data, run, make_baseline(model_of_run(run), known, windows=(50,), insist=True))


@pytest.fixture(scope="module")
def deaf() -> Subject:
    return Subject(Deaf())


@pytest.fixture(scope="module")
def loudness() -> Subject:
    return Subject(Loudness())


def same(one: Signatures, other: Signatures) -> bool:
    return one.to_plain() == other.to_plain()


def test_every_variant_is_learned_and_progress_is_told(world: World) -> None:
    told: list[int] = []
    found = world.learn(advance=told.append)
    assert found.videos == VIDEOS and sum(told) == (1 + VARIANTS) * VIDEOS
    assert len(found.faults) == VARIANTS and {one.label for one in found.faults} == set(LABELS)
    features = 13 * len(world.baseline.layout)
    assert found.spread.shape == (features, features)
    assert all(one.shift.shape == (features,) for one in found.faults)


def test_a_shift_is_what_the_models_formula_gives_without_the_sound(world: World) -> None:
    """The first query of each video, gates by the formula in numpy, with and without the audio's values."""
    manifest, usual, deaf = world.run.manifest, [], []
    for annotation in read_annotations(world.data.annotations)[::2]:
        raw = read_raw(FeatureFolders.find(manifest, world.data.root), annotation)
        batch = prepare(manifest, video=raw.video, audio=raw.audio, text=raw.text).as_batch()
        usual.append(counts_by_formula(world, batch))
        batch["src_aud"][..., :-2] = 0
        deaf.append(counts_by_formula(world, batch))
    layout = world.baseline.layout
    tables = [gate_features(layout, VideoCounts.joined(counts)) for counts in (usual, deaf)]
    found = world.learn()
    (zero,) = (one for one in found.faults if one.label == ZERO)
    np.testing.assert_allclose(zero.shift, tables[1].mean(axis=0) - tables[0].mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(zero.spread, np.cov(tables[1].T), atol=1e-4)
    np.testing.assert_allclose(found.spread, np.cov(tables[0].T), atol=1e-4)


def counts_by_formula(world: World, batch: dict[str, np.ndarray]) -> VideoCounts:
    outputs = expected(world.run.manifest, batch)
    gates = {kind: outputs[f"gate_{kind}"].astype(np.float32) for kind in ("attention", "ffn")}
    return count_gates(world.baseline.layout, gates)


@pytest.mark.parametrize(("most", "numbers"), [(2, [0, 3]), (4, [0, 1, 3, 5]), (9, range(VIDEOS))])
def test_videos_are_taken_evenly_and_with_their_first_query(
    world: World, most: int, numbers: Sequence[int]
) -> None:
    folders = FeatureFolders.find(world.run.manifest, world.data.root)
    first = read_annotations(world.data.annotations)[::2]
    raw = [read_raw(folders, first[number]) for number in numbers]
    with GateSession(world.folder / "m.onnx", device="cpu") as session:
        assert same(world.learn(videos=most), learn_from(session, world.baseline, raw))


def test_learning_again_gives_the_same_and_so_do_files_that_have_moved(world: World, tmp_path: Path) -> None:
    once = world.learn()
    assert same(once, world.learn()) and same(once, world.learn(**world.copied(tmp_path / "moved")))


def test_silence_that_is_given_is_what_the_model_hears(world: World, tmp_path: Path) -> None:
    np.save(tmp_path / "zero.npy", np.zeros((1, 3), np.float16))
    found = world.learn(silence=tmp_path / "zero.npy").faults
    (silent,) = (one for one in found if one.label == SILENT)
    (zero,) = (one for one in found if one.label == ZERO)
    assert np.array_equal(silent.shift, zero.shift)


def write_silence(path: Path, content: object) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, np.asarray(content))
    return path


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"no array at all", "silence.npy"),
        (["loud"], "silence.npy"),
        (np.zeros(7), r"7 numbers[\s\S]*3 finite numbers"),
        (np.array([0, np.nan, 0]), "NaN or Inf"),
    ],
    ids=["not there", "empty", "no array", "text", "too wide", "not finite"],
)
def test_silence_that_is_none_is_told(world: World, tmp_path: Path, content: object, why: str) -> None:
    with pytest.raises(MonitorError, match=why):
        world.learn(silence=write_silence(tmp_path / "silence.npy", content))


@pytest.mark.parametrize("option", ["model", "annotations", "features"])
def test_files_that_are_gone_are_told_with_the_option_that_names_them(
    world: World, tmp_path: Path, option: str
) -> None:
    with pytest.raises(MonitorError, match="nowhere") as caught:
        world.learn(**{option: tmp_path / "nowhere"})
    assert caught.value.fix is not None and f"--{option}" in caught.value.fix


def test_files_that_the_run_itself_names_and_that_are_gone(world: World, tmp_path: Path) -> None:
    record = world.run.record
    gone = replace(record.model, path=str(tmp_path / "gone.onnx"))
    run = replace(world.run, record=replace(record, model=gone))
    with pytest.raises(MonitorError, match=r"gone\.onnx cannot be read[\s\S]*--model"):
        learn_signatures(run, world.baseline)


def test_another_model_in_the_place_of_the_runs_own_is_refused(world: World, tmp_path: Path) -> None:
    files = world.copied(tmp_path / "files")
    with files["model"].open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(MonitorError, match=r"not the model of[\s\S]*--model"):
        world.learn(**files)


def test_annotations_of_other_queries_leave_nothing_to_learn_from(world: World, tmp_path: Path) -> None:
    rows = [{**row, "qid": f"other {row['qid']}"} for row in world.data.rows]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(MonitorError, match=r"from two videos on[\s\S]*0 of[\s\S]*--annotations"):
        world.learn(annotations=tmp_path / "val.jsonl")


@pytest.mark.parametrize("damage", ["gone", "wider", "not finite"])
def test_features_that_changed_are_told(world: World, tmp_path: Path, damage: str) -> None:
    files = world.copied(tmp_path / "files")
    path = next((files["features"] / "pann_features").glob("v0_*.npy"))
    audio = np.load(path)
    path.unlink()
    if damage != "gone":
        np.save(path, np.hstack([audio, audio]) if damage == "wider" else audio * np.nan)
    with pytest.raises(MonitorError, match=r"faults cannot be learned[\s\S]*v0_[\s\S]*--features"):
        world.learn(**files)


def test_of_a_model_that_hears_nothing_no_fault_is_visible_and_that_is_said(deaf: Subject) -> None:
    assert deaf.signatures.invisible == LABELS
    for one in deaf.signatures.faults:
        assert np.abs(one.shift).max() < 1e-3 and one.beyond < 0.1 and one.like == ()


def test_of_a_model_that_hears_loudness_silence_is_visible_and_the_wrong_sound_is_not(
    loudness: Subject,
) -> None:
    assert loudness.signatures.invisible == (SHUFFLED, SHIFTED)
    for label in (SILENT, ZERO, NORMALISATION):
        assert loudness.fault(label).beyond == 1.0
    assert loudness.fault(SHUFFLED).beyond < 0.1


def test_faults_that_move_the_gates_the_same_way_are_said_to_be_alike(loudness: Subject) -> None:
    """Recorded sound is some forty long: silence, zero and rows of length one are all but the same quiet."""
    alike = {SILENT, ZERO, NORMALISATION}
    for one in loudness.signatures.faults:
        assert set(one.like) == (alike - {one.label} if one.label in alike else set())


def test_power_is_the_distance_of_windows_in_spreads(loudness: Subject) -> None:
    """By solving for each direction of the spread, drawn towards its diagonal as documented."""
    for one in loudness.signatures.faults:
        spread = loudness.signatures.spread
        drawn = 0.8 * spread + 0.2 * np.diag(np.diag(spread)) + 1e-6 * np.eye(len(spread))
        values, directions = np.linalg.eigh(drawn * (1 / 100 + 1 / TAUGHT))
        along = directions.T @ one.shift
        assert one.power == pytest.approx(float(np.sqrt((along**2 / values).sum())), rel=1e-6)
    assert separation(np.zeros(3), np.eye(3), 10) == 0.0


def test_the_share_beyond_is_that_of_windows_drawn_here(loudness: Subject) -> None:
    """Other windows than were drawn there, each read as a watcher would."""
    rng = np.random.default_rng(6)
    for label in (SILENT, SHUFFLED):
        broken = loudness.counts(range(TAUGHT), label)
        windows = [broken[rng.integers(0, TAUGHT, 50)] for _ in range(60)]
        share = np.mean([bool(loudness.beyond(window)) for window in windows])
        assert share == pytest.approx(loudness.fault(label).beyond, abs=0.12)


def test_videos_in_another_order_teach_the_same_of_what_each_suffers_alone(loudness: Subject) -> None:
    turned = learn_from(loudness.session, loudness.baseline, videos(range(TAUGHT))[::-1])
    for one, other in zip(loudness.signatures.faults, turned.faults, strict=True):
        if one.label != SHUFFLED:
            np.testing.assert_allclose(one.shift, other.shift, atol=1e-9)
