"""The command line of ``gatescope run``: exit codes, output, interruption."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from gatescope.runtime import open_run
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.crew import Crew
from gatescope.runtime.errors import UsageError
from gatescope.runtime.running import loop, plan, settings
from gatescope.runtime.runs import writer
from gatescope.runtime.session.session import GateSession

from ..waiting import until
from .tiny_case import TinyCase


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyCase:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    return TinyCase(tmp_path)


def command(case: TinyCase, *more: str) -> list[str]:
    places = ["--annotations", case.data.annotations, "--features", case.data.root, "--output", case.output]
    return ["run", str(case.model), *map(str, places), "--device", "cpu", "--batch-size", "2", *more]


def test_json_is_all_that_goes_to_stdout(case: TinyCase, capsys: pytest.CaptureFixture[str]) -> None:
    case.data.text("103").unlink()
    assert main(command(case, "--json", "--skip-bad", "--max-samples", "5")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["output"] == str(case.output) and told["samples"] == 4
    assert [sample["sample_id"] for sample in told["skipped"]] == ["103"]
    assert told["seconds"] > 0 and told["samples_per_second"] > 0
    assert told["queries"] == 4 and told["stored"] == ["predictions", "gates"]
    assert set(told) == {
        "output",
        "samples",
        "queries",
        "stored",
        "skipped",
        "coverage",
        "seconds",
        "samples_per_second",
    }


def test_it_says_what_it_wrote_and_what_it_left_out(
    case: TinyCase, capsys: pytest.CaptureFixture[str]
) -> None:
    case.data.text("103").unlink()
    assert main(command(case, "--skip-bad")) == 0
    out = capsys.readouterr().out
    assert f"wrote {case.output}: predictions and gates of 6 samples" in out
    assert "left out 1 of 7 samples:\n  sample 103: no file" in out
    assert main(command(case, "--skip-bad", "--resume")) == 0
    assert "is finished: nothing to do" in capsys.readouterr().out


def test_samples_and_folders_can_be_named(case: TinyCase) -> None:
    video = [case.data.root / name for name in ("slowfast_features", "clip_features")]
    renamed = [path.rename(path.with_name(f"my {i}")) for i, path in enumerate(video)]
    audio = (case.data.root / "pann_features").rename(case.folder / "sound")
    text = (case.data.root / "clip_text_features").rename(case.folder / "words")
    more = [word for path in renamed for word in ("--video-features", str(path))]
    more += ["--audio-features", str(audio), "--text-features", str(text)]
    assert main(command(case, *more, "--sample", "104", "--sample", "101")) == 0
    assert open_run(case.output).samples.collect()["qid"].to_list() == ["101", "104"]


BAD_USAGE = {
    "batch size zero": ["--batch-size", "0"],
    "batch size a word": ["--batch-size", "many"],
    "max samples negative": ["--max-samples", "-3"],
    "unknown device": ["--device", "tpu"],
    "one video folder of two": ["--video-features", "."],
}


@pytest.mark.parametrize("more", BAD_USAGE.values(), ids=BAD_USAGE.keys())
def test_bad_usage_exits_with_two(
    case: TinyCase, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(command(case, *more))
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err
    assert not case.output.exists()


def test_named_failures_exit_with_one_and_write_nothing(
    case: TinyCase, capsys: pytest.CaptureFixture[str]
) -> None:
    case.data.audio("v0_0.0_20.0").write_bytes(b"")
    assert main(command(case)) == 1
    err = capsys.readouterr().err
    assert "2 of 7 samples cannot be run" in err and "v0_0.0_20.0.npy is empty" in err
    assert "Traceback" not in err and not case.output.exists()
    assert main(command(case, "--sample", "999")) == 2
    assert "no such sample" in capsys.readouterr().err
    case.model.write_bytes(b"junk")
    assert main(command(case)) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_an_interrupted_run_says_how_to_go_on(
    case: TinyCase,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, calls, crews = GateSession.run, 0, list[Crew]()

    class KnownCrew(Crew):
        def __init__(self) -> None:
            super().__init__()
            crews.append(self)

    def signalled(session: GateSession, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), number)
            until(lambda: crews[-1].stopping)  # what is under way is finished
        return run(session, batch)

    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "CALLS_AT_ONCE", 1)
        patch.setattr(loop, "Crew", KnownCrew)
        patch.setattr(GateSession, "run", signalled)
        assert main(command(case, "--sample", "100", "--sample", "105", "--sample", "104", "--sample", "106",
                            "--sample", "103", "--skip-bad")) == 130  # fmt: skip
    assert signal.getsignal(signal.SIGTERM) is handler
    err = capsys.readouterr().err
    assert "interrupted; to go on:" in err
    assert open_run(case.output).parts == 2
    advised = shlex.split(next(line for line in err.splitlines() if line.startswith("  gatescope ")))
    assert advised[-1] == "--resume"
    assert main(advised[1:]) == 0
    assert open_run(case.output).finished
    assert open_run(case.output).samples.collect()["qid"].to_list() == ["100", "103", "104", "105", "106"]


def test_interrupted_before_anything_was_written(
    case: TinyCase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "check_samples", interrupt)
    assert main(command(case)) == 130
    assert "before anything was written" in capsys.readouterr().err
    assert not case.output.exists()


def test_a_full_disk_is_a_message(
    case: TinyCase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer, "append_durably", full)
        assert main(command(case)) == 1
    err = capsys.readouterr().err
    assert "No space left on device" in err and "free some space" in err and "--resume" in err
    assert main(command(case, "--resume")) == 0


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(
    case: TinyCase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command(case)) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("gatescope.runtime.progress.LINE_EVERY_SECONDS", 0.0)
    assert main([*command(case)[:-2], "--batch-size", "7", "--output", str(case.folder / "again")]) == 0
    err = capsys.readouterr().err
    assert "checking features: 7 of 7 samples" in err and "running: 7 of 7 samples, " in err


def test_progress_is_a_bar_on_a_terminal(
    case: TinyCase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(command(case)) == 0
    err = capsys.readouterr().err
    assert "checking features: 100%" in err and "running: 100%" in err and "7/7" in err


def test_reference_batching_warns_of_another_batch_size(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    import onnx

    from .tiny_model import tiny_manifest, tiny_proto

    case = TinyCase(tmp_path)
    onnx.save(tiny_proto(replace(tiny_manifest(), batching="reference")), case.model)
    case.run(batch_size=4)
    assert not caplog.records
    case.run(batch_size=2, output=tmp_path / "other")
    assert "training evaluated with batches of 4, not 2" in caplog.text


def test_flags_of_cuda_reach_the_session(case: TinyCase, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    class Refusing:
        def __init__(self, *_: object, **options: object) -> None:
            asked.append(options)
            raise UsageError("seen")

    monkeypatch.setattr(settings, "GateSession", Refusing)
    assert main(command(case, "--device", "auto", "--tf32", "--cuda-graphs")) == 2
    assert asked == [{"device": "auto", "threads": None, "tf32": True, "cuda_graphs": True}]
