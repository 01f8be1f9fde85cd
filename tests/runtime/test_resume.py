"""A run stopped at any moment, by anything, is resumed to the same files as an undisturbed one."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatescope.runtime import open_run
from gatescope.runtime.errors import DatasetError, RunFolderError, RunLockedError, RunMismatchError
from gatescope.runtime.running import loop
from gatescope.runtime.runs import writer
from gatescope.runtime.runs.atomic import append_durably, write_atomically
from gatescope.runtime.runs.lock import lock_run

from ..waiting import PATIENCE
from .tiny_case import TinyCase
from .tiny_dataset import tiny_dataset
from .tiny_model import Gating, tiny_model

# Seven queries in parts of two: four parts. A run writes samples.parquet and run.json, then predictions,
# gates and run.json for each part, then run.json once more.
PARTS = 4
WRITES = 2 + 3 * PARTS + 1


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    # No test here pulls the plug; one looks at the order of syncing and renaming.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def case(tmp_path: Path) -> TinyCase:
    return TinyCase(tmp_path)


class Killed(BaseException):
    """Stands for whatever ends a process: nothing in the code catches it."""


def content(folder: Path) -> dict[str, Any]:
    """Every file of a run by name; of run.json what does not depend on the clock."""
    files: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
    info = json.loads(files.pop("run.json"))
    del info["timings"]
    return {**files, "run.json": info}


def stop_at_write(
    monkeypatch: pytest.MonkeyPatch, number: int, stop: Callable[[], None], share: float
) -> None:
    """At write ``number`` (from 0) let ``share`` of an append through (a whole write if 1), then ``stop``."""
    count = 0

    def append(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count - 1 == number:
            append_durably(path, content[: int(len(content) * share)])
            stop()
        append_durably(path, content)

    def write(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count - 1 == number:
            if share == 1:
                write_atomically(path, content)
            stop()
        write_atomically(path, content)

    monkeypatch.setattr(writer, "append_durably", append)
    monkeypatch.setattr(writer, "write_atomically", write)


def killed() -> None:
    raise Killed


@pytest.fixture
def undisturbed(case: TinyCase, tmp_path: Path) -> dict[str, Any]:
    case.run(output=tmp_path / "undisturbed")
    found = content(tmp_path / "undisturbed")
    assert sum(name.startswith("gates/") for name in found) == PARTS
    return found


STOPS = [
    *[pytest.param(number, 0, id=f"before {number}") for number in range(WRITES)],
    *[pytest.param(number, 1, id=f"after {number}") for number in range(WRITES)],
    # Only appends can be half done; the other files appear by renaming.
    *[pytest.param(number, 0.5, id=f"amid {number}") for number in range(2, WRITES - 1, 3)],
]


@pytest.mark.parametrize("number, share", STOPS)
def test_stopped_at_every_write(
    case: TinyCase, undisturbed: dict[str, Any], number: int, share: float
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        stop_at_write(patch, number, killed, share)
        case.run()
    if (case.output / "run.json").exists():
        run = open_run(case.output)
        if not run.finished:
            # What is done can be read: the parts, and as many samples and predictions as they hold.
            done = min(2 * run.parts, 7)
            assert run.samples.collect().height == len(list(run.predictions())) == done
            assert run.gates.collect()["sample_id"].n_unique() == done
            with pytest.raises(RunFolderError, match="holds an unfinished run") as caught:
                case.run()
            assert "--resume" in str(caught.value)
    case.run(resume=True)
    assert content(case.output) == undisturbed
    assert open_run(case.output).finished


@pytest.mark.parametrize("gating", ["global", "elementwise"])
def test_stopped_twice_with_other_gatings(tmp_path: Path, gating: Gating) -> None:
    case = TinyCase(tmp_path, gating)
    case.run(output=tmp_path / "undisturbed")
    for number, resume in ((4, False), (5, True)):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            stop_at_write(patch, number, killed, 0.5)
            case.run(resume=resume)
    case.run(resume=True)
    assert content(case.output) == content(tmp_path / "undisturbed")


def test_a_part_counts_only_when_it_and_its_predictions_are_durable(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    replace = Path.replace

    def synced(descriptor: int) -> None:
        events.append(f"sync {Path(f'/proc/self/fd/{descriptor}').resolve().name.split('.')[-1]}")

    def renamed(path: Path, target: Path) -> Path:
        events.append(f"rename {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    case.run(max_samples=2)
    place = events.index("rename part-00000.parquet")
    assert events[place - 2 : place + 2] == [
        "sync jsonl",
        "sync partial",
        "rename part-00000.parquet",
        "sync gates",
    ]


def test_stopped_while_computing(
    case: TinyCase, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatescope.runtime.session.session import GateSession

    run, calls = GateSession.run, 0

    def second_batch_dies(session: GateSession, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed
        return run(session, batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "CALLS_AT_ONCE", 1)
        patch.setattr(GateSession, "run", second_batch_dies)
        case.run()
    assert open_run(case.output).parts == 1
    case.run(resume=True)
    assert content(case.output) == undisturbed


KILL = """
import os, signal, sys
from pathlib import Path
import pytest
from gatescope.runtime.running.pipeline import run_model
from gatescope.runtime.running import loop
from gatescope.runtime.runs import writer
from tests.runtime.test_resume import stop_at_write

