"""Learning from every kind of gates that a model gives, from files that moved, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.data.annotations import read_annotations
from gatescope.runtime.data.features import read_raw
from gatescope.runtime.data.folders import FeatureFolders
from gatescope.runtime.data.prepare import Sample, prepare
from gatescope.runtime.errors import MonitorError
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.monitor.baseline.baseline import Baseline, make_baseline
from gatescope.runtime.monitor.baseline.sources import model_of_run, videos_of_run
from gatescope.runtime.monitor.counting.layout import GateLayout
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates, count_summaries
from gatescope.runtime.monitor.diagnosis.features import gate_features
from gatescope.runtime.monitor.diagnosis.signatures import Signature, Signatures
from gatescope.runtime.monitor.learning.injections import LABELS, SILENT, ZERO
from gatescope.runtime.monitor.learning.learn import counts_of_samples, learn_signatures
from gatescope.runtime.running.pipeline import run_model
from gatescope.runtime.runs.reader import Run, open_run
from gatescope.runtime.session.session import Outputs

from ...tiny_dataset import TinyDataset, tiny_dataset
from ...tiny_model import Gating, Kind, expected, tiny_manifest, tiny_model

VIDEOS = 5


@dataclass(frozen=True)
class World:
    """A run over five videos of up to twelve clips, in batches of several lengths."""

    folder: Path
    manifest: Manifest
    data: TinyDataset
    run: Run
    baseline: Baseline

    def learn(self, **options: Any) -> Signatures:
        return learn_signatures(self.run, self.baseline, **options)

    def samples(self) -> list[Sample]:
        folders = FeatureFolders.find(self.manifest, self.data.root)
        raw = [read_raw(folders, one) for one in read_annotations(self.data.annotations)]
        return [prepare(self.manifest, video=one.video, audio=one.audio, text=one.text) for one in raw]


def world_of(folder: Path, gating: Gating = "clipwise", outputs_kind: Kind = "tracked", **more: Any) -> World:
    folder.mkdir(exist_ok=True)
    manifest = tiny_model(folder / "m.onnx", gating, outputs_kind=outputs_kind, **more)
    data = tiny_dataset(folder / "data", manifest, VIDEOS, videos=VIDEOS, clips=(9, 1, 12, 6))
    run_model(folder / "m.onnx", data.annotations, data.root, folder.parent / "run", device="cpu")
    run = open_run(folder.parent / "run")
    known = [videos_of_run(run)]
    return World(
        folder, manifest, data, run, make_baseline(model_of_run(run), known, windows=(50,), insist=True)
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of(tmp_path_factory.mktemp("learning") / "files")


def by_formula(manifest: Manifest, sample: Sample, *, deaf: bool) -> VideoCounts:
    """Of one sample alone, in numpy; without its audio's values if ``deaf``."""
    batch = sample.as_batch()
    if deaf:
        batch["src_aud"][..., : tiny_manifest().preprocessing.audio.width] = 0
    outputs = expected(manifest, batch)
    layout = GateLayout.of_manifest(manifest)
    if manifest.outputs_kind == "summary":
        return count_summaries(layout, {kind: outputs[f"summary_{kind}"] for kind in layout.kinds})
    gates = {kind: outputs[f"gate_{kind}"].astype(np.float32) for kind in layout.kinds}
    return count_gates(layout, gates)


def fault(found: Signatures, label: str) -> Signature:
    return next(one for one in found.faults if one.label == label)


@pytest.mark.parametrize(
    ("gating", "outputs_kind", "preprocessing"),
    [
        ("global", "tracked", {}),
        ("elementwise", "tracked", {}),
        ("clipwise", "gates", {}),
        ("global", "gates", {}),
        ("clipwise", "tracked", {"tef": False}),
        ("clipwise", "tracked", {"normalize_video": False, "tef": False}),
    ],
)
def test_of_every_kind_of_gates_what_is_learned_is_what_the_formula_gives(
    tmp_path: Path, gating: Gating, outputs_kind: Kind, preprocessing: dict[str, bool]
) -> None:
    world = world_of(tmp_path / "files", gating, outputs_kind, **preprocessing)
    np.save(tmp_path / "silence.npy", np.zeros(3))
    found = world.learn(silence=tmp_path / "silence.npy")
    layout = world.baseline.layout
    usual, deaf = (
        gate_features(
            layout,
            VideoCounts.joined([by_formula(world.manifest, one, deaf=deaf) for one in world.samples()]),
        )
        for deaf in (False, True)
    )
    for label in (ZERO, SILENT):
        np.testing.assert_allclose(fault(found, label).shift, (deaf - usual).mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found.spread, np.cov(usual.T), atol=1e-4)
    if gating == "elementwise":  # these listen to the picture alone
        assert not fault(found, ZERO).shift.any()
        assert found.invisible == LABELS


