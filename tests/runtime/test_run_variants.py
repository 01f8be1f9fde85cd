"""``gatescope run`` with each kind of export: what it gives is stored, nothing is made up for the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gatescope.analysis.analyze import analyze_run
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import BadSamplesError, RunFolderError, UsageError
from gatescope.runtime.gates.vocabulary import SUMMARY_FIELDS
from gatescope.runtime.running import loop, pipeline
from gatescope.runtime.runs.reader import open_run
from gatescope.runtime.runs.schema import SUMMARY_SCHEMA, gate_schema
from gatescope.runtime.session.session import GateSession, Outputs

from ..undrawn import undrawn
from .tiny_case import TinyCase
from .tiny_model import FACTOR, Gating, Kind

KINDS: list[Kind] = ["tracked", "plain", "gates", "summary"]


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Everything but ``run.json``, whose timings differ."""
    return {name: (folder / name).read_bytes() for name in files(folder) - {"run.json"}}


WRITTEN = {
    "tracked": {"predictions.jsonl", "gates/part-00000.parquet"},
    "plain": {"predictions.jsonl"},
    "gates": {"gates/part-00000.parquet"},
    "summary": {"predictions.jsonl", "summary/part-00000.parquet"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_holds_what_its_model_gives(tmp_path: Path, kind: Kind) -> None:
    case = TinyCase(tmp_path, outputs_kind=kind)
    result = case.run()
    assert files(case.output) == {"run.json", "samples.parquet", *WRITTEN[kind]}
    info = json.loads((case.output / "run.json").read_text(encoding="utf-8"))
    stored = {name: info[name] for name in ("predictions", "gates", "summaries")}
    assert stored == {
        "predictions": kind != "gates",
        "gates": kind in ("tracked", "gates"),
        "summaries": kind == "summary",
    }
    run = open_run(case.output)
    assert run.finished
    assert len(list(run.predictions())) == (0 if kind == "gates" else 7)
    assert (run.gates.collect().height > 0) == stored["gates"]
    assert (run.summaries.collect().height > 0) == stored["summaries"]
    assert run.summaries.collect_schema() == SUMMARY_SCHEMA
    assert run.samples.collect()["qid"].to_list() == case.data.qids
    assert result.queries == 7


@pytest.mark.parametrize("kind", ["plain", "summary"])
def test_predictions_do_not_depend_on_what_else_is_given(tmp_path: Path, kind: Kind) -> None:
    tracked, other = TinyCase(tmp_path / "a"), TinyCase(tmp_path / "b", outputs_kind=kind)
    tracked.run()
    other.run()
    assert (tracked.output / "predictions.jsonl").read_bytes() == (
        other.output / "predictions.jsonl"
    ).read_bytes()


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()


# Gates alone: a video is computed once.


def vids(case: TinyCase) -> list[str]:
    return list(dict.fromkeys(str(row["vid"]) for row in case.data.rows))


def mix(case: TinyCase) -> None:
    """Queries of one video no longer follow each other."""
    case.data.rows[:] = case.data.rows[::2] + case.data.rows[1::2]
    case.data.annotations.write_text("\n".join(map(json.dumps, case.data.rows)), encoding="utf-8")


def count_videos(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every batch the model is run on from here on."""
    sizes: list[int] = []
    run = GateSession.run

    def counted(self: GateSession, batch: Any, **options: Any) -> Outputs:
        sizes.append(len(batch["src_vid"]))
        return run(self, batch, **options)

    monkeypatch.setattr(GateSession, "run", counted)
    return sizes


def test_each_video_is_computed_and_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = TinyCase(tmp_path, outputs_kind="gates")
    shutil.rmtree(case.data.root / "clip_text_features")  # neither needed nor looked for
    mix(case)
    sizes = count_videos(monkeypatch)
    result = case.run(batch_size=3)
    assert sum(sizes) == len(vids(case)) == 4
    assert (result.samples, result.queries, result.per_video) == (4, 7, True)
    run = open_run(case.output)
    assert run.info["samples"] == 4 and run.info["queries"] == 7
    gates = run.gates.collect()
    assert gates["sample_id"].unique(maintain_order=True).to_list() == vids(case)
    assert gates.height == sum(case.data.clips(vid) for vid in vids(case)) * 2 * len(FACTOR)
    samples = run.samples.collect()
    assert samples["sample_id"].to_list() == samples["vid"].to_list()
    assert samples["qid"].to_list() == case.data.qids
    assert samples["duration"].to_list() == [row["duration"] for row in case.data.rows]
    for row in case.data.rows:
        qid, vid = str(row["qid"]), str(row["vid"])
        by_qid, by_vid = run.tensor(qid, "ffn"), run.tensor(vid, "ffn")
        np.testing.assert_array_equal(by_qid, by_vid)
        # expect() reads text, which is gone; the gates do not depend on it.
        assert by_vid.shape == (2, case.data.clips(vid), 1)


def test_its_gates_are_those_of_a_tracked_run(tmp_path: Path) -> None:
    tracked, alone = TinyCase(tmp_path / "a"), TinyCase(tmp_path / "b", outputs_kind="gates")
    tracked.run()
    alone.run(batch_size=3)
    one, other = open_run(tracked.output), open_run(alone.output)
    for qid in tracked.data.qids:
        np.testing.assert_allclose(other.tensor(qid, "attention"), one.tensor(qid, "attention"), atol=1e-6)


def test_queries_of_one_video_may_have_durations_of_their_own(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="gates")
    rows = [
        {"qid": number, "query": "q", "vid": case.data.rows[0]["vid"], "duration": 10.0 + number}
        for number in range(3)
    ]
    case.data.annotations.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert case.run().samples == 1
    samples = open_run(case.output).samples.collect()
    assert samples["duration"].to_list() == [10.0, 11.0, 12.0]
    assert samples["sample_id"].n_unique() == 1


def test_gates_that_need_the_query_are_stored_by_query(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="gates", depends_on_text=True)
    result = case.run()
    assert (result.samples, result.per_video) == (7, False)
    assert open_run(case.output).samples.collect()["sample_id"].to_list() == case.data.qids


def test_queries_are_chosen_by_qid_and_bad_videos_named_once(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="gates")
    first, second = vids(case)[:2]
    chosen = [str(row["qid"]) for row in case.data.rows if row["vid"] in (first, second)]
    case.data.audio(second).unlink()
    with pytest.raises(BadSamplesError) as caught:
        case.run(sample_ids=chosen)
    assert [sample for sample, _ in caught.value.samples] == [second]
    assert "1 of 2 samples" in str(caught.value)
    result = case.run(sample_ids=chosen, skip_bad=True)
    kept = [str(row["qid"]) for row in case.data.rows if row["vid"] == first]
    assert (result.samples, result.queries) == (1, len(kept))
    assert [skipped.sample_id for skipped in result.skipped] == [second]
    run = open_run(case.output)
    assert run.samples.collect()["qid"].to_list() == kept
    with pytest.raises(RunFolderError, match="no sample"):
        run.tensor(second, "ffn")


# Stopping and going on.


class StopError(Exception):
    pass


def interrupted(case: TinyCase, monkeypatch: pytest.MonkeyPatch, batches: int, output: Path) -> None:
    """Run ``case`` with a part for every two samples, and stop after ``batches`` batches."""
    monkeypatch.setattr(loop, "CALLS_AT_ONCE", 1)
    run, left = GateSession.run, [batches]

    def stopping(self: GateSession, batch: Any, **options: Any) -> Outputs:
        if not left[0]:
            raise StopError
        left[0] -= 1
        return run(self, batch, **options)

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(GateSession, "run", stopping)
        case.run(output=output)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches", [0, 1])
def test_a_resumed_run_is_the_same_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, batches: int
) -> None:
    monkeypatch.setattr(pipeline, "samples_per_part", lambda *_: 2)
    case = TinyCase(tmp_path, outputs_kind=kind, contribution=kind == "gates")
    mix(case)
    case.run(output=tmp_path / "whole")
    interrupted(case, monkeypatch, batches, case.output)
    partial = open_run(case.output)
    assert not partial.finished and partial.parts == batches
    done = partial.samples.collect()
    assert done["sample_id"].n_unique() == 2 * batches
    if kind == "gates" and batches:  # every query of a finished video is done, wherever it stands in the file
        two = vids(case)[:2]
        assert done["qid"].to_list() == [str(r["qid"]) for r in case.data.rows if str(r["vid"]) in two]
    case.run(resume=True)
    assert contents(case.output) == contents(tmp_path / "whole")
    assert open_run(case.output).finished


def test_a_torn_line_of_a_plain_run_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "samples_per_part", lambda *_: 2)
    case = TinyCase(tmp_path, outputs_kind="plain")
    case.run(output=tmp_path / "whole")
    interrupted(case, monkeypatch, 2, case.output)
    path = case.output / "predictions.jsonl"
    for lost in (1, 10):  # a part of the last line; then more of it
        path.write_bytes(path.read_bytes()[:-lost])
        assert open_run(case.output).parts == 1
    case.run(resume=True)
    assert contents(case.output) == contents(tmp_path / "whole")


def test_a_finished_plain_run_that_lost_predictions_is_refused(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="plain")
    case.run()
    path = case.output / "predictions.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RunFolderError, match=r"lacks lines of predictions\.jsonl"):
        open_run(case.output)


def test_a_lost_part_of_a_summary_is_named(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="summary")
    case.run()
    (case.output / "summary" / "part-00000.parquet").unlink()
    with pytest.raises(RunFolderError, match=r"lacks part-00000\.parquet"):
        open_run(case.output)


# Statistics and contributions.


def test_the_summary_table_is_that_of_the_model(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="summary", layers=2)
    case.run()
    table = open_run(case.output).summaries.collect()
    assert table.columns == ["sample_id", "layer", "gate", *SUMMARY_FIELDS]
    assert table.schema["bin_63"] == table.schema["count"] == table.schema["rail_low"] == pl.UInt32
    assert table.schema["sum"] == table.schema["max"] == pl.Float32
    assert table.height == 7 * 2 * len(FACTOR)
    keys = [(qid, layer, kind) for qid in case.data.qids for layer in range(2) for kind in FACTOR]
    assert table.select("sample_id", "layer", "gate").rows() == keys
    for sample_id, layer, kind, *numbers in table.iter_rows():
        np.testing.assert_allclose(numbers, case.expect(sample_id)[f"summary_{kind}"][0, layer], rtol=1e-6)


@pytest.mark.parametrize("gating", ["global", "clipwise", "elementwise"])
def test_contributions_lie_beside_the_gates(tmp_path: Path, gating: Gating) -> None:
    case = TinyCase(tmp_path, gating, contribution=True)
    case.run()
    table = open_run(case.output).gates.collect()
    assert table.columns[-1] == "contribution" and table.schema["contribution"] == pl.Float32
    for (sample_id, layer, kind), rows in table.group_by("sample_id", "layer", "gate"):
        want = case.expect(str(sample_id))[f"contribution_{kind}"][0, layer]
        if gating == "global":  # one gate, which moves every clip by another amount
            want = want.mean(keepdims=True)
        np.testing.assert_allclose(rows.sort("clip")["contribution"], want, rtol=1e-5)


def test_without_the_option_there_is_no_such_column(tmp_path: Path) -> None:
    case = TinyCase(tmp_path)
    case.run()
    assert open_run(case.output).gates.collect_schema() == gate_schema(1)


def test_contributions_that_are_not_finite_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = TinyCase(tmp_path, contribution=True)
    run = GateSession.run

    def spoiled(self: GateSession, batch: Any, **options: Any) -> Outputs:
        outputs = run(self, batch, **options)
        outputs.contributions["ffn"][:] = np.inf
        return outputs

    monkeypatch.setattr(GateSession, "run", spoiled)
    with pytest.raises(Exception, match="contributions of the ffn gates for 100 are not finite"):
        case.run()


# What others make of such runs.


@pytest.mark.parametrize(("kind", "told"), [("plain", "no gates"), ("summary", "one summary per gate")])
def test_an_analysis_says_what_is_missing(tmp_path: Path, kind: Kind, told: str) -> None:
    case = TinyCase(tmp_path, outputs_kind=kind)
    case.run()
    with pytest.raises(RunFolderError, match=told) as caught:
        analyze_run(case.output, tmp_path / "report")
    assert "--outputs tracked" in str(caught.value)
    assert not (tmp_path / "report").exists()
    with pytest.raises(RunFolderError, match="holds no gates") as caught:
        open_run(case.output).tensor("100", "attention")
    assert f"--outputs {kind}" in str(caught.value)


def test_gates_stored_by_video_can_be_analysed(tmp_path: Path) -> None:
    case = TinyCase(tmp_path, outputs_kind="gates")
    case.run()
    with undrawn():
        assert analyze_run(case.output, tmp_path / "report").summary.samples == 4


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("plain", "predictions of 7 samples"),
        ("gates", "gates of 4 videos (7 queries)"),
        ("summary", "predictions and gate statistics of 7 samples"),
    ],
)
def test_the_command_says_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Kind, told: str
) -> None:
    case = TinyCase(tmp_path, outputs_kind=kind)
    words = ["run", str(case.model), "--annotations", str(case.data.annotations)]
    words += ["--features", str(case.data.root), "--output", str(case.output), "--device", "cpu"]
    assert main(words) == 0
    assert told in capsys.readouterr().out


def test_a_model_that_gives_nothing_to_store_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PREDICTIONS", ("other",))
    case = TinyCase(tmp_path, outputs_kind="plain")
    with pytest.raises(UsageError, match="nothing that a run could store"):
        case.run()
    assert not case.output.exists()