writer.MOST_SAMPLES_PER_PART = 2
model, annotations, features, output, number, share = sys.argv[1:]
stop_at_write(pytest.MonkeyPatch(), int(number), lambda: os.kill(os.getpid(), signal.SIGKILL), float(share))
run_model(model, annotations, features, output, device="cpu", batch_size=2, resume=True)
"""


def test_killed_without_any_chance_to_clean_up(case: TinyCase, undisturbed: dict[str, Any]) -> None:
    places = [case.model, case.data.annotations, case.data.root, case.output]
    for number, share in ((1, 0), (5, 0.5), (2, 1)):
        dead = subprocess.run(
            [sys.executable, "-c", KILL, *map(str, places), str(number), str(share)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            timeout=PATIENCE,
        )
        assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
        assert (case.output / ".lock").exists() and (case.output / ".holder.json").exists()
    (case.output / "gates" / ".part-00002.parquet.x.partial").write_bytes(b"torn")
    case.run(resume=True)
    assert content(case.output) == undisturbed


def test_another_run_holds_the_folder(case: TinyCase) -> None:
    case.output.mkdir()
    with lock_run(case.output):
        for resume in (False, True):
            with pytest.raises(RunLockedError, match="another run is writing") as caught:
                case.run(resume=resume)
            assert f"process {os.getpid()} on" in str(caught.value)
    case.run()


def test_a_run_that_began_meanwhile_is_not_overwritten(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatescope.runtime.running import plan

    check = plan.check_samples

    def other_run_first(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(plan, "check_samples", check)
        case.run(max_samples=1)
        return check(*args, **options)

    monkeypatch.setattr(plan, "check_samples", other_run_first)
    with pytest.raises(RunFolderError, match="holds a finished run"):
        case.run()
    assert open_run(case.output).samples.collect().height == 1


def interrupt(case: TinyCase, number: int = 5, **options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        stop_at_write(patch, number, killed, 0)
        case.run(**options)


def test_resume_where_there_is_nothing_starts_a_run(case: TinyCase) -> None:
    assert case.run(resume=True).samples == 7


def other_model(case: TinyCase) -> None:
    tiny_model(case.model, layers=3)


def other_annotations(case: TinyCase) -> None:
    case.data.annotations.write_text(
        case.data.annotations.read_text(encoding="utf-8") + "\n", encoding="utf-8"
    )


def nothing(case: TinyCase) -> None:
    pass


MISMATCHES = {
    "model": (other_model, {}, "model (SHA-256)"),
    "annotations": (other_annotations, {}, "annotations (SHA-256)"),
    "batch size": (nothing, {"batch_size": 4}, "--batch-size 4"),
    "fewer samples": (nothing, {"max_samples": 3}, "--max-samples 3"),
    "chosen samples": (nothing, {"sample_ids": ["101"]}, "--sample ('101',)"),
    "feature folders": (nothing, {"audio_features": "."}, "feature folders"),
}


@pytest.mark.parametrize("change, options, told", MISMATCHES.values(), ids=MISMATCHES.keys())
@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
def test_another_run_is_not_resumed(
    case: TinyCase,
    change: Callable[[TinyCase], None],
    options: dict[str, Any],
    told: str,
    finished: bool,
) -> None:
    if finished:
        case.run()
    else:
        interrupt(case)
    before = content(case.output)
    change(case)
    with pytest.raises(RunMismatchError, match="holds a different run") as caught:
        case.run(resume=True, **options)
    assert told in str(caught.value)
    assert content(case.output) == before


def test_skipped_samples_stay_skipped_after_they_were_mended(case: TinyCase) -> None:
    text = case.data.text("101")
    good = text.read_bytes()
    text.unlink()
    interrupt(case, skip_bad=True)
    text.write_bytes(good)
    result = case.run(resume=True)
    assert (result.samples, [sample.sample_id for sample in result.skipped]) == (6, ["101"])
    assert open_run(case.output).samples.collect()["qid"].to_list()[:2] == ["100", "102"]


def test_features_gone_bad_meanwhile_stop_the_resumed_run(case: TinyCase) -> None:
    interrupt(case)
    text = case.data.text("106")
    good = text.read_bytes()
    text.unlink()
    for skip_bad in (False, True):
        with pytest.raises(DatasetError, match="cannot be run any more") as caught:
            case.run(resume=True, skip_bad=skip_bad)
        assert "106" in str(caught.value)
    text.write_bytes(good)
    case.run(resume=True)


def test_features_that_change_while_the_run_goes_on_are_noticed(case: TinyCase) -> None:
    interrupt(case)
    tiny_dataset(case.folder / "data", case.manifest, clips=(5, 1, 9, 2))
    with pytest.raises(DatasetError, match="changed while the run was going on"):
        case.run(resume=True)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 8, WRITES - 1])
def test_a_full_disk_leaves_a_run_to_resume(case: TinyCase, undisturbed: dict[str, Any], number: int) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some file")

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(RunFolderError, match="No space left") as caught,
    ):
        stop_at_write(patch, number, full, 0.5)
        case.run()
    assert "free some space" in str(caught.value)
    assert ("--resume" in str(caught.value)) == (case.output / "run.json").exists()
    case.run(resume=True)
    assert content(case.output) == undisturbed


def test_a_part_that_was_lost_is_made_again(case: TinyCase, undisturbed: dict[str, Any]) -> None:
    interrupt(case, number=11)
    (case.output / "gates" / "part-00001.parquet").write_bytes(b"not a part")
    assert open_run(case.output).parts == 1
    case.run(resume=True)
    assert content(case.output) == undisturbed


def test_lost_predictions_are_an_error(case: TinyCase) -> None:
    interrupt(case, number=11)
    path = case.output / "predictions.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    keep = b"".join(path.read_bytes().splitlines(keepends=True)[:3])
    path.write_bytes(keep)
    with pytest.raises(RunFolderError, match="fewer lines than the finished parts"):
        case.run(resume=True)
    path.unlink()
    with pytest.raises(RunFolderError, match="fewer lines"):
        case.run(resume=True)
