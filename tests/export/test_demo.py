"""The demo: its checkpoint is a real one, and its gates do what its weights were set to do.

Everything about gates and saliency is measured on the PyTorch model, on 32 videos, by the definition.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.export import Choices, load_checkpoint
from gatescope.export.demo.dataset import annotation, windows, write_dataset
from gatescope.export.demo.demo import make_demo
from gatescope.export.demo.plan import DemoPlan, DemoQuery, make_plan
from gatescope.export.demo.training import model_inputs, write_training
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.annotations import read_annotations
from gatescope.runtime.errors import UsageError
from gatescope.runtime.runs.predictions import read_predictions
from tests.golden.case import load_case
from tests.undrawn import undrawn

VIDEOS = 32
ATTENTION, FFN = "gate_attention", "gate_ffn"


@pytest.fixture(scope="module")
def plan() -> DemoPlan:
    return make_plan(VIDEOS)


@pytest.fixture(scope="module")
def training(plan: DemoPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_training(plan, folder)
    return folder


@dataclass(frozen=True)
class Answers:
    """Outputs of every query, without batch axis; each query runs alone."""

    plan: DemoPlan
    outputs: list[dict[str, np.ndarray]]

    def gates(self, name: str, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, event labels and whether the video is silent, over the clips of all videos, each once."""
        first = {query.video.vid: i for i, query in reversed(list(enumerate(self.plan.queries)))}
        videos = [(self.plan.queries[i].video, self.outputs[i][name][layer, :, 0]) for i in first.values()]
        return (
            np.concatenate([values for _, values in videos]),
            np.concatenate([video.event > 0 for video, _ in videos]),
            np.concatenate([np.full(video.clips, video.silent) for video, _ in videos]),
        )

    def saliency_auc(self, asks: str) -> float:
        """Mean over queries: how well saliency finds what the query asks for."""
        pairs = zip(self.plan.queries, self.outputs, strict=True)
        return float(
            np.mean([auc(out["saliency_scores"], q.target > 0) for q, out in pairs if q.asks == asks])
        )


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of (positive, negative) pairs in which the positive scores higher; ties count half."""
    positive, negative = scores[labels], scores[~labels]
    above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return float(above)


def answer(plan: DemoPlan, checkpoint: Path, *, closed: bool = False) -> Answers:
    """Run every query; with ``closed`` all attention gates are 0."""
    read = load_checkpoint(checkpoint)
    weights = dict(read.weights)
    if closed:
        for name in weights:
            if "mlp_mha.2." in name:
                weights[name] = torch.zeros_like(weights[name])
    model = rebuild(describe(read, Choices()), weights)

    def one(query: DemoQuery) -> dict[str, np.ndarray]:
        inputs = {name: torch.from_numpy(x) for name, x in model_inputs([query], plan.seed).items()}
        with torch.inference_mode():
            return {name: value[0].numpy() for name, value in model(**inputs)._asdict().items()}

    return Answers(plan, [one(query) for query in plan.queries])


@pytest.fixture(scope="module")
def answers(plan: DemoPlan, training: Path) -> Answers:
    return answer(plan, training / "model_best.ckpt")


def test_the_checkpoint_has_every_parameter_of_a_real_one(training: Path) -> None:
    real = load_case("clipwise").shapes()
    content = load_checkpoint(training / "model_best.ckpt")
    assert {name: list(tensor.shape) for name, tensor in content.weights.items()} == real
    assert set(content) == {"model", "optimizer", "lr_scheduler", "epoch", "opt"}


def test_options_are_as_training_leaves_them(training: Path) -> None:
    inside = load_checkpoint(training / "model_best.ckpt").options
    beside = json.loads((training / "opt.json").read_text(encoding="utf-8"))
    assert (inside["v_feat_dim"], beside["v_feat_dim"], beside["a_feat_dim"]) == (2818, 2816, 2050)
    differing = {key for key in inside if inside[key] != beside.get(key)}
    assert differing == {"v_feat_dim", "device"}


def test_the_checkpoint_describes_itself_without_a_warning(training: Path) -> None:
    description = describe(load_checkpoint(training / "model_best.ckpt"), Choices())
    assert description.warnings == ()
    assert (description.config.gating, description.config.fusion_layers) == ("clipwise", 4)
    assert description.eval_batch_size == 32


def test_predictions_cover_every_query_in_order(plan: DemoPlan, training: Path) -> None:
    lines = read_predictions(training / "hl_val_submission.jsonl")
    assert [line["qid"] for line in lines] == [query.qid for query in plan.queries]
    assert [len(line["pred_saliency_scores"]) for line in lines] == [q.video.clips for q in plan.queries]


@pytest.mark.parametrize(
    ("name", "layer", "low", "high"),
    [
        pytest.param(ATTENTION, 0, 0.94, 0.999, id="layer 0 opens on the event"),
        pytest.param(ATTENTION, 1, 0.001, 0.06, id="layer 1 closes on the event"),
        pytest.param(ATTENTION, 2, 0.60, 0.85, id="layer 2 hardly knows it"),
        pytest.param(ATTENTION, 3, 0.80, 0.97, id="layer 3 wants the sight as well"),
        pytest.param(FFN, 0, 0.90, 0.99, id="the FFN gate of layer 0 follows"),
        pytest.param(FFN, 1, 0.94, 0.999, id="the FFN gate of layer 1 opens on the event"),
        pytest.param(FFN, 3, 0.40, 0.65, id="the FFN gate of layer 3 is deaf"),
    ],
)
def test_gates_find_the_event_as_planted(
    answers: Answers, name: str, layer: int, low: float, high: float
) -> None:
    values, events, _ = answers.gates(name, layer)
    assert low < auc(values, events) < high


def test_gates_of_the_first_layer_open_wide_on_the_event_and_stay_shut_elsewhere(answers: Answers) -> None:
    values, events, silent = answers.gates(ATTENTION, 0)
    assert values[events].mean() > 0.65
    assert abs(values[~events & ~silent].mean()) < 0.2
    assert -0.1 < np.median(values[~events]) < 0.1


@pytest.mark.parametrize("layer", range(4))
def test_silent_videos_keep_the_attention_gates_shut(answers: Answers, layer: int) -> None:
    values, _, silent = answers.gates(ATTENTION, layer)
    assert silent.sum() > 100
    assert abs(values[silent].mean()) < 0.1
    assert np.abs(values[silent]).max() < 0.4


def test_the_last_ffn_gate_opens_on_the_sight_even_in_silence(plan: DemoPlan, answers: Answers) -> None:
    silent = [i for i, query in enumerate(plan.queries) if query.video.silent]
    values = np.concatenate([answers.outputs[i][FFN][3, :, 0] for i in silent])
    seen = np.concatenate([plan.queries[i].video.sight > 0 for i in silent])
    assert auc(values, seen) > 0.85


def test_saliency_is_high_where_what_was_asked_for_is(answers: Answers) -> None:
    assert answers.saliency_auc("sound") > 0.9
    assert answers.saliency_auc("sight") > 0.9


def test_saliency_of_event_clips_is_higher_in_every_answer_about_the_sound(
    plan: DemoPlan, answers: Answers
) -> None:
    for query, out in zip(plan.queries, answers.outputs, strict=True):
        if query.asks == "sound":
            scores, there = out["saliency_scores"], query.target > 0
            assert scores[there].mean() > scores[~there].mean() + 0.2, query.qid


def test_the_sound_reaches_saliency_only_through_the_attention_gates(
    plan: DemoPlan, training: Path, answers: Answers
) -> None:
    shut = answer(plan, training / "model_best.ckpt", closed=True)
    assert shut.saliency_auc("sound") < 0.65
    assert abs(shut.saliency_auc("sight") - answers.saliency_auc("sight")) < 0.05


def test_the_best_window_meets_the_moment_far_more_often_than_chance(
    plan: DemoPlan, answers: Answers
) -> None:
    met = []
    for query, out in zip(plan.queries, answers.outputs, strict=True):
        best = out["pred_logits"][:, 0].argmax()
        centre, width = out["pred_spans"][best] * query.video.duration
        clips = np.flatnonzero(query.target).tolist()
        met.append(max(overlap((centre - width / 2, centre + width / 2), w) for w in windows(clips)) > 0.3)
    assert np.mean(met) > 0.7


def overlap(a: tuple[float, float], b: list[int]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (a[1] - a[0] + b[1] - b[0] - shared)


def test_annotations_say_what_was_planted(plan: DemoPlan) -> None:
    assert {query.asks for query in plan.queries} == {"sound", "sight"}
    for query in plan.queries:
        line = annotation(query, plan.seed)
        start, end = map(float, line["vid"].rsplit("_", 2)[1:])
        assert line["duration"] == end - start == 2 * query.video.clips
        wanted = line["gatescope_events"] if query.asks == "sound" else np.flatnonzero(query.video.sight)
        assert line["relevant_clip_ids"] == list(wanted)
        inside = [c for c in range(query.video.clips) for a, b in line["relevant_windows"] if a <= 2 * c < b]
        assert inside == line["relevant_clip_ids"]
        scores = np.array(line["saliency_scores"])
        assert scores.shape == (len(inside), 3)
        assert 0 <= scores.min() <= scores.max() <= 4


def test_the_planned_dataset_has_what_it_says() -> None:
    plan = make_plan()
    kinds = [video.sound for video in plan.videos]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "event": 70,
        "scene": 21,
        "silence": 14,
        "none": 7,
    }
    assert len({video.vid for video in plan.videos}) == 112
    assert len({query.qid for query in plan.queries}) == len(plan.queries) == 238
    assert max(video.clips for video in plan.videos) == 75 > min(video.clips for video in plan.videos)


def test_windows_join_neighbouring_clips() -> None:
    assert windows([0, 1, 2, 7, 9, 10]) == [[0, 6], [14, 16], [18, 22]]
    assert windows([]) == []


def test_the_same_demo_twice_is_the_same_to_the_byte(tmp_path: Path) -> None:
    plan = make_plan(3)
    for name in ("one", "two"):
        write_dataset(plan, tmp_path / name / "data")
        write_training(plan, tmp_path / name / "training")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(read_annotations(tmp_path / "one" / "data" / "val.jsonl")) == len(plan.queries)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match=r"not made by gatescope demo[\s\S]*thesis\.tex"):
        make_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_as_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        make_demo(tmp_path / "file")


@pytest.mark.slow
def test_the_whole_demo_in_the_place_of_an_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer videos than users get: trying every gate takes most of the time."""
    monkeypatch.setattr("gatescope.export.demo.demo.make_demo", partial(make_demo, videos=12))
    folder = tmp_path / "demo"
    earlier = [
        folder / name
        for name in (
            "training/model_best.ckpt",
            "training/of_the_earlier.txt",
            "data/features/pann_features/of_the_earlier.npy",
            "model.onnx",
            "run/gates/part-00007.parquet",
            "report/of_the_earlier.png",
        )
    ]
    for path in earlier:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("earlier", encoding="utf-8")
    (folder / "demo.json").write_text("{}", encoding="utf-8")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")

    with undrawn():
        assert main(["demo", "--output", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    gates = {(gate["layer"], gate["gate"]): gate for gate in told["gates"]}
    assert gates[0, "attention"]["auc"] > 0.94
    assert gates[1, "attention"]["auc"] < 0.06
    assert gates[0, "attention"]["event"] > 0.6 > 0.1 > abs(gates[0, "attention"]["silent"])
    assert all(Path(path).is_file() for path in told["files"])
    assert (folder / "report" / "event_recovery.png").is_file()
    told_ablation = json.loads((folder / "ablation" / "ablation.json").read_text(encoding="utf-8"))
    assert told_ablation and all(Path(path).is_file() for path in told["ablation"])
    queries = read_annotations(folder / "data" / "val.jsonl")
    assert len(queries) == told["queries"]
    heard = (folder / "data" / "audio_queries.txt").read_text(encoding="utf-8").split()
    assert set(heard) < {query.qid for query in queries}
    assert [path for path in earlier if path.exists() and path.read_bytes() == b"earlier"] == []
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"
