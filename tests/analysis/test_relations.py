"""What stands beside the means, against numpy on the arrays the runs were written from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gatescope.analysis import analyze_run
from gatescope.analysis.relations.clips import STRENGTHS, STRETCHES, GateKey, clips_of
from gatescope.analysis.relations.relations import Relations, relations_of
from gatescope.analysis.relations.strength import strength_of
from gatescope.analysis.report.context import Context
from gatescope.analysis.statistics.bootstrap import VideoBootstrap
from gatescope.runtime.runs.reader import Run

from .runs import Gates, manifest_of, random_gates, write_run

KEYS = [GateKey(layer, kind) for kind in ("attention", "ffn") for layer in (0, 1)]


def context_of(run: Run) -> Context:
    return Context(run)


def row(frame: pl.DataFrame, **keys: object) -> dict[str, float]:
    for name, value in keys.items():
        frame = frame.filter(pl.col(name).is_null() if value is None else pl.col(name) == value)
    assert frame.height == 1
    return frame.row(0, named=True)


def course(gates: Gates, sample: str, key: GateKey) -> np.ndarray:
    return gates[sample][key.kind][key.layer].astype(float).mean(axis=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_correlations_are_numpys(tmp_path: Path, channels: int) -> None:
    gates = random_gates(8, 2, clips=9, channels=channels)
    videos = {name: f"v{int(name) // 2}" for name in gates}
    context = context_of(write_run(tmp_path / "run", gates, videos=videos))
    assert context.once(clips_of).keys == tuple(KEYS)
    pairs = context.once(relations_of).pairs
    bootstrap = VideoBootstrap([videos[name] for name in gates])
    for one, other in ((0, 1), (2, 3), (0, 2), (1, 3)):
        found = row(
            pairs,
            layer=KEYS[one].layer,
            gate=KEYS[one].kind,
            other_layer=KEYS[other].layer,
            other_gate=KEYS[other].kind,
        )
        means = [[course(gates, name, KEYS[at]).mean() for name in gates] for at in (one, other)]
        expected = bootstrap.correlations(*(np.array(one)[:, None] for one in means))[0]
        assert found["over_samples"] == pytest.approx(np.corrcoef(*means)[0, 1], abs=1e-6)
        assert found["over_samples_low"] == pytest.approx(expected.low, abs=1e-5)
        over_clips = [
            np.corrcoef(course(gates, name, KEYS[one]), course(gates, name, KEYS[other]))[0, 1]
            for name in gates
        ]
        assert found["over_clips"] == pytest.approx(np.mean(over_clips), abs=1e-5)
        assert found["over_clips_high"] == pytest.approx(bootstrap.mean(over_clips).high, abs=1e-5)
    whole = row(pairs, layer=None, gate="attention", other_gate="ffn")
    means = [
        [np.mean([course(gates, name, GateKey(layer, kind)).mean() for layer in (0, 1)]) for name in gates]
        for kind in ("attention", "ffn")
    ]
    assert whole["over_samples"] == pytest.approx(np.corrcoef(*means)[0, 1], abs=1e-6)
    assert pairs.height == 4 + 1  # not: one layer's attention with another layer's FFN gate


@pytest.mark.usefixtures("undrawn")
def test_course_and_contribution(tmp_path: Path) -> None:
    gates = random_gates(3, 2, clips=2 * STRETCHES)
    random = np.random.default_rng(0)
    contributions = {
        name: {kind: random.random((2, 2 * STRETCHES), np.float32) for kind in own}
        for name, own in gates.items()
    }
    run = write_run(tmp_path / "run", gates, contributions=contributions)
    relations = context_of(run).once(relations_of)
    found = relations.course.filter(layer=1, gate="ffn")
    stretches = np.stack([course(gates, name, GateKey(1, "ffn")).reshape(STRETCHES, 2) for name in gates])
    np.testing.assert_allclose(found["mean"], stretches.mean(axis=(0, 2)), atol=1e-6)
    assert found["position"].to_list() == [(at + 0.5) / STRETCHES for at in range(STRETCHES)]
    moved = np.stack([own["attention"] for own in contributions.values()]).astype(float)
    for layer, expected in ((0, moved[:, 0].mean()), (1, moved[:, 1].mean()), (None, moved.mean())):
        assert row(relations.levels, layer=layer, gate="attention")["contribution"] == pytest.approx(expected)
    analyze_run(run, tmp_path / "report")
    assert "| contribution |" in (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    details = json.loads(next((tmp_path / "report/individual_samples").glob("*_details.json")).read_bytes())
    own = contributions[details["sample_id"]]["ffn"][1].mean()
    assert details["layer_analysis"][1]["ffn_gate"]["contribution"] == pytest.approx(own)


def strengths_of(folder: Path, run: Run, clips: int) -> dict[str, np.ndarray]:
    """Writes audio of every video of the run, a clip longer than it is; gives the norms of its rows."""
    random = np.random.default_rng(1)
    folder.mkdir()
    found = {}
    for vid in run.samples.collect()["vid"]:
        rows = random.normal(size=(clips + 1, 3)).astype(np.float32)
        np.save(folder / f"{vid}.npy", rows)
        found[vid] = np.linalg.norm(rows.astype(float), axis=1)[:clips]
    return found


def test_gates_against_audio_strength(tmp_path: Path) -> None:
    gates = random_gates(6, 2, clips=30)
    run = write_run(tmp_path / "run", gates, audio=str(tmp_path / "pann"))
    strength = strengths_of(tmp_path / "pann", run, 30)
    context = context_of(run)
    assert not context.once(strength_of).lacking
    key = GateKey(1, "attention")
    found = row(context.once(relations_of).strength, layer=1, gate="attention")
    over_clips = [np.corrcoef(course(gates, name, key), strength[f"v-{name}"])[0, 1] for name in gates]
    assert found["over_clips"] == pytest.approx(np.mean(over_clips), abs=1e-5)
    between = np.corrcoef(
        [course(gates, name, key).mean() for name in gates],
        [strength[f"v-{name}"].mean() for name in gates],
    )[0, 1]
    assert found["over_samples"] == pytest.approx(between, abs=1e-5)
    tenths = context.once(relations_of).by_strength.filter(layer=1, gate="attention")
    assert tenths.height == STRENGTHS and tenths["strength"].is_sorted()


def test_global_gates_have_a_strength_between_samples_only(tmp_path: Path) -> None:
    gates = random_gates(5, 2, clips=1)
    run = write_run(tmp_path / "run", gates, manifest=manifest_of("global", 2), audio=str(tmp_path / "pann"))
    strength = strengths_of(tmp_path / "pann", run, 75)
    relations = context_of(run).once(relations_of)
    found = row(relations.strength, layer=0, gate="ffn")
    means = [float(own["ffn"][0, 0, 0]) for own in gates.values()]
    assert np.isnan(found["over_clips"])
    expected = np.corrcoef(means, [strength[f"v-{name}"].mean() for name in gates])[0, 1]
    assert found["over_samples"] == pytest.approx(expected, abs=1e-5)
    assert relations.course.is_empty() and relations.by_strength.is_empty()


@pytest.mark.usefixtures("undrawn")
def test_audio_that_is_gone_or_unreadable_is_named(tmp_path: Path) -> None:
    gates = random_gates(4, 1, clips=5)
    gone = context_of(write_run(tmp_path / "gone", gates, audio=str(tmp_path / "nowhere")))
    assert "not where the run took them from" in gone.once(strength_of).lacking
    run = write_run(tmp_path / "run", gates, audio=str(tmp_path / "pann"))
    strengths_of(tmp_path / "pann", run, 5)
    (tmp_path / "pann" / "v-1000.npy").write_bytes(b"broken")
    (tmp_path / "pann" / "v-1001.npy").unlink()
    analyze_run(run, tmp_path / "report")
    text = (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    assert "The audio of 2 videos could not be read" in text
    assert "v-1000.npy is neither an .npy nor an .npz file" in text


@pytest.mark.parametrize(
    ("name", "samples", "layers", "clips"),
    [("one of everything", 1, 1, 1), ("one clip", 3, 2, 1), ("one sample", 1, 2, 6), ("two", 2, 1, 2)],
)
@pytest.mark.usefixtures("undrawn")
def test_small_runs_are_analysed(tmp_path: Path, name: str, samples: int, layers: int, clips: int) -> None:
    gates = random_gates(samples, layers, clips=clips)
    run = write_run(tmp_path / "run", gates, manifest=manifest_of("clipwise", layers))
    result = analyze_run(run, tmp_path / "report")
    assert len(result.document["gate_levels"]) == 2 * (layers + 1)


@pytest.mark.usefixtures("undrawn")
def test_constant_and_missing_gates_are_correlated_with_nothing(tmp_path: Path) -> None:
    gates = random_gates(4, 2, clips=6)
    for own in gates.values():
        own["attention"][0] = 0.1  # not a sum of powers of two: its mean over clips is rounded
    gates["1001"]["ffn"][1, 2:4] = np.nan
    gates["1002"]["ffn"][1] = np.nan
    run = write_run(tmp_path / "run", gates)
    relations: Relations = context_of(run).once(relations_of)
    constant = row(relations.pairs, layer=0, gate="attention", other_layer=1, other_gate="attention")
    assert np.isnan(constant["over_clips"]) and np.isnan(constant["over_samples"])
    kept = [course(gates, "1001", key)[[0, 1, 4, 5]] for key in (GateKey(0, "ffn"), GateKey(1, "ffn"))]
    names = [name for name in gates if name not in ("1001", "1002")]
    pairs = [[course(gates, name, GateKey(layer, "ffn")) for layer in (0, 1)] for name in names]
    expected = np.mean([np.corrcoef(*kept)[0, 1], *(np.corrcoef(*pair)[0, 1] for pair in pairs)])
    found = row(relations.pairs, layer=0, gate="ffn", other_layer=1, other_gate="ffn")
    assert found["over_clips"] == pytest.approx(expected, abs=1e-5)
    result = analyze_run(run, tmp_path / "report")
    assert any("8 values are NaN" in warning for warning in result.warnings)


def test_queries_that_share_a_video_do_not_narrow_intervals(tmp_path: Path) -> None:
    gates = random_gates(6, 1, clips=5)
    once = context_of(write_run(tmp_path / "once", gates)).once(relations_of).levels
    copies = {f"{name}-{copy}": own for name, own in gates.items() for copy in range(4)}
    videos = {name: name.split("-")[0] for name in copies}
    often = context_of(write_run(tmp_path / "often", copies, videos=videos)).once(relations_of).levels
    for name in ("mean", "mean_low", "mean_high"):
        np.testing.assert_allclose(once[name], often[name], atol=1e-12)


@pytest.mark.usefixtures("undrawn")
def test_a_model_that_sees_the_strength_is_not_said_not_to(tmp_path: Path) -> None:
    manifest = manifest_of("clipwise", 1)
    manifest = replace(manifest, preprocessing=replace(manifest.preprocessing, normalize_video=False))
    run = write_run(
        tmp_path / "run", random_gates(3, 1, clips=4), manifest=manifest, audio=str(tmp_path / "pann")
    )
    strengths_of(tmp_path / "pann", run, 4)
    analyze_run(run, tmp_path / "report")
    assert "the model does not see" not in (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(
        encoding="utf-8"
    )
