"""``gatescope inspect`` on exported models and run folders, and on what is neither."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from gatescope.runtime import plugins
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import GatescopeError, MissingExtraError
from gatescope.runtime.gates.certificate import Certificate, Verification
from gatescope.runtime.inspection.identify import identify, inspect_path
from gatescope.runtime.running import pipeline
from gatescope.runtime.session.session import GateSession

from .tiny_case import TinyCase
from .tiny_model import tiny_manifest, tiny_model, tiny_proto
from .tiny_torch import tiny_torch

CERTIFICATE = Certificate(
    compared_with="gatescope's own model",
    shapes=({"clips": (75,), "words": (10,)}, {"clips": (50, 75), "words": (3, 4)}),
    errors={"gate_ffn": 1e-7, "pred_spans": 3e-6},
    atol=1e-4,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    manifest = replace(tiny_manifest("global", 3), certificate=CERTIFICATE, warnings=("look out",))
    onnx.save(tiny_proto(manifest), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def document(path: Path) -> dict[str, Any]:
    return json.loads(json.dumps(inspect_path(path).to_dict()))


def test_an_exported_model(model: Path) -> None:
    told = document(model)
    assert told["usable"] and told["kind"] == "model"
    assert told["manifest"] == json.loads(json.dumps(GateSession(model).manifest.to_dict()))
    assert told["nodes"] == len(onnx.load(model).graph.node)
    assert told["bytes"] == model.stat().st_size
    assert told["runtime"]["CPU"] == "ready" and "onnxruntime" in told["runtime"]["ONNX Runtime"]
    assert "look out" in told["warnings"]
    assert told["commands"] == [
        f"gatescope run {model} --annotations val.jsonl --features features/ --output run/"
    ]


def test_its_text_shows_what_matters(model: Path) -> None:
    text = inspect_path(model).to_text()
    for part in (
        "ONNX, avigate_custom, global gating, 3 fusion layers",
        "gate_ffn         float32 (batch, 3, 1, 1)",
        "3e-06 in pred_spans (allowed 0.0001)",
        "75, 50+75 clips",
        "not compared with predictions",
        "attention -1 to 1",
    ):
        assert part in text, part
    assert max(map(len, text.splitlines())) < 200


def test_a_verified_model_says_so(tmp_path: Path) -> None:
    verified = replace(
        CERTIFICATE, verification=Verification("preds.jsonl", "0" * 64, 12, 4, {"score": 1e-5})
    )
    onnx.save(tiny_proto(replace(tiny_manifest(), certificate=verified)), tmp_path / "m.onnx")
    found = inspect_path(tmp_path / "m.onnx")
    assert "12 predictions of training, preds.jsonl" in found.to_text()
    assert found.warnings == ()


@pytest.mark.parametrize("format", ["torchscript", "pt2"])
def test_files_of_pytorch(tmp_path: Path, format: Any) -> None:
    tiny_torch(tmp_path / "m", format)
    told = document(tmp_path / "m")
    assert told["usable"] and told["manifest"]["format"] == format
    assert told["runtime"]["PyTorch"].startswith("torch ")
    assert (told["nodes"] or 0) > 10 if format == "pt2" else told["nodes"] is None


def test_what_is_missing_to_run_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gatescope.runtime.inspection import exported_model

    monkeypatch.setattr(exported_model, "find_spec", lambda name: None)
    found = inspect_path(model)
    assert not found.usable and "gatescope[cpu]" in found.problems[0]
    assert "global gating" in found.summary and found.commands == ()


def test_broken_models_are_told_and_unusable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(tmp_path / "m.onnx")
    whole = (tmp_path / "m.onnx").read_bytes()
    proto = tiny_proto(tiny_manifest())
    del proto.metadata_props[:]
    tiny_torch(tmp_path / "good.pt2", "pt2")
    broken = {
        "cut.onnx": whole[: len(whole) // 2],
        "text.onnx": b"this is no model",
        "bare.onnx": proto.SerializeToString(),
        "cut.pt2": (tmp_path / "good.pt2").read_bytes()[:-100],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        assert main(["inspect", str(tmp_path / name), "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert told["kind"] == "model" and not told["usable"] and len(told["problems"]) == 1
        assert str(tmp_path / name) in told["problems"][0]


# Runs.


def test_a_finished_run(tmp_path: Path) -> None:
    case = TinyCase(tmp_path)
    case.data.text("103").unlink()
    case.run(skip_bad=True)
    told = document(case.output)
    assert told["usable"] and told["finished"] and told["kind"] == "run"
    assert told["samples"] == {"planned": 6, "done": 6, "skipped": 1}
    assert told["stored"] == ["predictions", "gates"]
    assert (told["model_file"], told["annotation_file"]) == ("unchanged", "unchanged")
    assert told["commands"] == [f"gatescope analyze {case.output} --output report/"]
    text = inspect_path(case.output).to_text()
    assert "finished; avigate_custom, clipwise gating" in text and "103" in text


def test_files_that_changed_or_went_are_pointed_out(tmp_path: Path) -> None:
    case = TinyCase(tmp_path)
    case.run()
    case.model.unlink()
    case.data.annotations.write_text("other", encoding="utf-8")
    told = document(case.output)
    assert (told["model_file"], told["annotation_file"]) == ("no longer there", "changed since")
    assert told["usable"]


def test_the_command_it_shows_finishes_an_unfinished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "with a space").mkdir()
    case = TinyCase(tmp_path / "with a space")
    run, left = GateSession.run, [1]

    def failing(self: GateSession, batch: Any, **options: Any) -> Any:
        if not left[0]:
            raise GatescopeError("power cut")
        left[0] -= 1
        return run(self, batch, **options)

    monkeypatch.setattr(pipeline, "samples_per_part", lambda *_: 2)
    with monkeypatch.context() as patch, pytest.raises(GatescopeError, match="power cut"):
        patch.setattr(GateSession, "run", failing)
        case.run(sample_ids=["100", "101", "102"])
    found = inspect_path(case.output)
    assert found.usable and not document(case.output)["finished"]
    assert "2 of 3 samples done" in found.summary
    (command,) = found.commands
    assert main(shlex.split(command)[1:]) == 0
    assert document(case.output)["finished"]
    capsys.readouterr()


@pytest.mark.parametrize("kind", ["plain", "gates", "summary"])
def test_runs_of_other_exports(tmp_path: Path, kind: Any) -> None:
    case = TinyCase(tmp_path, outputs_kind=kind)
    case.run()
    found = inspect_path(case.output)
    assert found.usable
    assert ("queries" in found.to_text()) == (kind == "gates")
    assert bool(found.commands) == (kind == "gates")


@pytest.mark.parametrize("damage", ["part", "run.json", "samples.parquet"])
def test_a_damaged_run_is_told_and_unusable(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = TinyCase(tmp_path)
    case.run()
    path = case.output / ("gates/part-00000.parquet" if damage == "part" else damage)
    path.write_bytes(b"{")
    assert main(["inspect", str(case.output), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "run" and not told["usable"] and told["problems"]
    if damage == "part":
        assert told["samples"]["done"] == 0


# Neither, and rooms that are missing.


def test_what_is_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").touch()
    for path, told in (
        (tmp_path / "nowhere", "there is no file or folder"),
        (tmp_path, "is a folder, but neither a run"),
        (tmp_path / "empty", "is empty"),
        (Path("/dev/null"), "is not a regular file"),
    ):
        assert main(["inspect", str(path)]) == 1
        captured = capsys.readouterr()
        assert told in captured.err and captured.out == ""


def test_a_damaged_archive_is_judged_by_its_name(tmp_path: Path) -> None:
    for name, kind in (("m.ckpt", "checkpoint"), ("m.pth", "checkpoint"), ("m.pt2", "model")):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and no more")
        assert identify(tmp_path / name) == kind


def test_a_checkpoint_without_the_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "m.ckpt", "w") as archive:
        archive.writestr("m/data.pkl", b"")

    def missing(group: str, name: str) -> Any:
        assert (group, name) == (plugins.PLUGINS, "inspect-checkpoint")
        raise MissingExtraError("torch", "export")

    monkeypatch.setattr(plugins, "load", missing)
    with pytest.raises(MissingExtraError, match=r"gatescope\[export\]"):
        inspect_path(tmp_path / "m.ckpt")


def test_a_model_and_a_run_are_inspected_without_torch(tmp_path: Path) -> None:
    case = TinyCase(tmp_path)
    case.run()
    for path in (case.model, case.output):
        code = (
            "import sys; sys.modules['torch'] = None\n"
            "from gatescope.runtime.cli.main import main\n"
            f"sys.exit(main(['inspect', {str(path)!r}]))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_shows_an_example_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", "--help"])
    text = capsys.readouterr().out
    assert "gatescope inspect model_best.ckpt" in text and "Exits 0" in text
