"""Ablation: interventions against sessions called by hand, effects against their definition, refusals."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from gatescope.analysis.causes.ablation import execute
from gatescope.analysis.causes.ablation.ablate import AblationResult, ablate
from gatescope.analysis.causes.ablation.changes import changed, fit_donors
from gatescope.analysis.causes.ablation.donors import donors, fitted
from gatescope.analysis.causes.ablation.effects import judge
from gatescope.analysis.causes.ablation.gate_means import GateSums
from gatescope.analysis.causes.ablation.interventions import Intervention, interventions
from gatescope.analysis.causes.ablation.plan import PLAN_FILE, AblationPlan
from gatescope.analysis.causes.ablation.report import ablation_report
from gatescope.analysis.causes.ablation.verdicts import audio_verdict, row_verdict
from gatescope.analysis.evaluation.evaluate import evaluate_run
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.annotations import Annotation
from gatescope.runtime.errors import (
    BadSamplesError,
    DatasetError,
    GatescopeError,
    RunFolderError,
    RunLockedError,
    RunMismatchError,
    UsageError,
)
from gatescope.runtime.running.pipeline import run_model
from gatescope.runtime.runs.lock import lock_run
from gatescope.runtime.runs.reader import open_run
from gatescope.runtime.session.session import GateSession

from ..runtime.tiny_model import Gating, tiny_batch, tiny_model
from .heard import heard_dataset, heard_model


class Heard:
    """The hearing model and its dataset in a folder."""

    def __init__(self, folder: Path, videos: int = 24, **fields: Any) -> None:
        self.model, self.features = folder / "m.onnx", folder / "data"
        self.manifest = heard_model(self.model, **fields)
        self.annotations = heard_dataset(self.features, videos)

    def ablate(self, output: Path, **options: Any) -> AblationResult:
        options = {"device": "cpu", "batch_size": 5, **options}
        return ablate(self.model, self.annotations, self.features, output, **options)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    return Heard(tmp_path_factory.mktemp("heard"))


@pytest.fixture(scope="module")
def finished(heard: Heard, tmp_path_factory: pytest.TempPathFactory) -> AblationResult:
    """An undisturbed ablation with a subset: the first query of every video."""
    folder = tmp_path_factory.mktemp("ablation")
    (folder / "first.txt").write_text("\n".join(str(100 * video) for video in range(24)), encoding="utf-8")
    return heard.ablate(folder / "out", subsets=[f"first={folder / 'first.txt'}"])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file; of the report what stands before the command that repeats it, which names the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes().partition(b"## The same again")[0]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def effects_of(result: AblationResult, metric: str = "MR-full-mAP") -> dict[str, dict[str, Any]]:
    rows = result.effects.overall.filter(metric=metric).iter_rows(named=True)
    return {row["intervention"]: row for row in rows}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch, finished: AblationResult) -> None:
    """Figures are made but not drawn, but for that of the shared ablation."""
    assert (finished.output / "ablation.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG undrawn"))


# What is changed


@pytest.mark.parametrize(
    ("gating", "film"), [("global", None), ("clipwise", None), ("clipwise", "ffn"), ("elementwise", "ffn")]
)
def test_replaced_gates_are_what_was_asked_for(tmp_path: Path, gating: Gating, film: str | None) -> None:
    """Every intervention on the tiny model, whose gates can be read after it; ``film`` acts as 1+g."""
    manifest = tiny_model(tmp_path / "m.onnx", gating, 3, overridable=True)
    gates = (replace(one, acts_as="1+g" if one.kind == film else "g") for one in manifest.gates)
    manifest = replace(manifest, gates=tuple(gates))
    batch, donated = tiny_batch(manifest, (5, 3), (2, 4)), tiny_batch(manifest, (2, 4), (1, 1), seed=1)
    with GateSession(tmp_path / "m.onnx", device="cpu") as session:
        before, given = session.run(batch).gates, session.run(donated).gates
        sums = GateSums()
        sums.update(before, np.array([5, 3]))
        means = sums.means()
        lent = fit_donors(batch, donated, given)
        for one in interventions(manifest, 2):
            inputs, overrides = changed(manifest, one, batch, means, lent)
            after = session.run(inputs, overrides=overrides).gates
            if one.what == "audio":
                continue
            for kind, values in before.items():
                for layer in range(3):
                    for row, (clips, others) in enumerate(((5, 2), (3, 4))):
                        count = 1 if gating == "global" else clips
                        want = values[row, layer, :count]
                        if (kind, layer) in one.gates:
                            want = {
                                "shut": np.full_like(want, -1 if kind == film else 0),
                                "mean": np.broadcast_to(by_hand(values, layer, gating), want.shape),
                                "shuffled": given[kind][row, layer][np.arange(count) % min(others, 4)]
                                if gating != "global"
                                else given[kind][row, layer],
                            }[one.treatment]
                        got = after[kind][row, layer, :count]
                        np.testing.assert_allclose(got, want, atol=1e-6, err_msg=f"{one.name} {kind} {layer}")


def by_hand(values: np.ndarray, layer: int, gating: str) -> np.ndarray:
    """The mean of a layer's gates over the valid clips of two samples with 5 and 3 of them."""
    if gating == "global":
        return values[:, layer].mean(axis=(0, 1))
    return np.concatenate([values[0, layer, :5], values[1, layer, :3]]).mean(axis=0)


