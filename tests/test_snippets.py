"""The Python of the pages runs, on a small model and the golden dataset in the places that the pages name.

The examples of the monitor, of plug-ins and of figures in a notebook are run where those are tested.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from gatescope.export import Choices, Variant, export_checkpoint
from gatescope.runtime import GateSession, batches, open_run
from gatescope.runtime.cli.main import main
from tests.export import small
from tests.export.lab import OPTIONS, LabModel
from tests.export.test_user import batch as lab_batch
from tests.golden.case import Case
from tests.undrawn import undrawn

DOCS = Path(__file__).parent.parent / "docs"


def snippet(page: str, mark: str) -> str:
    """The one Python block of ``page`` that holds ``mark``."""
    text = (DOCS / page).read_text(encoding="utf-8")
    [found] = [body for body in re.findall(r"```python\n(.*?)```", text, re.S) if mark in body]
    return found


def run_snippet(page: str, mark: str, **names: Any) -> dict[str, Any]:
    """The names after the block has run with the given ones."""
    exec(compile(snippet(page, mark), page, "exec"), names)
    return names


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, dataset: tuple[Case, Path]) -> Path:
    """A folder with what the pages name: model_best.ckpt, m.onnx, val.jsonl, run/, and ../features."""
    folder = tmp_path_factory.mktemp("user") / "project"
    folder.mkdir()
    case, annotations = dataset
    names = ("v_feat_dim", "a_feat_dim", "t_feat_dim", "v_feat_dirs", "a_feat_dir", "t_feat_dir")
    options = {name: case.options[name] for name in names}
    widths = dict(zip(("video_width", "audio_width", "text_width"), options.values(), strict=False))
    checkpoint = small.save(folder / "model_best.ckpt", small.weights(**widths), **options)
    (folder / "val.jsonl").symlink_to(annotations)
    (folder.parent / "features").symlink_to(annotations.parent)
    export_checkpoint(checkpoint, folder / "m.onnx", Choices(), variant=Variant(overridable=True))
    words = ["run", folder / "m.onnx", "--annotations", annotations, "--features", annotations.parent]
    assert main([*map(str, words), "--output", str(folder / "run")]) == 0
    for copy in ("run_a", "run_b"):
        shutil.copytree(folder / "run", folder / copy)
    return folder


@pytest.fixture(autouse=True)
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(place)
    with undrawn():
        yield


def test_from_python() -> None:
    qid = open_run("run/").samples.collect()["qid"][0]
    code = (
        snippet("python.md", "export_checkpoint(").replace('"1000"', repr(qid)).replace('"2579"', repr(qid))
    )
    code = code.replace('"m.onnx")\n', '"m2.onnx")\n', 1)  # others read m.onnx here
    code = code.replace('"run_b/"], "report/")', '"run_b/"], "comparison/")')
    names: dict[str, Any] = {"frame": open_run("run/").gates.filter(pl.col("gate") == "attention")}
    shapes = {"slowfast": (4, 2304), "clip": (4, 512), "pann": (4, 2048), "words": (3, 512)}
    names.update({name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    exec(compile(code, "python.md", "exec"), names)
    assert names["out"].gates["attention"].dtype == np.float32
    assert Path("report/ANALYSIS_REPORT.md").exists()


def test_changing_gates_while_a_model_runs() -> None:
    with GateSession("m.onnx", device="cpu") as session:
        _, batch = next(iter(batches(session.manifest, "val.jsonl", features="../features", batch_size=2)))
        free = session.run(batch).gates["attention"]
        run_snippet("export.md", 'overrides={"attention": "shut"}', session=session, batch=batch)
        assert np.array_equal(session.run(batch).gates["attention"], free)


def test_the_manifest_and_the_gate_table() -> None:
    names = run_snippet("formats.md", "read_manifest(")
    assert {gate.name for gate in names["manifest"].gates} >= {"fusion.0.attention", "fusion.0.ffn"}
    run_snippet("formats.md", "scan_parquet(")


def test_tracking_a_live_model() -> None:
    with GateSession("m.onnx", device="cpu") as session:
        ids, batch = next(iter(batches(session.manifest, "val.jsonl", features="../features", batch_size=1)))
    full = {name: torch.from_numpy(np.asarray(value)) for name, value in batch.items()}
    dataloader = [full | {"qid": ids[0]}]
    model = LabModel(argparse.Namespace(**OPTIONS)).eval()
    names = run_snippet("live-tracking.md", "dataloader", model=model, dataloader=dataloader)
    run_snippet("live-tracking.md", "np.abs", model=names["model"])
    assert list(names["model"].avigate_fusion.gate_history) == [f"sample_{ids[0]}"]


def test_logging_gates_while_training() -> None:
    model = LabModel(argparse.Namespace(**OPTIONS)).eval()
    inputs = {name: torch.from_numpy(value) for name, value in lab_batch(np.random.default_rng(0)).items()}
    logged: dict[tuple[str, int], float] = {}

    class Writer:
        def add_scalar(self, name: str, value: float, epoch: int) -> None:
            logged[name, epoch] = value

    def one_pass(model: LabModel) -> None:
        model(**inputs)

    run_snippet(
        "training.md",
        "scalars()",
        model=model,
        writer=Writer(),
        epochs=2,
        train_one_epoch=one_pass,
        evaluate=one_pass,
    )
    assert {epoch for _, epoch in logged} == {0, 1}
    assert logged["train/gate/ffn/layer2/mean_abs", 0] == logged["val/gate/ffn/layer2/mean_abs", 1]


def test_a_factory_of_your_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place / "my_project"
    folder.mkdir()
    (folder / "__init__.py").touch()
    lines = [
        "from tests.export.lab import LabModel",
        "def build_model(options):",
        "    return LabModel(options), None",
    ]
    (folder / "model.py").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    names = run_snippet("your-own-model.md", "def make_model")
    assert isinstance(names["make_model"](argparse.Namespace(**OPTIONS)), LabModel)
    sys.modules.pop("my_project.model", None)


def test_exporting_a_live_model() -> None:
    inputs = {name: torch.from_numpy(value) for name, value in lab_batch(np.random.default_rng(0)).items()}
    code = snippet("your-own-model.md", "export_model(").replace('"m.onnx"', '"live.ts"')  # a faster format
    exec(
        compile(code, "your-own-model.md", "exec"),
        {"model": LabModel(argparse.Namespace(**OPTIONS)), "example_inputs": inputs},
    )
    assert Path("live.ts").exists()
