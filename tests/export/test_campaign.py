"""Many results folders in one go: named, made once each, failures listed, resumed, shared between tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gatescope.export.campaign import CampaignOutcome, Work, member_names, report_campaign, trained_metrics
from gatescope.export.from_results import dataset_of
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.dataset import FeatureSources
from gatescope.runtime.data.domains import qids_of_domain
from gatescope.runtime.errors import CheckpointError, DatasetError, UsageError
from gatescope.runtime.runs.member import read_member

from ..analysis.campaigns import Made, write_annotations, write_campaign
from ..undrawn import undrawn


class Bench:
    """Results folders with stubs in place of opening and exporting: what is tested is who does what when."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder, folder / "campaign"
        self.made: list[str] = []
        self.drawn: list[str] = []
        self.told: list[str] = []
        write_annotations(folder / "val.jsonl", 2)

    def results(self, name: str, content: bytes | None = None) -> Path:
        path = self.folder / "results" / name
        path.mkdir(parents=True)
        (path / "model_best.ckpt").write_bytes(name.encode() if content is None else content)
        return path

    def open(self, path: Path) -> Any:
        checkpoint = path / "model_best.ckpt"
        if checkpoint.read_bytes() == b"broken":
            raise CheckpointError(f"{checkpoint} is truncated", fix="take another: model_latest.ckpt")
        if checkpoint.read_bytes() == b"odd":
            raise ZeroDivisionError("nobody thought of it")
        left = SimpleNamespace(metrics=None)
        return SimpleNamespace(
            folder=path, checkpoint=checkpoint, annotations=self.folder / "val.jsonl", left=left
        )

    def report(self, results: Any, output: Path, analyse: bool) -> Any:
        name = output.name
        if analyse:
            self.drawn.append(name)
            (output / "report").mkdir()
            (output / "report" / "ANALYSIS_REPORT.md").touch()
            return None
        self.made.append(name)
        made = Made(
            name, len(self.made), checkpoint=f"sha of {results.checkpoint.read_text(encoding='utf-8')}"
        )
        write_campaign(self.output, [made], results.annotations, videos=2)
        return SimpleNamespace(run=SimpleNamespace(samples=4))

    def go(self, folders: Sequence[Path], made_with: str = "", **options: Any) -> CampaignOutcome:
        work = Work(self.open, self.report, made_with)
        with undrawn():
            return report_campaign(folders, self.output, work, tell=self.told.append, **options)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_each_is_made_once_then_compared_then_drawn(bench: Bench) -> None:
    folders = [bench.results("a"), bench.results("copy", b"a"), bench.results("b")]
    outcome = bench.go(folders)
    assert bench.made == ["a", "b"] and bench.drawn == ["a", "b"] and outcome.failed == {}
    assert outcome.comparison is not None
    assert outcome.comparison.document["same_checkpoint"] == {"copy": "a"}
    assert (bench.output / "COMPARISON.md").exists() and (bench.output / "campaign.html").exists()
    assert bench.told.index("comparing the runs") < bench.told.index("a: drawing its report")


def test_a_failure_is_listed_and_tried_again(bench: Bench) -> None:
    folders = [bench.results("a"), bench.results("bad", b"broken"), bench.results("worse", b"odd")]
    outcome = bench.go(folders, reports=False)
    assert list(outcome.failed) == ["bad", "worse"] and "ZeroDivisionError: nobody" in outcome.failed["worse"]
    assert "truncated" in (bench.output / "COMPARISON.md").read_text(encoding="utf-8")
    (folders[1] / "model_best.ckpt").write_bytes(b"whole")
    outcome = bench.go(folders, reports=False)
    assert bench.made == ["a", "bad"] and list(outcome.failed) == ["worse"] and bench.drawn == []
    assert any("1/3 a: kept, done before" in line for line in bench.told)
    member = read_member(bench.output / "bad")
    assert member is not None and member.state == "done" and member.place == 1


def test_other_choices_or_another_checkpoint_are_not_taken_for_finished(bench: Bench) -> None:
    folder = bench.results("a")
    bench.go([folder, bench.results("b")], reports=False)
    for made_with, content in (("--batching reference", b"a"), ("--batching reference", b"trained on")):
        (folder / "model_best.ckpt").write_bytes(content)
        outcome = bench.go([folder], made_with, reports=False)
        assert "a" in outcome.failed  # the stub does not resume: it was called


def test_tasks_share_the_folders_and_the_last_one_compares(bench: Bench) -> None:
    folders = [bench.results(name) for name in "abcde"]
    first = bench.go(folders, only=(1, 2), reports=False)
    assert bench.made == ["a", "c", "e"] and first.comparison is None and first.waiting == ("b", "d")
    assert not (bench.output / "COMPARISON.md").exists()
    second = bench.go(folders, only=(2, 2), reports=False)
    assert bench.made == ["a", "c", "e", "b", "d"] and second.comparison is not None
    assert sorted(second.comparison.document["runs"]) == ["a", "b", "c", "d", "e"]