@pytest.mark.parametrize("tef", [True, False])
def test_audio_is_zeroed_or_another_videos_but_keeps_its_endpoints(tmp_path: Path, tef: bool) -> None:
    manifest = tiny_model(tmp_path / "m.onnx", overridable=True, tef=tef)
    batch, donated = tiny_batch(manifest, (5, 3), (2, 4)), tiny_batch(manifest, (2, 4), (1, 1), seed=1)
    lent = fit_donors(batch, donated, {})
    changes = {one.name: changed(manifest, one, batch, {}, lent) for one in interventions(manifest, 2)[:3]}
    assert list(changes) == ["unchanged", "audio-zero", "audio-shuffled"]
    own = 3  # channels of the raw audio; the TEF follows
    for name, (inputs, overrides) in changes.items():
        assert overrides is None
        audio = inputs["src_aud"]
        np.testing.assert_array_equal(audio[..., own:], batch["src_aud"][..., own:], err_msg=name)
        same = {key: value for key, value in inputs.items() if key != "src_aud"}
        assert all(same[key] is batch[key] for key in same)
    assert changes["unchanged"][0]["src_aud"] is batch["src_aud"]
    assert not changes["audio-zero"][0]["src_aud"][..., :own].any()
    shuffled = changes["audio-shuffled"][0]["src_aud"][..., :own]
    np.testing.assert_array_equal(shuffled[0], donated["src_aud"][0, [0, 1, 0, 1, 0], :own])
    np.testing.assert_array_equal(shuffled[1, :3], donated["src_aud"][1, :3, :own])
    assert not shuffled[1, 3:].any()


def test_the_interventions_of_a_model(tmp_path: Path) -> None:
    manifest = tiny_model(tmp_path / "m.onnx", layers=2, overridable=True)
    names = [one.name for one in interventions(manifest, 3)]
    places = ("all-gates", "all-attention", "all-ffn")
    singles = [f"layer{layer}-{kind}" for kind in ("attention", "ffn") for layer in range(2)]
    treated = [f"{place}-{how}" for place in (*places, *singles) for how in ("shut", "mean", "shuffled")]
    assert names == ["unchanged", "audio-zero", "audio-shuffled", *treated]
    alone = [one.name for one in interventions(manifest, 1)]
    assert alone == [name for name in names if "shuffled" not in name]
    one_layer = tiny_model(tmp_path / "m.onnx", layers=1, overridable=True)
    assert "all-attention-shut" not in [one.name for one in interventions(one_layer, 3)]


