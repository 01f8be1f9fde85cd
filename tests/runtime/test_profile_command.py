"""``gatescope profile``: what it prints and writes, what each flag drives, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import plugins
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import GatescopeError, MissingExtraError, OutOfMemoryError
from gatescope.runtime.gates.manifest import Fact
from gatescope.runtime.profiling import profile as profiling
from gatescope.runtime.profiling.results import Placement, Start, Unavailable
from gatescope.runtime.profiling.start import StartRequest, Tried
from gatescope.runtime.profiling.table import to_text
from gatescope.runtime.profiling.trace import TraceRequest
from gatescope.runtime.session.device import Device, DeviceOptions
from gatescope.runtime.session.model_file import file_sha256
from gatescope.runtime.session.session import GateSession

from .profiles import MB, made_up, row
from .tiny_case import TinyCase
from .tiny_model import tiny_batch, tiny_manifest, tiny_model, tiny_proto

PNG = b"\x89PNG"


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``gatescope profile``; text is split into words, paths are not."""
    words = [word for one in arguments for word in (one.split() if isinstance(one, str) else [str(one)])]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["profile", *words])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    tiny_model(path)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is asked of the fresh processes, which are not started; nothing else waits for long."""
    asked: dict[str, Any] = {"start": []}

    def start(request: StartRequest) -> tuple[Start, dict[int, Tried]]:
        asked["start"].append(request)
        tried = {size: Tried(size, 0.1, size * MB) for size in request.batch_sizes}
        return replace(made_up().start, first_run_batch=request.batch_sizes[0]), tried

    def trace(request: TraceRequest) -> Any:
        asked["trace"] = request
        return made_up().trace

    monkeypatch.setattr(profiling, "measure_start", start)
    monkeypatch.setattr(profiling, "measure_trace", trace)
    monkeypatch.setattr("gatescope.runtime.profiling.pairs.BLOCK_SECONDS", 0.0)
    monkeypatch.setattr("gatescope.runtime.profiling.pairs.PAUSE_SECONDS", 0.0)
    return asked


def test_a_whole_profile(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "profile"
    code, out, err = run(
        model,
        "--clips 5 --words 4 --batch-size 4 --batch-size 1 --batch-size 4 --repeats 2",
        "--device cpu --threads 1 --json --output",
        folder,
    )
    assert code == 0
    told = json.loads(out)
    assert set(told) == {
        "subject",
        "machine",
        "inputs",
        "start",
        "rows",
        "recommended",
        "trace",
        "tracking",
        "eager",
    }
    assert told["subject"] | {"path": "", "bytes": 0} == {
        "path": "",
        "bytes": 0,
        "sha256": file_sha256(model),
        "format": "onnx",
        "family": "avigate_custom",
        "gating": "clipwise",
        "outputs": "tracked",
        "precision": "float32",
        "batching": "exact",
        "checkpoint_sha256": "0" * 64,
    }
    assert told["machine"]["threads"] == 1 and told["machine"]["providers"] == ["CPUExecutionProvider"]
    assert {"gatescope", "onnxruntime", "numpy"} <= told["machine"]["versions"].keys()
    assert told["inputs"] == {
        "lengths": ["5 clips and 4 words in every sample"],
        "rule": None,
        "concurrency": 1,
    }
    assert [one["batch_size"] for one in told["rows"]] == [1, 4]
    for one in told["rows"]:
        assert one["calls"] == 2 and one["failure"] is None and (one["clips"], one["words"]) == (5, 4)
        assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"]
        hours = one["samples_per_second"] * 5 * 2
        assert one["video_hours_per_hour"] == pytest.approx(hours)
    assert told["recommended"][0]["batch_size"] in (1, 4)
    assert told["trace"]["runs"] == 2 and told["trace"]["parts"][0]["name"] == "other"
    assert {one["batch_size"] for one in told["tracking"]} >= {1}
    assert all(one["ratio"]["pairs"] == 2 and one["ratio"]["median"] > 0 for one in told["tracking"])
    assert told["eager"] is None
    assert json.loads((folder / "profile.json").read_text(encoding="utf-8")) == told
    assert (folder / "profile.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in folder.iterdir()) == ["profile.json", "profile.png"]
    assert f"wrote {folder / 'profile.json'}" in err and "what tracking costs …" in err


def test_the_table_is_for_people_and_nothing_is_written_unasked(
    model: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(model, "--repeats", 1, "--batch-size", 2)
    assert code == 0 and list(tmp_path.iterdir()) == []
    assert out.startswith(f"{model}: ONNX, avigate_custom, clipwise gating, tracked outputs, ")
    assert "75 clips and 32 words in every sample" in out and "take batch 2: " in out
    assert "wrote" not in out and "measuring every size of batch (1 of 1) …" in err
    code, out, _ = run(model, "--repeats", 1, "--batch-size", 2, "--output", "here")
    assert f"wrote {Path('here') / 'profile.json'}\nwrote {Path('here') / 'profile.png'}\n" in out


def test_flags_reach_every_measurement(model: Path, quick: dict[str, Any]) -> None:
    code, out, _ = run(
        model, "--clips 5 --clips 9 --batch-size 3 --concurrency 2 --repeats 3 --threads 1 --json"
    )
    told = json.loads(out)
    assert code == 0 and told["inputs"]["concurrency"] == 2
    assert [(one["clips"], one["words"], one["calls"]) for one in told["rows"]] == [(5, 32, 6), (9, 32, 6)]
    assert told["rows"][0]["peak_bytes"] == 3 * MB
    asked = quick["start"]
    assert [(one.clips, one.words, one.concurrency) for one in asked] == [(5, 32, 2), (9, 32, 2)]
    assert asked[0].batch_sizes == (3,) and asked[0].wanted == DeviceOptions("cpu", 1)
    assert (quick["trace"].clips, quick["trace"].batch_size, quick["trace"].budget.repeats) == (9, 3, 3)
    run(model, "--seconds 0.01 --clips 5 --words 2")
    assert quick["start"][-1].batch_sizes == (1, 2, 4, 8, 16, 32, 64) and quick["start"][-1].words == 2
    assert quick["trace"].budget.seconds == 0.01


def test_options_of_the_device_reach_every_session(
    model: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, Any]] = []
    real = GateSession.__init__

    def on_the_cpu(session: GateSession, path: Any, **wanted: Any) -> None:
        opened.append(wanted)
        real(session, path, device="cpu", threads=1)
        session.device = found

    monkeypatch.setattr(GateSession, "__init__", on_the_cpu)
    found: Device = "cuda"
    assert run(model, "--tf32 --cuda-graphs --device cuda --repeats 1 --batch-size 1")[0] == 0
    assert len(opened) == 2  # the file and its plain sibling
    assert all(one["tf32"] and one["cuda_graphs"] for one in opened) and opened[0]["device"] == "cuda"
    assert (
        quick["start"][0].wanted
        == quick["trace"].wanted
        == DeviceOptions("cuda", 1, tf32=True, cuda_graphs=True)
    )
    found = "cpu"  # what auto comes down to has no graphs to record
    assert run(model, "--cuda-graphs --repeats 1 --batch-size 1")[0] == 0
    assert quick["start"][1].wanted == DeviceOptions("cpu", 1)


@pytest.mark.parametrize(
    ("threads", "batching", "size", "expected"),
    [(2, "exact", 6, (3, 1)), (2, "exact", 1, (1, 2)), (2, "reference", 6, (6, 2)), (1, "exact", 6, (6, 1))],
)
def test_the_profiler_sees_what_goes_through_the_graph_at_once(
    tmp_path: Path, quick: dict[str, Any], threads: int, batching: Any, size: int, expected: tuple[int, int]
) -> None:
    import onnx

    onnx.save(tiny_proto(replace(tiny_manifest(), batching=batching)), tmp_path / "m.onnx")
    assert (
        run(tmp_path / "m.onnx", f"--device cpu --threads {threads} --batch-size {size} --repeats 1")[0] == 0
    )
    assert (quick["trace"].batch_size, quick["trace"].threads) == expected
    with GateSession(tmp_path / "m.onnx", device="cpu", threads=threads) as session:
        seen: list[int] = []
        session._run = session._run_on_lane = lambda arrays: seen.append(len(arrays["src_vid"])) or []
        with contextlib.suppress(Exception):
            session.run(tiny_batch(session.manifest, clips=(5,) * size, words=(4,) * size))
    assert max(seen) == expected[0]


def test_lengths_of_the_users_annotations(tmp_path: Path, quick: dict[str, Any]) -> None:
    case = TinyCase(tmp_path)
    _, out, _ = run(
        case.model, "--annotations", case.data.annotations, "--batch-size", 2, "--repeats", 4, "--json"
    )
    told = json.loads(out)
    clips = sorted(int(np.ceil(float(str(one["duration"])) / 2)) for one in case.data.rows)
    assert told["rows"][0]["clips"] == round(float(np.median(clips)))
    assert f"7 queries of {case.data.annotations.name}" in told["inputs"]["lengths"][0]
    assert quick["start"][0].clips == max(clips)
    one = told["rows"][0]
    assert one["video_hours_per_hour"] == pytest.approx(one["samples_per_second"] * np.mean(clips) * 2)
    assert "special tokens" in run(case.model, "--annotations", case.data.annotations, "--repeats", 1)[1]


def test_a_graph_that_ends_at_its_gates_reads_no_words(tmp_path: Path, quick: dict[str, Any]) -> None:
    tiny_model(tmp_path / "m.onnx", outputs_kind="gates")
    code, out, _ = run(tmp_path / "m.onnx", "--repeats 1 --batch-size 1")
    assert code == 0 and "random, 75 clips in every sample" in out and "this graph ends at its gates" in out


def test_files_of_other_formats_have_no_parts(tmp_path: Path, quick: dict[str, Any]) -> None:
    from .tiny_torch import tiny_torch

    tiny_torch(tmp_path / "m.ts", "torchscript")
    code, out, _ = run(tmp_path / "m.ts", "--repeats", 1, "--batch-size", 1)
    assert code == 0 and quick["start"][0].format == "torchscript" and "trace" not in quick
    assert out.count("only for ONNX files") == 2 and "TorchScript" in out


def test_without_the_room_that_draws_the_document_is_written_all_the_same(
    model: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(group: str, name: str) -> Any:
        if group == plugins.PLUGINS:
            raise MissingExtraError("matplotlib", "analysis")
        return real(group, name)

    real: Callable[[str, str], Any] = plugins.load
    monkeypatch.setattr(plugins, "load", load)
    (tmp_path / "profile.png").write_bytes(b"of an earlier profile")
    code, out, _ = run(model, "--repeats", 1, "--batch-size", 1, "--output", tmp_path)
    assert code == 0 and "no profile.png: this needs gatescope[analysis]" in out
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


# --- memory ---


def test_a_batch_that_memory_cannot_hold_is_a_row_and_the_rest_goes_on(
    model: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GateSession.run

    def short(session: GateSession, batch: Any, **options: Any) -> Any:
        if len(batch["src_vid"]) > 2:
            raise OutOfMemoryError("memory ran out at 4 samples at a time")
        return real(session, batch, **options)

    monkeypatch.setattr(GateSession, "run", short)
    code, out, _ = run(model, "--batch-size 1 --batch-size 4 --batch-size 2 --repeats 1 --json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [(one["batch_size"], one["failure"]) for one in rows] == [
        (1, None),
        (2, None),
        (4, "out of memory"),
    ]
    code, _, err = run(model, "--batch-size 4 --repeats 1")
    assert code == 1 and "no batch could be computed" in err and "batch 4: out of memory" in err

    def profiler(request: TraceRequest) -> Any:
        raise OutOfMemoryError("memory ran out under the profiler")

    def comparison(*arguments: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(GateSession, "run", real)
    monkeypatch.setattr(profiling, "measure_trace", profiler)
    monkeypatch.setattr(profiling, "cost_of_tracking", comparison)
    code, out, _ = run(model, "--batch-size 1 --repeats 1")
    assert code == 0 and out.count("\n  out of memory") == 2

    def broken(session: GateSession, batch: Any, **options: Any) -> Any:
        raise GatescopeError("the shapes differ")

    monkeypatch.setattr(GateSession, "run", broken)
    code, _, err = run(model, "--repeats", 1)
    assert code == 1 and "the shapes differ" in err


# --- the comparison with PyTorch ---


class FakeEager:
    """Stands in for the room with PyTorch: gives what a session gives, plus ``error``."""

    def __init__(self, model: Path, error: float = 0.0) -> None:
        self.model, self.error = model, error
        self.opened: dict[str, Any] = {}

    def load(self, group: str, name: str) -> Any:
        return self if name == "eager-model" else None

    @contextlib.contextmanager
    def __call__(self, checkpoint: Path, manifest: Any, **options: Any) -> Any:
        self.opened = {"checkpoint": checkpoint, **options}
        with GateSession(self.model, device="cpu") as session:
            yield lambda batch: {name: values + self.error for name, values in session.run(batch).raw.items()}


@pytest.fixture
def with_checkpoint(tmp_path: Path) -> tuple[Path, Path]:
    """A model and the file it was exported from."""
    import onnx

    checkpoint = tmp_path / "m.ckpt"
    checkpoint.write_bytes(b"weights")
    manifest = replace(tiny_manifest(), checkpoint_sha256=file_sha256(checkpoint))
    onnx.save(tiny_proto(manifest), tmp_path / "m.onnx")
    return tmp_path / "m.onnx", checkpoint


def test_a_checkpoint_adds_eager_pytorch(
    with_checkpoint: tuple[Path, Path], quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, checkpoint = with_checkpoint
    eager = FakeEager(model)
    monkeypatch.setattr(plugins, "load", swap(eager.load))
    arguments = (model, "--checkpoint", checkpoint, "--threads 1 --repeats 2 --batch-size 3")
    code, out, _ = run(*arguments, "--json")
    told = json.loads(out)
    assert code == 0 and [one["batch_size"] for one in told["eager"]] == [3]
    assert told["eager"][0]["ratio"]["pairs"] == 2 and "torch" in told["machine"]["versions"]
    assert eager.opened == {"checkpoint": checkpoint, "device": "cpu", "threads": 1}
    assert "Eager PyTorch" in run(*arguments)[1]
    eager.error = 0.5
    code, _, err = run(*arguments)
    assert code == 1 and "PyTorch computes something else" in err and "0.5 in " in err


def swap(load: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """``plugins.load`` with plug-ins from ``load``, and commands as they are."""
    real = plugins.load
    return lambda group, name: load(group, name) if group == plugins.PLUGINS else real(group, name)


# --- what is refused ---


def test_bad_input_is_refused_before_anything_is_measured(
    tmp_path: Path, with_checkpoint: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    def never(request: object) -> None:
        raise AssertionError("it began to measure")

    monkeypatch.setattr(profiling, "measure_start", never)
    model, checkpoint = with_checkpoint
    positions = replace(tiny_manifest(), facts={"text_positions": Fact(True, "opt")})
    onnx.save(tiny_proto(positions), tmp_path / "positions.onnx")
    onnx.save(tiny_proto(replace(tiny_manifest(), family="user")), tmp_path / "own.onnx")
    tiny_model(tmp_path / "gates.onnx", outputs_kind="gates")
    (tmp_path / "case").mkdir()
    case = TinyCase(tmp_path / "case")
    case.run()
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"model": {}}, protocol=2))
    (tmp_path / "foreign.onnx").write_bytes(b"not a model at all")
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "other.ckpt").write_bytes(b"other weights")
    refusals: list[tuple[tuple[object, ...], int, tuple[str, ...]]] = [
        ((tmp_path / "absent.onnx",), 1, ("no file", "absent.onnx")),
        ((tmp_path / "foreign.onnx",), 1, ("not an ONNX model",)),
        ((case.output,), 2, ("is a run folder", f"gatescope profile {case.model}")),
        ((tmp_path,), 2, ("is a training's results folder",)),
        ((tmp_path / "weights.pth",), 2, ("is a checkpoint", "gatescope export --checkpoint")),
        ((model, "--batch-size", 10**9), 2, ("--batch-size", "1 to 1,000,000")),
        ((model, "--concurrency", 10**6), 2, ("--concurrency", "1 to 1,000")),
        ((tmp_path / "positions.onnx", "--words", 33), 2, ("positions for fewer words", "at most 32")),
        ((tmp_path / "gates.onnx", "--words", 3), 2, ("takes no text",)),
        ((model, "--annotations", "a.jsonl", "--clips", 3), 2, ("--clips next to --annotations",)),
        ((model, "--annotations", tmp_path / "a.jsonl"), 1, ("no annotation file",)),
        ((model, "--checkpoint", tmp_path / "absent.ckpt"), 2, ("there is no checkpoint",)),
        (
            (model, "--checkpoint", tmp_path / "other.ckpt"),
            2,
            (
                "was not exported from",
                file_sha256(tmp_path / "other.ckpt"),
                f"expected: SHA-256 {file_sha256(checkpoint)}",
            ),
        ),
        ((tmp_path / "own.onnx", "--checkpoint", checkpoint), 2, ("own code", "leave --checkpoint out")),
        ((model, "--output", tmp_path / "file" / "below"), 2, ("is not a folder",)),
    ]
    before = sorted(tmp_path.rglob("*"))
    for arguments, expected, words in refusals:
        code, out, err = run(*arguments)
        assert (code, out) == (expected, ""), arguments
        assert all(word in err for word in words) and "Traceback" not in err, err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "--batch-size 0",
        "--clips -1",
        "--words x",
        "--seconds 0",
        "--seconds nan",
        "--repeats 0",
        "--seconds 1 --repeats 2",
        "--threads 0",
        "--concurrency 0",
        "--device gpu",
    ],
)
def test_bad_usage(model: Path, arguments: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(model, arguments)
    assert caught.value.code == 2


def test_without_pytorch_a_checkpoint_is_refused_at_once(with_checkpoint: tuple[Path, Path]) -> None:
    model, checkpoint = with_checkpoint
    code = (
        "import importlib.util as u, sys; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a)\n"
        "from gatescope.runtime.cli.main import main\n"
        f"sys.exit(main(['profile', {str(model)!r}, '--checkpoint', {str(checkpoint)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "gatescope[export]" in done.stderr and done.stdout == ""


# --- the table ---


def test_the_table_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    text = to_text(made_up())
    assert "\n      8       80.0     100     120     150     40     12,000        200\n" in text
    assert "\n     64  out of memory\n" in text
    assert "take batch 8: 80.0 samples/s" in text and "12,000 hours of video" in text
    assert "fusion.0   60.0%    60.0 ms   40 nodes  ████████████████████████\n" in text
    assert "67.0 MB for libraries, + 180.0 MB at most" in text and "arena held 204.0 MB" in text
    assert (
        "batch 1    +0.1% time, not distinguishable from none (middle half -1.0% to +2.0%, 20 pairs)" in text
    )
    assert "batch 8    +5.0% time (middle half" in text
    assert "busy" not in text and "clips  batch" not in text and "Eager" not in text
    assert "fewer than 100 calls" in text and "reference" not in text


def test_the_table_in_other_cases() -> None:
    whole = made_up()
    assert not isinstance(whole.trace, Unavailable)
    placed = (Placement("CUDAExecutionProvider", 120, 90.0, 0.9), *whole.trace.placement)
    operators = {f"Op{i}": i for i in range(20, 0, -1)}
    text = to_text(
        made_up(
            subject=replace(whole.subject, batching="reference"),
            machine=replace(whole.machine, load=1.9, device="cuda", gpu="Some GPU", cpu=None),
            inputs=replace(whole.inputs, lengths=("5 clips", "9 clips"), concurrency=4, rule="counted so"),
            start=replace(
                whole.start, libraries_bytes=None, method="not measured here", first_run_seconds=None
            ),
            rows=(row(1, 5.0, clips=5, calls=200), replace(row(1, 9.0, clips=9, calls=200), peak_bytes=None)),
            trace=replace(whole.trace, placement=placed, on_cpu=operators),
            eager=whole.tracking,
        )
    )
    assert "CUDA Some GPU, 2 threads" in text and "busy before this began (load 1.9)" in text
    assert "4 callers at once" in text and "counted so" in text and "memory not measured here" in text
    assert "clips  batch" in text and "reference batching" in text and "fewer than" not in text
    assert "CUDAExecutionProvider computes 120 nodes, 90.0% of the time" in text
    assert "left to the CPU: 20 × Op20, 19 × Op19" in text and "and 8 others" in text
    assert "batch 8    1.05 times as long (middle half 1.04 to 1.06, 9 pairs)" in text
    text = to_text(made_up(trace=Unavailable("only for ONNX files"), tracking=Unavailable("it is plain")))
    assert "Where the time goes\n  only for ONNX files" in text and "its gates\n  it is plain" in text


def test_the_gpu_is_asked_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gatescope.runtime.profiling.machine import gpu_name

    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=name ] && echo "Some GPU"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert gpu_name() == "Some GPU"
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert gpu_name() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert gpu_name() is None
