"""A run reads, computes and writes at once, in batches of its own; the result is that of one by one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from gatescope.runtime import open_run
from gatescope.runtime.cli.main import main
from gatescope.runtime.data import check
from gatescope.runtime.data.annotations import read_annotations
from gatescope.runtime.data.batches import read_batch
from gatescope.runtime.data.check import check_samples
from gatescope.runtime.data.crew import reading_threads
from gatescope.runtime.data.features import FeatureReader
from gatescope.runtime.data.folders import FeatureFolders
from gatescope.runtime.data.padded import BatchMemory, PaddedBatch
from gatescope.runtime.data.scratch import Scratch
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.running import loop
from gatescope.runtime.running.groups import groups
from gatescope.runtime.running.loader import SampleLoader
from gatescope.runtime.running.opening import Opening
from gatescope.runtime.running.plan import RunPlan
from gatescope.runtime.runs import writer
from gatescope.runtime.runs.info import read_info
from gatescope.runtime.runs.predictions import read_predictions
from gatescope.runtime.runs.stopwatch import Stopwatch
from gatescope.runtime.session.session import GateSession

from ..waiting import PATIENCE
from .tiny_case import TinyCase
from .tiny_dataset import TinyDataset, tiny_dataset
from .tiny_model import tiny_manifest, tiny_proto

# Lengths far enough apart to be worth batches of their own, in an order that mixes them.
MIXED = (60, 3, 61, 60, 4, 30, 60, 3, 62, 61, 60)


@pytest.fixture
def case(tmp_path: Path) -> TinyCase:
    made = TinyCase(tmp_path)
    made.data = tiny_dataset(tmp_path / "mixed", made.manifest, 30, videos=22, clips=MIXED)
    return made


def seen_batches(patch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """Copies of what the model is run on from here on."""
    seen: list[dict[str, np.ndarray]] = []
    run = GateSession.run

    def remembered(session: GateSession, batch: Any) -> Any:
        seen.append({name: array.copy() for name, array in batch.items()})
        return run(session, batch)

    patch.setattr(GateSession, "run", remembered)
    return seen


@pytest.mark.parametrize("part", [4, 12, 256])
def test_buckets_change_the_batches_and_nothing_else(
    case: TinyCase, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", part)
    case.run(output=case.folder / "alone", batch_size=1)
    batches = seen_batches(monkeypatch)
    case.run(batch_size=4)
    assert max(len(batch["src_vid"]) for batch in batches) <= 4
    one, other = open_run(case.folder / "alone"), open_run(case.output)
    keys = ["sample_id", "layer", "gate", "clip"]
    left, right = one.gates.collect(), other.gates.collect()
    assert left.select(keys).equals(right.select(keys))
    np.testing.assert_allclose(left["value"], right["value"], atol=1e-6)
    for a, b in zip(*(read_predictions(run.path / "predictions.jsonl") for run in (one, other)), strict=True):
        assert (a["qid"], a["vid"]) == (b["qid"], b["vid"])
        np.testing.assert_allclose(a["pred_saliency_scores"], b["pred_saliency_scores"], atol=2e-3)
    if part == 256:  # room enough to find samples of the same kind
        padding = sum(int((batch["src_vid_mask"] == 0).sum()) for batch in batches)
        clips = sum(int(batch["src_vid_mask"].sum()) for batch in batches)
        assert padding < 0.05 * clips


def test_reference_batching_keeps_file_order_and_batch_size(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(tiny_proto(replace(tiny_manifest(), batching="reference", eval_batch_size=4)), case.model)
    monkeypatch.setattr(loop, "CALLS_AT_ONCE", 1)
    batches = seen_batches(monkeypatch)
    case.run(batch_size=4)
    assert [len(batch["src_vid"]) for batch in batches] == [4] * 7 + [2]
    lengths = [int(count) for batch in batches for count in batch["src_vid_mask"].sum(axis=1)]
    assert lengths == [case.data.clips(str(row["vid"])) for row in case.data.rows]


@pytest.mark.parametrize("batching", ["exact", "reference"])
def test_on_cuda_batches_have_few_shapes(batching: str) -> None:
    rng = np.random.default_rng(0)
    manifest = tiny_manifest()
    clips = np.where(rng.random(512) < 0.2, rng.integers(3, 75, 512), 75).tolist()
    words = rng.integers(1, 33, 512).tolist()
    shapes: dict[str, set[tuple[int, int]]] = {}
    for device in ("cpu", "cuda"):
        info: Any = SimpleNamespace(
            manifest=replace(manifest, batching=batching),
            device=device,
            samples_per_part=128,
            parts=4,
            batch_size=32,
        )
        running: Any = SimpleNamespace(info=info, next_part=0)
        plan = RunPlan(running, [None] * 512, clips, words, np.zeros((512, 2), np.int64))  # type: ignore[list-item]
        found = list(groups(plan))
        assert sorted(place for group in found for place in group.places) == list(range(512))
        for group in found:
            longest = [max(lengths[place] for place in group.places) for lengths in (clips, words)]
            assert longest[0] <= group.clips <= 75 and longest[1] <= group.words <= 32
            if device == "cpu" or batching == "reference":
                assert longest == [group.clips, group.words]
            else:
                assert group.clips % 8 == 0 or group.clips == 75
                assert group.words % 8 == 0
        shapes[device] = {(group.clips, group.words) for group in found}
    assert (len(shapes["cuda"]) < len(shapes["cpu"])) == (batching == "exact")


# What the threads that read make of a sample is what everybody else makes of it.


def planned(data: TinyDataset, manifest: Manifest) -> tuple[RunPlan, FeatureFolders]:
    folders = FeatureFolders.find(manifest, data.root)
    checked = check_samples(folders, read_annotations(data.annotations))
    nowhere: Any = None
    return RunPlan(nowhere, checked.good, checked.clips, checked.words, checked.states), folders


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("tef", [True, False])
def test_a_batch_filled_in_place_is_a_batch_collated(tmp_path: Path, normalize: bool, tef: bool) -> None:
    manifest = tiny_manifest(
        tef=tef, normalize_video=normalize, normalize_text=normalize, max_v_l=50, max_q_l=4
    )
    data = tiny_dataset(tmp_path, manifest, 30, videos=22, clips=MIXED)
    plan, folders = planned(data, manifest)
    loader, reader, memory, scratch = (
        SampleLoader(plan, folders),
        FeatureReader(folders),
        BatchMemory(),
        Scratch(),
    )
    for places in ([3, 4, 5, 11, 1], [0], list(range(20)), [29, 2]):
        batch = PaddedBatch.lay_out(
            manifest.preprocessing,
            [plan.clips[place] for place in places],
            [plan.words[place] for place in places],
            (max(plan.clips[place] for place in places), max(plan.words[place] for place in places)),
            memory,
            text=True,
        )
        videos: dict[str, list[int]] = {}
        for row, place in enumerate(places):
            videos.setdefault(plan.samples[place].vid, []).append(row)
        assert len(places) < 20 or len(videos) < len(places)
        for rows in videos.values():
            loader.load(batch, rows, [places[row] for row in rows], scratch)
        want = read_batch(manifest, reader, [plan.samples[place] for place in places])
        assert set(batch.arrays) == set(want)
        for name, array in want.items():
            np.testing.assert_array_equal(batch.arrays[name], array, err_msg=name)
            assert batch.arrays[name].flags["C_CONTIGUOUS"]
        batch.block.fill(np.nan)  # the next batch must not see what was here
        memory.give_back(batch.block)


def test_a_video_is_read_once_for_the_queries_of_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = TinyCase(tmp_path)
    case.data = tiny_dataset(tmp_path / "more", case.manifest, 12, videos=3, clips=(5,))
    jobs: list[int] = []
    load = SampleLoader.load

    def counted(loader: SampleLoader, batch: Any, rows: Sequence[int], *rest: Any) -> None:
        jobs.append(len(rows))
        load(loader, batch, rows, *rest)

    monkeypatch.setattr(SampleLoader, "load", counted)
    case.run(batch_size=12)
    assert jobs == [4, 4, 4]


# Which stage is the limit, and what the time was spent on.


def slowed(patch: pytest.MonkeyPatch, owner: type, name: str, seconds: float) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return real(*args, **options)

    patch.setattr(owner, name, slow)


LIMITS = {
    "waiting for features": (SampleLoader, "load", 0.02),
    "computing is the limit": (GateSession, "run", 0.05),
    "waiting for the disk to take results": (writer.RunWriter, "write_part", 0.03),
}


@pytest.mark.parametrize("told", LIMITS)
def test_the_progress_line_says_what_is_the_limit(
    case: TinyCase, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gatescope.runtime.progress.LINE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    owner, name, seconds = LIMITS[told]
    for times in (1, 10, 100):  # where the machine is busy, each stage takes longer by itself
        with monkeypatch.context() as patch:
            slowed(patch, owner, name, times * seconds)
            case.run(output=case.folder / f"{times}")
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("running: ")]
        assert lines[-1].startswith("running: 30 of 30 samples, ")
        if lines[-1].endswith(f" samples/s, {told}"):
            break
    assert lines[-1].endswith(f" samples/s, {told}")
    assert sum(line.endswith(told) for line in lines) > len(lines) / 2


def test_stages_go_on_at_the_same_time(case: TinyCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits, for a while, for another one to begin: one after the other, it never would."""
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    load, run, write = SampleLoader.load, GateSession.run, writer.RunWriter.write_part
    read_on, written, computed_on = threading.Event(), threading.Event(), threading.Event()
    two, calls, waited = threading.Barrier(2), iter(range(100)), list[bool]()

    def loading(loader: SampleLoader, batch: Any, rows: Any, places: Sequence[int], scratch: Any) -> None:
        if places[0] >= 2:  # of a later batch than the two that are computed first
            read_on.set()
        load(loader, batch, rows, places, scratch)

    def running(session: GateSession, batch: Any) -> Any:
        if next(calls) < 2:
            two.wait(PATIENCE)
            waited.append(read_on.wait(PATIENCE))
        else:
            waited.append(written.wait(PATIENCE))
            computed_on.set()
        return run(session, batch)

    def writing(self: Any, *args: Any, **options: Any) -> None:
        if not written.is_set():
            written.set()
            waited.append(computed_on.wait(PATIENCE))
        write(self, *args, **options)

    monkeypatch.setattr(SampleLoader, "load", loading)
    monkeypatch.setattr(GateSession, "run", running)
    monkeypatch.setattr(writer.RunWriter, "write_part", writing)
    case.run()
    assert all(waited) and len(waited) > 4