def query(number: int, vid: str) -> Annotation:
    return Annotation(str(number), number, "", vid, 10.0, number)


@pytest.mark.parametrize("videos", [2, 3, 40])
def test_every_video_gives_once_and_none_to_itself(videos: int) -> None:
    queries = [query(number, f"v{number % videos}") for number in range(3 * videos)]
    donor_queries = donors(queries)
    pairs = {(one.vid, other.vid) for one, other in zip(queries, donor_queries, strict=True)}
    assert len(pairs) == videos == len({giver for _, giver in pairs})
    assert all(taker != giver for taker, giver in pairs)
    assert donor_queries == donors(queries)
    assert videos < 4 or donor_queries != donors(queries, seed=1)


def test_a_single_video_gets_itself() -> None:
    assert donors([query(1, "v"), query(2, "v")]) == [query(1, "v")] * 2


def test_cropping_and_repeating() -> None:
    values = np.arange(2 * 1 * 3 * 1, dtype=np.float32).reshape(2, 1, 3, 1)
    assert fitted(values, np.array([3, 2]), 5)[:, 0, :, 0].tolist() == [[0, 1, 2, 0, 1], [3, 4, 3, 4, 3]]
    assert fitted(values, np.array([3, 1]), 2)[:, 0, :, 0].tolist() == [[0, 1], [3, 3]]


# The whole


def test_planted_dependence_and_independence_are_told_apart(finished: AblationResult) -> None:
    found = effects_of(finished)
    acting = {"audio", "all-gates", "all-attention", "layer0-attention"}
    for name, row in found.items():
        place = name.rsplit("-", 1)[0]
        verdict = finished.document["interventions"][name]["verdict"]
        if place in acting:
            assert row["told_apart"], name
            assert row["effect"] < -20, name
            assert verdict.startswith("hurts"), name
        else:
            assert (row["effect"], row["family_low"], row["family_high"]) == (0, 0, 0), name
            assert verdict.startswith("cannot be told apart from no effect"), name
    text = (finished.output / "ABLATION.md").read_text(encoding="utf-8")
    assert "**Removing or exchanging the audio changes the metrics of this checkpoint**" in text
    assert "1 of the 4 gates can be told apart from no effect by themselves: with layer 0, attention" in text
    assert "Subset first" in text
    assert "cannot be told apart from its effect on the rest" in text


def test_the_unchanged_model_is_its_run(heard: Heard, finished: AblationResult, tmp_path: Path) -> None:
    run_model(heard.model, heard.annotations, heard.features, tmp_path / "run", device="cpu", batch_size=7)
    evaluation = evaluate_run(open_run(tmp_path / "run"), heard.annotations)
    assert finished.document["unchanged"] == evaluation.metrics
    stored = pl.read_parquet(finished.output / "queries" / "00-unchanged.parquet")
    assert stored.drop("intervention").equals(evaluation.per_query)


def test_effects_are_differences_of_metrics(finished: AblationResult) -> None:
    stored = pl.read_parquet(finished.output / "queries" / "*.parquet")
    base = stored.filter(intervention="unchanged")
    for name, row in effects_of(finished, "HL-min-Good-mAP").items():
        own = stored.filter(intervention=name)
        assert own["qid"].to_list() == base["qid"].to_list()
        assert row["before"] == pytest.approx(100 * base["hl_ap_good"].mean())
        assert row["after"] == pytest.approx(100 * own["hl_ap_good"].mean())
        assert row["effect"] == pytest.approx(row["after"] - row["before"])
        assert row["family_low"] <= row["low"] <= row["effect"] <= row["high"] <= row["family_high"]


