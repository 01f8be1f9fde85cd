"""The whole path of a run: the table recomputed from the arrays, selection, bad samples, refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gatescope.runtime import batches, open_run
from gatescope.runtime.data.annotations import read_annotations
from gatescope.runtime.errors import BadSamplesError, DatasetError, RunFolderError, UsageError
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.runs.predictions import format_prediction, read_predictions
from gatescope.runtime.runs.table import SampleGates, gate_table
from gatescope.runtime.runs.writer import samples_per_part

from .tiny_case import TinyCase
from .tiny_model import CHANNELS, FACTOR, Gating, tiny_manifest

GATINGS: tuple[Gating, ...] = ("global", "clipwise", "elementwise")


@pytest.fixture
def case(tmp_path: Path) -> TinyCase:
    return TinyCase(tmp_path)


@pytest.mark.parametrize("gating", GATINGS)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_the_gate_table_is_what_the_arrays_say(tmp_path: Path, gating: Gating, batch_size: int) -> None:
    case = TinyCase(tmp_path, gating)
    case.run(batch_size=batch_size)
    table = open_run(case.output).gates.collect()
    rows: list[tuple[str, int, str, int, float]] = []
    wide: list[np.ndarray] = []
    for qid in case.data.qids:
        outputs = case.expect(qid)
        for layer in range(2):
            for kind in FACTOR:
                for clip, channels in enumerate(outputs[f"gate_{kind}"][0, layer]):
                    rows.append((qid, layer, kind, clip, float(channels.mean())))
                    wide.append(channels)
    columns = ["sample_id", "layer", "gate", "clip"]
    assert table.select(columns).rows() == [row[:4] for row in rows]
    np.testing.assert_allclose(table["value"].to_numpy(), [row[4] for row in rows], atol=1e-6)
    kinds = [pl.String, pl.UInt8, pl.String, pl.UInt16, pl.Float32]
    if gating == "elementwise":
        assert table.columns == [*columns, "value", "values"]
        assert table.dtypes == [*kinds, pl.Array(pl.Float32, CHANNELS)]
        np.testing.assert_allclose(table["values"].to_numpy(), wide, atol=1e-6)
    else:
        assert table.columns == [*columns, "value"]
        assert table.dtypes == kinds


def test_samples_and_predictions_follow_the_annotations(case: TinyCase) -> None:
    result = case.run(batch_size=3)
    assert (result.samples, result.skipped, result.output) == (7, (), case.output)
    run = open_run(case.output)
    samples = run.samples.collect()
    assert samples.columns == ["sample_id", "qid", "vid", "clips", "duration"]
    assert samples["sample_id"].to_list() == samples["qid"].to_list() == case.data.qids
    assert samples["clips"].to_list() == [case.data.clips(str(row["vid"])) for row in case.data.rows]
    assert samples["duration"].to_list() == [row["duration"] for row in case.data.rows]
    lines = read_predictions(case.output / "predictions.jsonl")
    assert [line["qid"] for line in lines] == [row["qid"] for row in case.data.rows]
    for line, row in zip(lines, case.data.rows, strict=True):
        outputs = case.expect(str(row["qid"]))
        wanted = format_prediction(
            qid=line["qid"],
            query=str(row["query"]),
            vid=str(row["vid"]),
            duration=float(str(row["duration"])),
            logits=outputs["pred_logits"][0],
            spans=outputs["pred_spans"][0],
            saliency=outputs["saliency_scores"][0],
            clips=case.data.clips(str(row["vid"])),
            round_to=2.0,
            clamp_seconds=150.0,
        )
        assert line["query"] == wanted["query"] and line["vid"] == wanted["vid"]
        np.testing.assert_allclose(line["pred_relevant_windows"], wanted["pred_relevant_windows"], atol=2e-4)
        np.testing.assert_allclose(line["pred_saliency_scores"], wanted["pred_saliency_scores"], atol=2e-3)
    assert list(run.predictions()) == lines


def test_run_json_says_what_ran(case: TinyCase) -> None:
    case.run(max_samples=5)
    info = json.loads((case.output / "run.json").read_text(encoding="utf-8"))
    assert info == open_run(case.output).info
    assert info["finished"] is True and info["samples"] == 5 and info["batch_size"] == 2
    assert info["model"]["sha256"] == hashlib.sha256(case.model.read_bytes()).hexdigest()
    assert info["annotations"]["sha256"] == hashlib.sha256(case.data.annotations.read_bytes()).hexdigest()
    assert info["features"]["video"] == [
        str((case.data.root / name).resolve()) for name in ("slowfast_features", "clip_features")
    ]
    assert info["selection"] == {"max_samples": 5, "samples": None}
    assert info["device"] == "cpu" and {"gatescope", "onnxruntime", "numpy", "polars"} <= set(
        info["versions"]
    )
    assert all(value > 0 for value in info["timings"].values())
    assert Manifest.from_json(json.dumps(info["manifest"])) == case.manifest


@pytest.mark.parametrize("gating", GATINGS)
def test_a_tensor_is_the_samples_own(tmp_path: Path, gating: Gating) -> None:
    case = TinyCase(tmp_path, gating)
    case.run()
    run = open_run(case.output)
    for qid in case.data.qids:
        for kind in FACTOR:
            tensor = run.tensor(int(qid), kind)
            assert tensor.dtype == np.float32
            np.testing.assert_allclose(tensor, case.expect(qid)[f"gate_{kind}"][0], atol=1e-6)


def test_a_model_that_ends_at_its_gates_writes_no_predictions(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="gates")
    for path in (case.data.root / "clip_text_features").iterdir():
        path.unlink()
    case.run()
    assert not (case.output / "predictions.jsonl").exists()
    run = open_run(case.output)
    assert list(run.predictions()) == []
    assert run.tensor("100", "ffn").shape == (2, 5, 1)


def test_a_model_without_gates_writes_predictions(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="plain")
    case.run()
    run = open_run(case.output)
    assert run.gates.collect().is_empty()
    assert len(list(run.predictions())) == 7


def test_chosen_samples_run_in_file_order(case: TinyCase) -> None:
    case.run(sample_ids=["105", "101", "105"])
    assert open_run(case.output).samples.collect()["qid"].to_list() == ["101", "105"]
    with pytest.raises(DatasetError, match="no such sample") as caught:
        case.run(sample_ids=["101", "999"], output=case.folder / "other")
    assert "999" in str(caught.value) and not (case.folder / "other").exists()


def test_bad_samples_stop_the_run_before_anything_is_written(case: TinyCase) -> None:
    case.data.text("102").unlink()
    case.data.text("106").write_bytes(b"junk")
    with pytest.raises(BadSamplesError) as caught:
        case.run()
    assert [sample for sample, _ in caught.value.samples] == ["102", "106"]
    assert "2 of 7 samples" in str(caught.value) and "--skip-bad" in str(caught.value)
    assert not case.output.exists()


def test_skip_bad_leaves_them_out_and_says_so(case: TinyCase) -> None:
    case.data.text("102").unlink()
    case.data.text("106").write_bytes(b"junk")
    result = case.run(skip_bad=True)
    assert result.samples == 5
    run = open_run(case.output)
    assert [sample["sample_id"] for sample in run.info["skipped"]] == ["102", "106"]
    assert "no file" in run.info["skipped"][0]["reason"]
    assert run.samples.collect()["qid"].to_list() == ["100", "101", "103", "104", "105"]
    assert [line["qid"] for line in run.predictions()] == [100, 101, 103, 104, 105]
    np.testing.assert_allclose(
        run.tensor("103", "attention"), case.expect("103")["gate_attention"][0], atol=1e-6
    )


def test_nothing_but_bad_samples_is_an_error_even_with_skip_bad(case: TinyCase) -> None:
    for path in (case.data.root / "pann_features").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="none of the 7 samples can be run") as caught:
        case.run(skip_bad=True)
    assert "all 7 samples: no file" in str(caught.value)
    assert not case.output.exists()


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"batch_size": -1}, {"max_samples": 0}])
def test_numbers_below_one_are_bad_usage(case: TinyCase, option: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        case.run(**option)
    assert not case.output.exists()


def test_an_output_that_holds_something_else_is_refused_untouched(case: TinyCase) -> None:
    case.output.mkdir()
    (case.output / "thesis.tex").write_text("years of work", encoding="utf-8")
    (case.output / "samples.parquet").write_text("also mine", encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(RunFolderError, match="not empty") as caught:
            case.run(resume=resume)
        assert "samples.parquet, thesis.tex" in str(caught.value)
    assert sorted(path.name for path in case.output.iterdir()) == ["samples.parquet", "thesis.tex"]


def test_an_output_that_is_a_file_or_lies_below_one_is_refused(case: TinyCase) -> None:
    case.output.write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is a file"):
        case.run()
    with pytest.raises(RunFolderError, match="cannot be written"):
        case.run(output=case.output / "deeper")
    assert case.output.read_text(encoding="utf-8") == "mine"


def test_a_finished_run_is_never_overwritten(case: TinyCase) -> None:
    case.run()
    before = (case.output / "run.json").read_bytes()
    with pytest.raises(RunFolderError, match="holds a finished run"):
        case.run()
    assert case.run(resume=True).was_finished
    assert (case.output / "run.json").read_bytes() == before


def test_an_empty_folder_and_names_with_patterns_are_fine(case: TinyCase) -> None:
    output = case.folder / "run [1] *?é"
    output.mkdir()
    case.run(output=output)
    run = open_run(output)
    assert run.gates.collect()["sample_id"].n_unique() == 7
    assert run.tensor("101", "ffn").shape == (2, 5, 1)


def test_batches_are_the_runs_batches(case: TinyCase) -> None:
    drawn = list(batches(case.manifest, case.data.annotations, features=case.data.root, batch_size=3))
    assert [ids for ids, _ in drawn] == [["100", "101", "102"], ["103", "104", "105"], ["106"]]
    batch = drawn[0][1]
    lengths = [case.data.clips(str(row["vid"])) for row in case.data.rows[:3]]
    assert batch["src_vid_mask"].sum(axis=1).tolist() == lengths
    assert batch["src_vid"].shape == (3, max(lengths), 7)
    queries = read_annotations(case.data.annotations)
    fewer = list(batches(case.manifest, queries, features=case.data.root, batch_size=9, skip={"100", 103}))
    assert [ids for ids, _ in fewer] == [["101", "102", "104", "105", "106"]]
    with pytest.raises(UsageError, match="at least 1"):
        batches(case.manifest, queries, features=case.data.root, batch_size=0)


@pytest.mark.parametrize("batch_size", [1, 3, 32, 1000])
@pytest.mark.parametrize("gating", GATINGS)
def test_parts_end_between_batches_and_stay_small(gating: Gating, batch_size: int) -> None:
    size = samples_per_part(tiny_manifest(gating, layers=4), batch_size)
    assert size % batch_size == 0
    assert size == batch_size or size <= 256


def test_gates_of_different_shapes_share_a_table() -> None:
    gates = {"attention": np.ones((2, 1, 1), np.float32), "ffn": np.full((2, 3, 4), 2.0, np.float32)}
    table = gate_table([SampleGates("a", gates)])
    assert table["clip"].to_list() == [0, 0, 1, 2] * 2
    assert table["values"].null_count() == 2
    assert table.filter(gate="ffn")["values"].to_list() == [[2.0] * 4] * 6


def test_the_mean_over_channels_is_summed_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    gates = (rng.standard_normal((1, 5, 4096)) * 1e3 + 1e4).astype(np.float32)
    table = gate_table([SampleGates("a", {"ffn": gates})])
    exact = gates[0].astype(np.float64).mean(axis=1)
    np.testing.assert_array_equal(table["value"].to_numpy(), exact.astype(np.float32))