def test_names_are_unique_and_stay(tmp_path: Path) -> None:
    folders = [tmp_path / "results_BK" / "exp 1", tmp_path / "results_VT" / "exp 1", tmp_path / "alone"]
    names = member_names(folders, tmp_path / "campaign")
    assert list(names) == ["results_BK-exp-1", "results_VT-exp-1", "alone"]
    far = [tmp_path / "x" / "r" / "exp", tmp_path / "y" / "r" / "exp"]
    first, second = member_names(far, tmp_path / "campaign")
    assert first == "r-exp" and second.startswith("r-exp-") and len(second) == len("r-exp-") + 8
    with pytest.raises(UsageError, match="given twice"):
        member_names([far[0], far[0] / "."], tmp_path)


def test_a_run_or_one_models_report_is_no_place_for_a_campaign(bench: Bench) -> None:
    (bench.output / "run").mkdir(parents=True)
    (bench.output / "run" / "run.json").touch()
    with pytest.raises(UsageError, match="would mix"):
        bench.go([bench.results("a"), bench.results("b")])


def test_trainings_metrics_are_read_where_training_leaves_them(bench: Bench) -> None:
    results = bench.open(bench.results("a"))
    assert trained_metrics(results) == {}
    (results.folder / "best_metric.jsonl").write_text('{"brief": {"mAP": 0.38476}}\n', encoding="utf-8")
    assert trained_metrics(results) == {"mAP": 0.38476}
    results.left.metrics = results.folder / "best_hl_val_preds_metrics.json"
    brief = {"MR-full-mAP": 10.5, "HL-min-Good-mAP": None}
    results.left.metrics.write_text(json.dumps({"brief": brief}, indent=1), encoding="utf-8")
    assert trained_metrics(results) == {"MR-full-mAP": 10.5}
    for damaged in ("{", "[]", '{"brief": 3}', ""):
        results.left.metrics.write_text(damaged, encoding="utf-8")
        assert trained_metrics(results) == {}


def test_a_model_of_one_domain_runs_on_that_domain(tmp_path: Path) -> None:
    lines = [
        {"qid": qid, "query": "q", "vid": f"v{qid}", "duration": 4, "domain": d}
        for qid, d in ((1, "BK"), (2, "VT"))
    ]
    path = tmp_path / "tvsum_val.jsonl"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, lines)) + "\n{\n", encoding="utf-8")
    assert qids_of_domain(path, "VT") == ("2",)
    with pytest.raises(DatasetError, match="no query of the domain XX"):
        qids_of_domain(path, "XX")
    results: Any = SimpleNamespace(
        annotations=path, sources=FeatureSources(Path("f")), options={"dset_domain": "BK"}, missing={}
    )
    assert dataset_of(results).selection.samples == ("1",)
    results.options["dset_domain"] = None
    assert dataset_of(results).selection.samples is None
    path.write_text('{"qid": 1, "query": "q", "vid": "v", "duration": 4}\n', encoding="utf-8")
    assert qids_of_domain(path, "BK") is None


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a", "b"], "need one --output"),
        (["a", "b", "--output", "c", "--verify", "p.jsonl"], "--verify FILE with several"),
        (["a", "--only", "1/2"], "--only without several"),
        (["a", "--comparison-only"], "--comparison-only without several"),
        (["a", "b", "--only", "3/2"], "is not I/N"),
    ],
)
def test_bad_usage(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["report", *words])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2 and problem in capsys.readouterr().err


def test_the_command_lists_folders_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to compare is an error of its own; each folder's reason is recorded."""
    folders = [tmp_path / "x", tmp_path / "y"]
    for folder in folders:
        folder.mkdir()
    assert main(["report", *map(str, folders), "--output", str(tmp_path / "c")]) == 1
    assert "no run of" in capsys.readouterr().err
    member = read_member(tmp_path / "c" / "x")
    assert member is not None and member.state == "failed" and member.reason


def test_the_first_folder_after_code_is_a_results_folder_too(tmp_path: Path) -> None:
    """``--code A B``: argparse takes A for the place of the code."""
    folders = [tmp_path / "x", tmp_path / "y"]
    for folder in folders:
        folder.mkdir()
        (folder / "model_best.ckpt").write_bytes(folder.name.encode())
    assert main(["report", "--code", *map(str, folders), "--output", str(tmp_path / "c")]) == 1
    assert {path.parent.name for path in (tmp_path / "c").glob("*/member.json")} == {"x", "y"}