def test_subsets_against_the_rest(finished: AblationResult) -> None:
    stored = pl.read_parquet(finished.output / "queries" / "*.parquet")
    inside = pl.col("qid").cast(pl.Int64) % 100 == 0
    base, own = (stored.filter(intervention=name) for name in ("unchanged", "audio-shuffled"))
    change = base.select("qid", change=100 * (own["r1_0.7"] - base["r1_0.7"]))
    told = finished.document["interventions"]["audio-shuffled"]["subsets"]["first"]["MR-full-R1@0.7"]
    assert (told["inside_queries"], told["rest_queries"]) == (24, 24)
    assert told["inside"] == pytest.approx(change.filter(inside)["change"].mean())
    assert told["rest"] == pytest.approx(change.filter(~inside)["change"].mean())
    assert told["difference"]["effect"] == pytest.approx(told["inside"] - told["rest"])


def test_other_batches_give_the_same_in_exact_batching(
    heard: Heard, finished: AblationResult, tmp_path: Path
) -> None:
    other = heard.ablate(tmp_path / "out", batch_size=24)
    assert other.effects.overall.equals(finished.effects.overall)


class KilledError(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize(("calls", "parts"), [(2, 0), (150, 1)])
def test_a_killed_ablation_goes_on_to_the_same_files(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, parts: int
) -> None:
    monkeypatch.setattr("gatescope.analysis.causes.ablation.plan.MOST_QUERIES_PER_PART", 20)
    heard.ablate(tmp_path / "whole")
    run, made = GateSession.run, iter(range(calls))

    def dying(self: GateSession, *args: Any, **options: Any) -> Any:
        if next(made, None) is None:
            raise KilledError
        return run(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(GateSession, "run", dying)
        with pytest.raises(KilledError):
            heard.ablate(tmp_path / "killed")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").rglob("part-*")}
    assert len(before) == parts
    heard.ablate(tmp_path / "killed", resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_finished_one_is_judged_again_without_the_model_running(
    heard: Heard, finished: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.output, folder)
    (tmp_path / "some.json").write_text(json.dumps([100, 200, 300]), encoding="utf-8")
    monkeypatch.setattr(GateSession, "run", None)
    again = heard.ablate(folder, resume=True, subsets=[f"some={tmp_path / 'some.json'}"])
    assert again.effects.overall.equals(finished.effects.overall)
    assert again.effects.subsets["subset"].unique().to_list() == ["some"]
    assert "Subset first" not in (folder / "ABLATION.md").read_text(encoding="utf-8")


def test_reference_batching_keeps_batches_and_says_so(tmp_path: Path) -> None:
    case = Heard(tmp_path, videos=3, batching="reference")
    result = case.ablate(tmp_path / "out", max_samples=5, batch_size=2)
    assert any("the batches are the same for all" in warning for warning in result.warnings)
    text = (tmp_path / "out" / "ABLATION.md").read_text(encoding="utf-8")
    assert "every intervention ran on the same batches of 2 in file order" in text
    assert result.effects.queries == 5
    assert "Only 5 of 6 annotated queries" in text
    assert "only 3 videos" in text


def test_one_video_has_no_intervals(tmp_path: Path) -> None:
    result = Heard(tmp_path, videos=1).ablate(tmp_path / "out")
    assert "one video only" in result.warnings[0]
    assert "shuffled" not in "".join(result.document["interventions"])
    assert result.document["interventions"]["audio-zero"]["metrics"]["MR-full-mAP"]["told_apart"] is False
    assert "cannot be judged**: 1 video is too few" in audio_verdict(result.effects)


def test_without_saliency_only_moments_are_judged(tmp_path: Path) -> None:
    case = Heard(tmp_path, videos=3)
    rows = [json.loads(line) for line in case.annotations.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["saliency_scores"], row["relevant_clip_ids"]
    case.annotations.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = case.ablate(tmp_path / "out")
    assert result.effects.metrics == ("MR-full-mAP", "MR-full-R1@0.5", "MR-full-R1@0.7")


# The statistics


def judged(values: Sequence[np.ndarray], names: Sequence[str]) -> Any:
    """Effects of interventions whose per-query AP is ``values``; the first is the unchanged model."""

    def frames() -> Iterator[tuple[Intervention, pl.DataFrame]]:
        for name, own in zip(names, values, strict=True):
            what = "nothing" if name == "unchanged" else "audio" if name.startswith("audio") else "gates"
            one = Intervention(name, what, "zero", (("attention", 0),), "attention", 0)
            vids = [f"v{place // 2}" for place in range(len(own))]
            yield one, pl.DataFrame({"qid": [str(i) for i in range(len(own))], "vid": vids, "ap": own})

    return judge(frames(), {})


def test_chance_alone_is_seldom_called_an_effect() -> None:
    """Twenty interventions that shift nothing: at 5 % few of 16 datasets may hold a told-apart effect."""
    alarms = alone = 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        base = rng.random(120)
        others = [np.clip(base + rng.normal(0, 0.1, 120), 0, 1) for _ in range(20)]
        found = judged([base, *others], ["unchanged", *(f"gate{i}" for i in range(20))])
        rows = found.overall.filter(metric="MR-full-mAP")
        alarms += rows["told_apart"].any()
        alone += ((rows["low"] > 0) | (rows["high"] < 0)).any()
    assert alarms <= 3
    assert alone > 5


def test_a_small_effect_on_many_videos_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.9, 3000)
    lower = np.clip(base - 0.01 + rng.normal(0, 0.05, 3000), 0, 1)
    found = judged([base, lower, base], ["unchanged", "audio-zero", "audio-shuffled"])
    rows = {
        row["intervention"]: row for row in found.overall.filter(metric="MR-full-mAP").iter_rows(named=True)
    }
    assert rows["audio-zero"]["told_apart"]
    assert rows["audio-zero"]["effect"] == pytest.approx(-1, abs=0.3)
    assert not rows["audio-shuffled"]["told_apart"]
    assert audio_verdict(found).startswith(
        "**Removing or exchanging the audio changes the metrics of this checkpoint**"
    )


def test_what_is_ruled_out_is_said() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.9, 400)
    found = judged([base, base + rng.normal(0, 0.02, 400)], ["unchanged", "audio-zero"])
    verdict = audio_verdict(found)
    assert "cannot be told apart from no effect" in verdict
    row = found.overall.filter(metric="MR-full-mAP").row(0, named=True)
    low, high = re.findall(r"below (\S+) or above (\S+) points", verdict)[0]
    assert float(low.replace("−", "-")) == round(row["family_low"], 2)
    assert float(high) == round(row["family_high"], 2)
    assert (
        row_verdict(found.overall.filter(intervention="audio-zero")) == "cannot be told apart from no effect"
    )


# What is refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "no inputs that change its gates"),
        ({"overridable": True, "outputs_kind": "gates"}, "predicts nothing"),
        ({"overridable": True, "outputs_kind": "plain"}, "no gates among its outputs"),
    ],
)
def test_models_that_cannot_be_ablated(heard: Heard, tmp_path: Path, options: Any, told: str) -> None:
    model = tmp_path / "m.onnx"
    manifest = tiny_model(model, **options)
    assert manifest.outputs
    with pytest.raises(UsageError, match=told) as caught:
        ablate(model, heard.annotations, heard.features, tmp_path / "out", device="cpu")
    assert "--overridable" in (caught.value.fix or "")
    assert not (tmp_path / "out").exists()


