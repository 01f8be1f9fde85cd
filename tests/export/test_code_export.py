"""``export --code``: the code that trained builds the model in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatescope.export import Choices
from gatescope.export.from_results import dataset_of
from gatescope.export.reading.results import open_results
from gatescope.export.report import MODEL, report_checkpoint
from gatescope.export.user.apart.process import CodeChoice, export_with_code
from gatescope.runtime import GateSession, read_manifest
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.dataset import FeatureSources
from gatescope.runtime.errors import ExportError, UsageError
from tests.export import coded
from tests.export.training_folder import training_folder
from tests.runtime.tiny_dataset import tiny_dataset
from tests.undrawn import undrawn

# What the code does besides: it prints, writes to the descriptor itself, reads a file of its package, and
# leaves a process, a thread and an exit handler behind.
NOISE = """
import atexit, os, pathlib, subprocess, sys, threading, time
print("the code says hello")
os.write(1, b"and writes to standard output itself\\n")
assert pathlib.Path("qd_detr/words.txt").read_text() == "words"
assert (pathlib.Path(__file__).parent / "words.txt").read_text() == "words"
assert sys.stdin.read() == ""
assert not torch.cuda.is_available()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
threading.Thread(target=time.sleep, args=(600,)).start()
atexit.register(time.sleep, 600)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the code that trained it."""
    root = tmp_path_factory.mktemp("training")
    model = coded.built(root / "code")
    checkpoint = coded.save(root / "m.ckpt", model)
    files = {f"code/{name}": text for name, text in coded.changed(model=coded.MODEL + NOISE).items()}
    archive = coded.zipped(root / "code.zip", files | {"code/words.txt": "words"})
    return training_folder(
        root / "run", {"model_best.ckpt": checkpoint}, files={"code.zip": archive.read_bytes()}
    )


@pytest.fixture(scope="module")
def exported(results: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The file that the command wrote, and what it said on both streams."""
    output = tmp_path_factory.mktemp("exported") / "report" / MODEL
    with pytest.MonkeyPatch.context() as patch:
        streams = _streams(patch)
        words = ["export", str(results), "--code", "--output", str(output), "--json"]
        assert main(words) == 0, streams()[1]
        out, err = streams()
    return output, out, err


def _streams(patch: pytest.MonkeyPatch) -> Any:
    import io
    import sys

    out, err = io.StringIO(), io.StringIO()
    patch.setattr(sys, "stdout", out)
    patch.setattr(sys, "stderr", err)
    return lambda: (out.getvalue(), err.getvalue())


def test_the_output_is_one_document_and_says_what_ran(exported: tuple[Path, str, str], results: Path) -> None:
    output, out, err = exported
    document = json.loads(out)
    assert document["output"] == str(output)
    assert "not in a sandbox" in err and "hello" not in err
    forward = document["manifest"]["forward"]
    assert forward["source"] == "code"
    assert forward["branch"] == CodeChoice(results / "code.zip").branch()
    assert any("cuda" in line and "qd_detr.model, line" in line for line in forward["adapted"])
    compared = document["manifest"]["certificate"]["compared_with"]
    assert compared == "the model that build_model of code.zip builds"
    assert document["manifest"]["training"]["epoch"] == 3
    assert [path.name for path in output.parent.iterdir()] == [MODEL]


def test_gates_and_predictions_are_those_of_that_code(
    exported: tuple[Path, str, str], tmp_path: Path
) -> None:
    model = coded.built(tmp_path / "code")
    seen: list[torch.Tensor] = []
    for layer in model.fusion.layers:
        layer.valve.register_forward_hook(lambda _module, _args, output: seen.append(output[0]))
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {}
    for name, length, width in (("src_txt", 4, 6), ("src_vid", 7, 4), ("src_aud", 7, 5)):
        inputs[name] = rng.standard_normal((3, length, width)).astype(np.float32)
        inputs[f"{name}_mask"] = np.ones((3, length), np.float32)
    zeros = torch.zeros
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cuda", lambda self: self)
        expected = model(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    assert torch.zeros is zeros
    with GateSession(exported[0], device="cpu") as session:
        got = session.run(inputs).raw
    np.testing.assert_allclose(got["gate_attention"], torch.stack(seen, 1).numpy(), atol=1e-5)
    for name in ("pred_logits", "pred_spans", "saliency_scores"):
        np.testing.assert_allclose(got[name], expected[name].numpy(), atol=1e-5)


@pytest.fixture
def pictureless() -> Iterator[None]:
    with undrawn():
        yield


def test_a_report_uses_the_model_that_this_code_built(
    exported: tuple[Path, str, str], results: Path, tmp_path: Path, pictureless: None
) -> None:
    manifest = read_manifest(exported[0])
    data = tiny_dataset(tmp_path / "data", manifest)
    found = open_results(results, annotations=data.annotations, sources=FeatureSources(data.root))
    report = partial(report_checkpoint, found.checkpoint, dataset_of(found))
    made = report(exported[0].parent, code=CodeChoice(results / "code.zip"))
    assert made.exported_before and made.run.samples == len(data.rows)
    other = coded.zipped(tmp_path / "code.zip")
    with pytest.raises(UsageError, match="differs in code"):
        report(exported[0].parent, code=CodeChoice(other))
    with pytest.raises(UsageError, match="--ablate with --model or --code"):
        report(tmp_path / "new", code=CodeChoice(other), ablate=True)


def test_what_ends_its_process_is_named_with_what_it_printed(results: Path, tmp_path: Path, capfd) -> None:
    ending = "import os\nprint('one\\x1b[2Jtwo')\nos._exit(0)\n"
    archive = coded.zipped(tmp_path / "code.zip", matcher=ending)
    words = ["export", str(results), "--code", str(archive), "--output", str(tmp_path / "m.onnx"), "--json"]
    assert main(words) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "ended its process while importing qd_detr.model of code.zip" in err
    assert "exit status 0" in err and "one[2Jtwo" in err
    assert [path.name for path in tmp_path.iterdir()] == ["code.zip"]


def test_what_takes_too_long_is_stopped(results: Path, tmp_path: Path) -> None:
    archive = coded.zipped(tmp_path / "code.zip", matcher="while True: pass\n")
    with pytest.raises(ExportError, match="stopped after 1 second") as raised:
        export_with_code(results / "model_best.ckpt", archive, tmp_path / "m.onnx", seconds=1)
    assert "--code-seconds N" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["code.zip"]


def test_bad_usage_is_named_before_anything_runs(results: Path, tmp_path: Path, capsys) -> None:
    def told(*words: str) -> str:
        assert main(["export", *words]) == 2
        return capsys.readouterr().err

    folder = str(results)
    bare = coded.save(tmp_path / "m.ckpt", torch.nn.Linear(1, 1))
    assert "--heads together with --code" in told(folder, "--code", "--heads", "2")
    assert "--code-seconds without --code" in told(folder, "--code-seconds", "5")
    assert "there is no" in told(folder, "--code", str(tmp_path / "gone.zip"))
    assert "holds no code" in told("--checkpoint", str(bare), "--code")
    # The folder may also stand where the code's place would.
    assert "--heads together with --code" in told("--code", folder, "--heads", "2")
    assert "does not name a factory" in told(folder, "--code", "--model", "model")


def test_code_of_another_training_with_overrides_is_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        export_with_code(
            results / "model_best.ckpt", results / "code.zip", tmp_path / "m.txt", Choices(), factory="a:b"
        )
