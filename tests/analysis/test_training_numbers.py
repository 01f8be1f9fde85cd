"""A run next to training's own predictions, and the verdict of an ablation, in the report's first screen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatescope.analysis.analyze import analyze_run
from gatescope.runtime.errors import DatasetError, UsageError
from gatescope.runtime.gates.certificate import BatchingEffect, Certificate, Verification
from gatescope.runtime.gates.manifest import Forward
from gatescope.runtime.runs.reader import Run
from gatescope.runtime.session.model_file import file_sha256

from .runs import manifest_of, random_gates, write_run

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = ("1", "2", "3", "4")
RIGHT, WRONG = [[20.0, 40.0, 0.9]], [[100.0, 120.0, 0.9]]


def line(qid: str, windows: list[list[float]]) -> dict[str, Any]:
    return {
        "qid": int(qid),
        "query": f"query {qid}",
        "vid": f"v-{qid}",
        "pred_relevant_windows": windows,
        "pred_saliency_scores": [0.5] * 10,
    }


class Dataset:
    """Training found one window of four, the run finds three."""

    def __init__(self, folder: Path, *, batching: Any = "exact", truth: bool = True) -> None:
        self.folder = folder
        self.training = folder / "best_hl_val_preds.jsonl"
        trained = [line(name, RIGHT if name == "1" else WRONG) for name in NAMES]
        self.training.write_text("\n".join(map(json.dumps, trained)), encoding="utf-8")
        self.annotations = folder / "val.jsonl"
        right = {"relevant_windows": [[20, 40]]} if truth else {}
        rows = [
            {"qid": int(name), "query": f"query {name}", "vid": f"v-{name}", "duration": 150} | right
            for name in NAMES
        ]
        self.annotations.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        verified = Verification(self.training.name, file_sha256(self.training), 4, 100, {"score": 0.0})
        effect = BatchingEffect(4, 100, {"saliency_scores": 2.74}, {"attention": 0.68, "ffn": 1.43}, 2)
        certificate = Certificate("gatescope's own model", (), {}, 1e-4, verified)
        if batching == "exact":
            certificate = replace(certificate, batching_effect=effect)
        manifest = manifest_of("clipwise", 1, certificate=certificate, batching=batching)
        predictions = {name: line(name, WRONG if name == "4" else RIGHT) for name in NAMES}
        gates = dict(zip(NAMES, random_gates(4, layers=1, clips=10).values(), strict=True))
        self.run: Run = write_run(folder / "run", gates, manifest=manifest, predictions=predictions)

    def report(self, **options: Any) -> tuple[str, str, dict[str, Any]]:
        """The Markdown, the page and the document."""
        result = analyze_run(self.run, self.folder / "report", annotations=self.annotations, **options)
        return (
            result.files[0].read_text(encoding="utf-8"),
            result.files[1].read_text(encoding="utf-8"),
            result.document,
        )


def test_both_columns_stand_in_the_first_screen(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    text, page, document = made.report(training_predictions=made.training)
    told = "As training evaluated: mAP 25.00, equal to its file; each query by itself: 75.00."
    assert told in text and told in page
    assert "| R1@0.5 | 25.00 | 75.00 | +50.00 |" in text
    assert (
        "saliency differs by up to 2.7, the attention gate by up to 0.68, the ffn gate by up to 1.4" in text
    )
    assert "the best window is another one for 2 of them" in text
    assert "--batching reference" in text
    assert document["training"]["metrics"]["MR-full-mAP"] == {"training": 25.0, "run": 75.0}


@pytest.mark.parametrize(
    ("recorded", "says"),
    [
        pytest.param({"MR-full-R1@0.5": 25.0}, "its predictions agree", id="of these predictions"),
        pytest.param({"MR-full-R1@0.5": 40.0}, "does **not** agree with the predictions", id="of others"),
    ],
)
def test_training_s_own_metrics_stand_next_to_both(
    tmp_path: Path, recorded: dict[str, float], says: str
) -> None:
    made = Dataset(tmp_path)
    beside = made.training.with_name(f"{made.training.stem}_metrics.json")
    beside.write_text(json.dumps({"brief": recorded}), encoding="utf-8")
    text, _, document = made.report(training_predictions=made.training)
    said = f"{recorded['MR-full-R1@0.5']:.2f}"
    assert f"| R1@0.5 | {said} | 25.00 | 75.00 | +50.00 |" in text and says in text
    assert document["training"]["metrics_file"] == recorded


def test_a_damaged_metrics_file_is_left_out(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    made.training.with_name(f"{made.training.stem}_metrics.json").write_text('{"brief": {', encoding="utf-8")
    text, _, document = made.report(training_predictions=made.training)
    assert "| R1@0.5 | 25.00 | 75.00 | +50.00 |" in text and document["training"]["metrics_file"] == {}


def test_without_ground_truth_differences_alone(tmp_path: Path) -> None:
    made = Dataset(tmp_path, truth=False)
    text, _, document = made.report(training_predictions=made.training)
    assert "Each query by itself, as in this run: on these 4 samples saliency differs by up to 2.7" in text
    assert "as training evaluated |" not in text and document["training"]["metrics"] == {}


def test_in_training_s_batching_the_batches_must_be_training_s(tmp_path: Path) -> None:
    made = Dataset(tmp_path, batching="reference")  # the run has batches of 2
    text, _, _ = made.report(training_predictions=made.training)
    assert "training's batches had 100: its numbers are **not** training's" in text


@pytest.mark.parametrize(
    ("forward", "told"),
    [
        (Forward("assumed"), "Not shown, the export was not compared with predictions of the training run"),
        (Forward("family", branch="lab"), "By its code: branch lab trained it, and this is its forward pass"),
        (Forward("code", branch="lab.build:make"), "By its code: lab.build:make built it"),
        (None, "Not shown: the export was not compared"),
    ],
)
def test_the_first_lines_say_where_the_forward_pass_is_known_from(
    forward: Forward | None, told: str, tmp_path: Path
) -> None:
    certificate = Certificate("gatescope's own model", (), {}, 1e-4)
    manifest = manifest_of("clipwise", 1, certificate=certificate, forward=forward)
    run = write_run(tmp_path / "run", random_gates(2, layers=1, clips=10), manifest=manifest)
    result = analyze_run(run, tmp_path / "report")
    for file in result.files[:2]:
        text = file.read_text(encoding="utf-8")
        assert told in text
        assumed = "The forward pass is assumed: the code that trained this model was not recognised"
        assert (assumed in text) == (forward == Forward("assumed"))
    first = result.files[0].read_text(encoding="utf-8").split("## In short")[1].splitlines()[2]
    assert told in first


def test_predictions_that_are_not_those_of_the_verification_are_refused(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    other = tmp_path / "latest_hl_val_preds.jsonl"
    other.write_text(json.dumps(line("1", RIGHT)), encoding="utf-8")
    with pytest.raises(UsageError, match=r"latest_hl_val_preds\.jsonl is not the file"):
        made.report(training_predictions=other)
    with pytest.raises(DatasetError, match="cannot be read"):
        made.report(training_predictions=tmp_path / "none.jsonl")


def ablation(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    document = {
        "model": {"sha256": "a" * 64},
        "queries": 1200,
        "videos": 300,
        "verdicts": {
            "audio": "Removing the audio changes mAP: with audio set to 0, mAP changes by −3.10 points.",
            "gates": "The gates' part cannot be told apart from no effect.",
            "subsets": {"sound": "another <b>effect</b>"},
        },
        "warnings": ["read me"],
    }
    (folder / "ablation.json").write_text(json.dumps(document | changes), encoding="utf-8")
    return folder


def test_the_verdicts_of_an_ablation_stand_in_both_reports(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    text, page, document = made.report(ablation=ablation(tmp_path / "ablation"))
    short, whole = text.split("## What the gates cause")
    told = "Removing the audio changes mAP: with audio set to 0, mAP changes by −3.10 points."
    assert told in short and told in whole and told in page
    assert "Subset sound: another &lt;b&gt;effect" in whole and "<b>effect</b>" not in page
    assert "1,200 queries of 300 videos" in whole and "ablation/ABLATION.md" in whole and "⚠ read me" in whole
    assert document["ablation"]["lines"][0] == told


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"model": {"sha256": "c" * 64}}, "another model than the run's", id="another model"),
        pytest.param({"verdicts": None}, "--resume", id="of an earlier version"),
    ],
)
def test_an_ablation_that_says_nothing_of_this_run_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    made = Dataset(tmp_path)
    with pytest.raises(UsageError, match=says):
        made.report(ablation=ablation(tmp_path / "ablation", **changes))
    assert not (tmp_path / "report").exists()


def test_no_finished_ablation(tmp_path: Path) -> None:
    made = Dataset(tmp_path)
    with pytest.raises(UsageError, match="cannot be read as a finished ablation"):
        made.report(ablation=tmp_path)


def test_without_an_ablation_the_report_says_what_it_needs(tmp_path: Path) -> None:
    text, _, _ = Dataset(tmp_path).report()
    assert "Not measured" in text and "--overridable" in text