def test_what_the_folder_holds_decides(heard: Heard, finished: AblationResult, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.output, folder)
    before = contents(folder)
    with pytest.raises(RunFolderError, match="--resume"):
        heard.ablate(folder)
    with pytest.raises(RunMismatchError, match="--batch-size"):
        heard.ablate(folder, resume=True, batch_size=4)
    other = tmp_path / "other.jsonl"
    other.write_text(
        "".join(heard.annotations.read_text(encoding="utf-8").splitlines(keepends=True)[:10]),
        encoding="utf-8",
    )
    with pytest.raises(RunMismatchError, match="annotations"):
        ablate(heard.model, other, heard.features, folder, device="cpu", batch_size=5, resume=True)
    heard_model(tmp_path / "other.onnx", warnings=("another",))
    with pytest.raises(RunMismatchError, match="model"):
        ablate(
            tmp_path / "other.onnx",
            heard.annotations,
            heard.features,
            folder,
            device="cpu",
            batch_size=5,
            resume=True,
        )
    with lock_run(folder), pytest.raises(RunLockedError):
        heard.ablate(folder, resume=True)
    assert contents(folder) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match="holds no ablation"):
        heard.ablate(tmp_path / "full", resume=True)
    (folder / PLAN_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match="damaged"):
        heard.ablate(folder, resume=True)