def test_the_model_is_opened_while_features_are_checked(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the other: one after the other, neither would ever end."""
    both = threading.Barrier(2)
    work, read = Opening.work, check.read_audio
    first = iter([True])

    def opening(self: Opening) -> None:
        both.wait(PATIENCE)
        work(self)

    def reading(*args: Any, **options: Any) -> Any:
        if next(first, False):
            both.wait(PATIENCE)
        return read(*args, **options)

    monkeypatch.setattr(Opening, "work", opening)
    monkeypatch.setattr(check, "read_audio", reading)
    assert case.run().samples == 30


def test_timings_are_the_clocks(case: TinyCase, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in LIMITS.values():
        slowed(monkeypatch, *stage)
    began = time.perf_counter()
    result = case.run()
    passed = time.perf_counter() - began
    told = read_info(case.output).timings
    assert told.seconds == result.seconds <= passed
    stages = (told.reading_seconds, told.computing_seconds, told.writing_seconds)
    assert 0 < told.checking_seconds < told.seconds
    assert all(0.02 < stage < told.seconds - told.checking_seconds for stage in stages)
    assert told.samples_per_second == pytest.approx(30 / told.seconds) == result.samples_per_second


def test_a_resumed_run_counts_on(case: TinyCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError):
        run, count = GateSession.run, iter(range(100))

        def dies(session: GateSession, batch: Any) -> Any:
            time.sleep(0.02)
            if next(count) == 9:
                raise RuntimeError
            return run(session, batch)

        patch.setattr(GateSession, "run", dies)
        case.run()
    before = read_info(case.output).timings
    assert before.computing_seconds > 0.05
    case.run(resume=True)
    after = read_info(case.output).timings
    assert after.seconds > before.seconds and after.computing_seconds > before.computing_seconds
    assert after.checking_seconds > before.checking_seconds


def test_runs_that_were_written_before_stages_overlapped_are_read(
    case: TinyCase, capsys: pytest.CaptureFixture[str]
) -> None:
    case.run()
    path = case.output / "run.json"
    info = json.loads(path.read_bytes())
    info["timings"] = {
        "reading_seconds": 1.5,
        "computing_seconds": 3.0,
        "writing_seconds": 0.5,
        "samples_per_second": 6.0,
    }
    path.write_text(json.dumps(info), encoding="utf-8")
    told = open_run(case.output).record.timings
    assert (told.seconds, told.checking_seconds) == (5.0, 0.0)
    assert main(["inspect", str(case.output)]) == 0
    out = capsys.readouterr().out
    assert "5.0 s, 6.0 samples/s" in out and "reading 1.5 s, computing 3.0 s, writing 0.5 s" in out
    assert "checking" not in out


def test_inspect_tells_what_went_on_at_once(case: TinyCase, capsys: pytest.CaptureFixture[str]) -> None:
    case.run()
    assert main(["inspect", str(case.output)]) == 0
    assert "s, then at once reading " in capsys.readouterr().out


def test_a_stopwatch_counts_time_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    watch = Stopwatch()
    moments = [(0.0, 1), (1.0, 1), (3.0, -1), (4.0, -1), (9.0, 1)]  # who comes and goes, and when
    for (at, step), (until, _) in pairwise([*moments, (11.0, 0)]):
        now = at
        if step == 1:
            watch.__enter__()
        else:
            watch.__exit__(None, None, None)
        now = until
    assert watch.seconds == 4 + 2
    assert watch.thread_seconds == 1 + 2 * 2 + 1 + 2


def test_threads_follow_the_cpus_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cpus in (1, 2, 6, 64):
        monkeypatch.setattr("gatescope.runtime.data.crew.available_cpus", lambda cpus=cpus: cpus)
        found.append(reading_threads())
    assert found == [2, 2, 6, 8]


def test_parts_are_the_same_whatever_the_number_of_threads(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 8)
    tables: list[pl.DataFrame] = []
    for readers, calls in ((1, 1), (5, 2)):
        monkeypatch.setattr(loop, "reading_threads", lambda readers=readers: readers)
        monkeypatch.setattr(loop, "CALLS_AT_ONCE", calls)
        output = case.folder / f"{readers}"
        case.run(output=output, batch_size=4)
        tables.append(open_run(output).gates.collect())
    assert tables[0].equals(tables[1])