def test_a_run_whose_files_all_moved_teaches_the_same_from_where_they_are_now(
    tmp_path: Path, world: World
) -> None:
    own = world_of(tmp_path / "files")
    before = own.learn()
    (tmp_path / "files").rename(tmp_path / "moved")
    moved = {"model": "m.onnx", "annotations": "data/val.jsonl", "features": "data"}
    places = {option: tmp_path / "moved" / name for option, name in moved.items()}
    assert own.learn(**places).to_plain() == before.to_plain() == world.learn().to_plain()
    for option in places:
        with pytest.raises(MonitorError) as caught:
            own.learn(**{name: path for name, path in places.items() if name != option})
        assert caught.value.fix is not None and f"--{option}" in caught.value.fix


@pytest.mark.parametrize("content", [None, b"", b"no array", np.zeros(2), np.full(3, np.inf)], ids=str)
def test_of_silence_that_is_none_the_option_that_gave_it_is_named(
    world: World, tmp_path: Path, content: Any
) -> None:
    path = tmp_path / "silence.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(MonitorError, match=r"silence\.npy") as caught:
        world.learn(silence=path)
    assert caught.value.fix is not None
    assert "--silence" in caught.value.fix and "--model" not in caught.value.fix


@pytest.mark.parametrize("asked", [0, 1])
def test_fewer_than_two_videos_are_the_callers_wish_and_not_the_runs_fault(world: World, asked: int) -> None:
    with pytest.raises(MonitorError, match="from two videos on") as caught:
        world.learn(videos=asked)
    assert caught.value.received == str(asked)
    assert caught.value.fix is not None and "--fault-videos" in caught.value.fix


class Misshapen:
    """Gives gates of one layer where its manifest has two."""

    manifest = tiny_manifest()

    def run(self, batch: dict[str, np.ndarray]) -> Outputs:
        gates = {
            kind: np.zeros((len(batch["src_vid"]), 1, 12, 1), np.float32) for kind in ("attention", "ffn")
        }
        return Outputs(gates=gates, predictions={}, raw=dict(gates))


def test_gates_that_cannot_be_counted_are_told(world: World) -> None:
    session: Any = Misshapen()
    with pytest.raises(MonitorError, match=r"cannot be counted[\s\S]*expected \(N, 2, clips"):
        counts_of_samples(session, world.baseline.layout, world.samples())


class ByFormula:
    """The tiny model in numpy."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def run(self, batch: dict[str, np.ndarray]) -> Outputs:
        found = {name: array.astype(np.float32) for name, array in expected(self.manifest, batch).items()}
        if self.manifest.outputs_kind == "summary":
            summaries = {kind: found[f"summary_{kind}"] for kind in self.manifest.summaries}
            return Outputs(gates={}, predictions={}, raw=found, summaries=summaries)
        gates = {kind: found[f"gate_{kind}"] for kind in ("attention", "ffn")}
        return Outputs(gates=gates, predictions={}, raw=found)


@pytest.mark.parametrize("outputs_kind", ["tracked", "summary"])
def test_counts_of_a_batch_are_those_of_its_samples_one_by_one(world: World, outputs_kind: Kind) -> None:
    """Twenty samples: two batches of several lengths, padded."""
    session: Any = ByFormula(tiny_manifest(outputs_kind=outputs_kind))
    many, told = world.samples() * 4, list[int]()
    together = counts_of_samples(session, world.baseline.layout, many, told.append)
    alone = VideoCounts.joined([by_formula(session.manifest, one, deaf=False) for one in many])
    assert sum(told) == len(together) == len(many) and len(told) > 1
    assert np.array_equal(together.integers, alone.integers)
    np.testing.assert_allclose(together.sums, alone.sums, rtol=1e-6)