def test_an_ablation_whose_interventions_lie_in_plan_json_is_continued(
    heard: Heard, finished: AblationResult, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.output, folder)
    plan = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    plan["run"]["finished"] = False
    (folder / PLAN_FILE).unlink()
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(RunFolderError, match="holds an ablation"):
        heard.ablate(folder)
    before = contents(folder / "predictions")
    again = heard.ablate(folder, resume=True)
    assert again.document["queries"] == finished.document["queries"]
    assert contents(folder / "predictions") == before
    assert (folder / PLAN_FILE).is_file() and not (folder / "plan.json").exists()


def test_the_plan_of_a_run_is_not_an_ablation(heard: Heard, tmp_path: Path) -> None:
    for name in ("plan.json", "run.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(RunFolderError, match="holds no ablation"):
        heard.ablate(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("number", "told"), [(1, "an earlier gatescope, which set every gate to 0"), (99, "a newer gatescope")]
)
def test_plans_of_other_versions_are_not_gone_on_with(
    heard: Heard, finished: AblationResult, tmp_path: Path, number: int, told: str
) -> None:
    """A newer one holds what no class of this version fits, and is not called damaged for that."""
    shutil.copytree(finished.output, tmp_path / "out")
    plan = json.loads((tmp_path / "out" / PLAN_FILE).read_text(encoding="utf-8"))
    plan |= {"format_version": number} | ({"run": "elsewhere"} if number == 99 else {})
    (tmp_path / "out" / PLAN_FILE).write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(RunFolderError, match=told):
        heard.ablate(tmp_path / "out", resume=True)


def test_what_shut_means_is_said_for_every_model(finished: AblationResult) -> None:
    plan = msgspec.json.decode((finished.output / PLAN_FILE).read_bytes(), type=AblationPlan)
    assert "the gate is set to 0, so that its branch adds nothing" in ablation_report(
        plan, finished.effects, []
    )
    assert "### Shut" in ablation_report(plan, finished.effects, [])
    manifest = plan.run.manifest
    gates = tuple(replace(one, acts_as="1+g" if one.kind == "ffn" else "g") for one in manifest.gates)
    film = replace(plan, run=replace(plan.run, manifest=replace(manifest, gates=gates)))
    text = ablation_report(film, finished.effects, [])
    assert "its branch adds nothing" not in text
    assert "the others are set to 0, the ffn gate, which multiplies by 1 + g (FiLM), is set to −1" in text


def test_a_damaged_part_is_named(heard: Heard, finished: AblationResult, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.output, folder)
    (folder / "predictions" / "part-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunFolderError, match="part-00000"):
        heard.ablate(folder, resume=True)
    (folder / "predictions" / "part-00000.parquet").unlink()
    with pytest.raises(RunFolderError, match="part-00000"):
        heard.ablate(folder, resume=True)


def test_bad_features_stop_before_anything_is_written(tmp_path: Path) -> None:
    case = Heard(tmp_path, videos=4)
    (case.features / "pann_features" / "v1.npy").unlink()
    with pytest.raises(BadSamplesError, match="v1"):
        case.ablate(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = case.ablate(tmp_path / "out", skip_bad=True)
    assert [sample.sample_id for sample in result.skipped] == ["100", "101"]
    assert (result.effects.queries, result.effects.videos) == (6, 3)
    again = case.ablate(tmp_path / "out", resume=True)
    assert again.effects.overall.equals(result.effects.overall)


def test_annotations_without_ground_truth_stop_before_anything_is_written(
    heard: Heard, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in heard.annotations.read_text(encoding="utf-8").splitlines()]
    keys = ("qid", "query", "vid", "duration")
    bare = tmp_path / "test.jsonl"
    bare.write_text(
        "".join(json.dumps({key: line[key] for key in keys}) + "\n" for line in lines), encoding="utf-8"
    )
    with pytest.raises(DatasetError):
        ablate(heard.model, bare, heard.features, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_bear_a_change_is_named(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = GateSession.run

    def breaking(self: GateSession, batch: Any, *, overrides: Any = None) -> Any:
        outputs = run(self, batch, overrides=overrides)
        if overrides and "ffn" in overrides:
            outputs.predictions["pred_spans"][:] = np.nan
        return outputs

    monkeypatch.setattr(GateSession, "run", breaking)
    with pytest.raises(GatescopeError, match="not finite with all gates shut"):
        heard.ablate(tmp_path / "out")


def test_a_full_disk_is_named_and_can_be_gone_on_from(
    heard: Heard, finished: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(execute, "write_part", full)
        with pytest.raises(RunFolderError, match=r"No space left[\s\S]*--resume"):
            heard.ablate(tmp_path / "out")
    result = heard.ablate(tmp_path / "out", resume=True)
    assert result.effects.overall.equals(finished.effects.overall)


# The command


def test_the_command(heard: Heard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablate", str(heard.model), "--annotations", str(heard.annotations)]
    words += ["--features", str(heard.features), "--output", str(tmp_path / "out"), "--device", "cpu"]
    words += ["--max-samples", "8"]
    assert main(words) == 0
    out = capsys.readouterr()
    assert "The audio cannot be judged: 4 videos are too few, 20 are needed." in out.out
    assert str(tmp_path / "out" / "ABLATION.md") in out.out
    assert "only 4 videos" in out.err
    assert main([*words, "--resume", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "ablation.json").read_text(encoding="utf-8"))
    assert main(words) == 2
    assert main([*words[:-2], "--subset", "nonsense"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_report_ends_with_the_command_that_repeats_it(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(heard.model, "m.onnx")
    shutil.copy(heard.annotations, "val.jsonl")
    shutil.copytree(heard.features, "features")
    qid = json.loads(Path("val.jsonl").read_text(encoding="utf-8").splitlines()[0])["qid"]
    Path("some.txt").write_text(f"{qid}\n", encoding="utf-8")
    words = ["ablate", "m.onnx", "--annotations", "val.jsonl", "--features", "features", "--output", "out"]
    assert main([*words, "--max-samples", "8", "--subset", "it's=some.txt"]) == 0
    report, document = Path("out/ABLATION.md").read_bytes(), Path("out/ablation.json").read_bytes()
    shutil.rmtree("out")
    assert main(shlex.split(report.decode().rstrip().splitlines()[-1])[1:]) == 0
    assert Path("out/ABLATION.md").read_bytes() == report
    assert Path("out/ablation.json").read_bytes() == document


def test_names_of_a_model_are_shown_as_text(finished: AblationResult) -> None:
    plan = msgspec.json.decode((finished.output / PLAN_FILE).read_bytes(), type=AblationPlan)
    hostile = finished.effects.overall.with_columns(target=pl.lit("<b>|gate"), title=pl.lit("<b>|gate"))
    text = ablation_report(plan, replace(finished.effects, overall=hostile), ["a | <script>"])
    assert "&lt;b&gt;\\|gate" in text
    assert "<b>" not in text
    assert "<script>" not in text
