"""Opening run folders: what is not one, what is damaged, and near matches for what is not in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gatescope.runtime import open_run
from gatescope.runtime.errors import RunFolderError

from .tiny_case import TinyCase


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = TinyCase(tmp_path_factory.mktemp("run"))
    case.run()
    return case.output


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit(folder: Path, **fields: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (shutil.rmtree, "is not there"),
    "a file": (lambda run: (shutil.rmtree(run), run.touch()), "is a file, not a run folder"),
    "empty": (lambda run: (shutil.rmtree(run), run.mkdir()), "is not a run folder: it has no run.json"),
    "run.json empty": (lambda run: (run / "run.json").write_bytes(b""), "run.json is damaged"),
    "run.json cut": (lambda run: (run / "run.json").write_bytes(b'{"model": '), "run.json is damaged"),
    "run.json not text": (lambda run: (run / "run.json").write_bytes(b'"\xff\xfe"'), "run.json is damaged"),
    "run.json a list": (lambda run: (run / "run.json").write_bytes(b"[]"), "run.json is damaged"),
    "run.json a folder": (
        lambda run: ((run / "run.json").unlink(), (run / "run.json").mkdir()),
        "cannot be read",
    ),
    "a field of another type": (lambda run: edit(run, samples="many"), "run.json is damaged"),
    "no samples": (lambda run: edit(run, samples=0), "run.json is damaged"),
    "no manifest": (lambda run: edit(run, manifest=None), "run.json is damaged"),
    "a newer format": (lambda run: edit(run, format_version=99), "newer gatescope"),
    "a part gone": (lambda run: (run / "gates/part-00000.parquet").unlink(), "lacks part-00000.parquet"),
    "a part cut": (
        lambda run: (run / "gates/part-00000.parquet").write_bytes(b"PAR1junkPAR1"),
        "lacks part-00000.parquet, or it is damaged",
    ),
    "samples gone": (lambda run: (run / "samples.parquet").unlink(), "samples.parquet is missing or damaged"),
    "samples cut": (lambda run: (run / "samples.parquet").write_bytes(b"PAR1"), "missing or damaged"),
    "samples of something else": (
        lambda run: pl.DataFrame({"qid": ["1"]}).write_parquet(run / "samples.parquet"),
        "lacks the columns sample_id, vid, clips, duration",
    ),
}


@pytest.mark.parametrize("damage, told", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_not_a_whole_run_is_named(folder: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(folder)
    with pytest.raises(RunFolderError, match=told):
        open_run(folder)


def test_an_unknown_sample_or_gate_gets_near_matches(finished: Path) -> None:
    run = open_run(str(finished))
    with pytest.raises(RunFolderError, match="has no sample '1005'") as caught:
        run.tensor("1005", "attention")
    assert "such as 105" in str(caught.value)
    with pytest.raises(RunFolderError, match="has no 'atention' gate") as caught:
        run.tensor("105", "atention")
    assert "one of attention, ffn" in str(caught.value)


def test_lines_lost_from_the_predictions_are_noticed(folder: Path) -> None:
    path = folder / "predictions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    with pytest.raises(RunFolderError, match="ends after 3 lines"):
        list(open_run(folder).predictions())
    path.write_bytes(b"".join(lines[:3]) + b'{"qid": 1' + b"".join(lines[3:]))
    with pytest.raises(RunFolderError, match="missing or damaged"):
        list(open_run(folder).predictions())


def test_a_sample_is_found_by_qid_where_its_id_is_another(folder: Path) -> None:
    # Graphs of the video alone store each video once; queries find it by their qid.
    samples = pl.read_parquet(folder / "samples.parquet")
    part = folder / "gates" / "part-00000.parquet"
    gates = pl.read_parquet(part)
    before = open_run(folder).tensor("104", "ffn")
    renamed = pl.col("sample_id").replace({"104": "the video"})
    samples.with_columns(renamed).write_parquet(folder / "samples.parquet")
    gates.with_columns(renamed).write_parquet(part)
    run = open_run(folder)
    assert run.tensor("104", "ffn").tolist() == run.tensor("the video", "ffn").tolist() == before.tolist()


def test_a_model_in_the_place_of_a_run_gets_the_command_that_makes_one(tmp_path: Path) -> None:
    (tmp_path / "a model.onnx").write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"gatescope run '.*a model\.onnx' --annotations"):
        open_run(tmp_path / "a model.onnx")
