"""``gatescope diff``: what two runs may differ in, and what makes them not the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.analysis.comparison.diff import RunDifference, diff_runs
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import RunFolderError, UsageError
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.runs.from_log import import_log
from gatescope.runtime.runs.reader import Run, open_run

from ..runtime.tiny_case import TinyCase
from .runs import manifest_of, random_gates, write_run

Gates = Mapping[str, Mapping[str, np.ndarray]]


def moved(gates: Gates, sample: str, kind: str, place: tuple[int, int, int], by: float) -> Gates:
    """The same gates but for one value."""
    values = gates[sample][kind].copy()
    values[place] += np.float32(by)
    return {**gates, sample: {**gates[sample], kind: values}}


@pytest.mark.parametrize("channels", [1, 5])
def test_the_largest_difference_is_found_where_it_is(tmp_path: Path, channels: int) -> None:
    gates = random_gates(7, 2, clips=6, channels=channels)
    write_run(tmp_path / "a", gates, per_part=2)
    write_run(tmp_path / "b", moved(gates, "1004", "ffn", (1, 3, channels - 1), 0.25), per_part=3)
    found = diff_runs(tmp_path / "a", tmp_path / "b")
    assert [(gate.kind, gate.layer) for gate in found.gates] == [
        (kind, layer) for kind in ("attention", "ffn") for layer in range(2)
    ]
    *same, ffn = found.gates
    assert [(gate.largest, gate.mean) for gate in same] == [(0, 0)] * 3
    assert ffn.values == 7 * 6 * channels
    assert ffn.largest == pytest.approx(0.25, abs=1e-6)
    assert ffn.mean == pytest.approx(0.25 / (7 * 6 * channels), rel=1e-5)
    assert (ffn.sample_id, ffn.clip) == ("1004", 3)
    assert not found.within
    assert "layer 1, ffn gate: 2.50e-01 apart in sample 1004, clip 3" in found.faults[0]
    assert diff_runs(tmp_path / "a", tmp_path / "b", tolerance=0.26).within


def test_order_and_parts_do_not_matter(tmp_path: Path) -> None:
    gates = random_gates(9)
    write_run(tmp_path / "a", gates, per_part=4)
    write_run(tmp_path / "b", dict(reversed(gates.items())), per_part=2)
    found = diff_runs(tmp_path / "a", tmp_path / "b", tolerance=0)
    assert found.within
    values = sum(own["ffn"][0].size for own in gates.values())
    assert [gate.values for gate in found.gates] == [values] * 4


def test_missing_samples_and_clips_are_faults(tmp_path: Path) -> None:
    gates = random_gates(5, clips=4)
    one = {name: own for name, own in gates.items() if name != "1003"}
    other = {name: own for name, own in gates.items() if name != "1000"}
    other["1001"] = {kind: values[:, :3] for kind, values in gates["1001"].items()}
    found = diff_runs(write_run(tmp_path / "a", one), write_run(tmp_path / "b", other))
    assert (found.only_one, found.only_other, found.samples) == (("1000",), ("1003",), 3)
    assert [gate.unpaired for gate in found.gates] == [1] * 4
    assert [gate.values for gate in found.gates] == [4 + 3 + 4] * 4
    assert len(found.faults) == 3 + 4  # samples of either run, the sample that is shorter, its gates
    assert f"only in {tmp_path / 'a'}: 1000" in found.faults[0]


@pytest.mark.parametrize(
    ("one", "other", "unlike"),
    [(np.nan, np.nan, 0), (np.inf, np.inf, 0), (np.nan, 0.5, 1), (0.5, np.inf, 1), (np.inf, -np.inf, 1)],
)
def test_values_that_are_not_finite(tmp_path: Path, one: float, other: float, unlike: int) -> None:
    gates = random_gates(2, 1, clips=3)
    for name, value in (("a", one), ("b", other)):
        values = gates["1001"]["attention"].copy()
        values[0, 1, 0] = value
        write_run(tmp_path / name, {**gates, "1001": {**gates["1001"], "attention": values}})
    found = diff_runs(tmp_path / "a", tmp_path / "b", tolerance=10)
    attention = found.gates[0]
    assert attention.unlike == unlike
    assert attention.largest == (np.inf if unlike else 0)
    assert attention.mean == 0
    assert found.within is not bool(unlike)
    json.loads(json.dumps(found.to_dict()))


def test_gates_that_mean_something_else_are_not_compared(tmp_path: Path) -> None:
    runs = {
        "clipwise": write_run(tmp_path / "c", random_gates(3, clips=4)),
        "global": write_run(tmp_path / "g", random_gates(3, clips=1), manifest=manifest_of("global", 2)),
        "deeper": write_run(tmp_path / "d", random_gates(3, 3, clips=4)),
    }
    found = diff_runs(runs["clipwise"], runs["global"])
    assert found.gates == ()
    told = "cannot be compared: clipwise (1 channel) and global (1 channel)"
    assert any(told in one for one in found.faults)
    assert ("gating", "clipwise", "global") in found.settings
    deeper = diff_runs(runs["clipwise"], runs["deeper"], tolerance=10)
    assert [gate.layer for gate in deeper.gates] == [0, 1, 0, 1]
    assert [one for one in deeper.faults if "only" in one and "layer 2" in one] == list(deeper.faults)


def test_settings_alone_are_no_fault(tmp_path: Path) -> None:
    gates = random_gates(3)
    other: Manifest = replace(manifest_of("clipwise", 2), checkpoint_sha256="f" * 64, precision="float16")
    found = diff_runs(write_run(tmp_path / "a", gates), write_run(tmp_path / "b", gates, manifest=other))
    assert found.within
    assert [name for name, _, _ in found.settings] == ["checkpoint (SHA-256)", "precision"]


def test_runs_without_anything_in_common_are_refused(tmp_path: Path) -> None:
    gates = random_gates(4)
    half = dict(list(gates.items())[:2])
    rest = dict(list(gates.items())[2:])
    with pytest.raises(UsageError, match="no sample in common"):
        diff_runs(write_run(tmp_path / "a", half), write_run(tmp_path / "b", rest))


def cases(folder: Path, *kinds: Any) -> list[TinyCase]:
    """A run of each kind of export, whose gates depend on the text: their samples are queries, in each."""
    made: list[TinyCase] = []
    for kind in kinds:
        (folder / kind).mkdir()
        made.append(TinyCase(folder / kind, outputs_kind=kind, depends_on_text=True))
        made[-1].run()
    return made


def test_gates_and_predictions_have_nothing_to_compare(tmp_path: Path) -> None:
    gates, plain = cases(tmp_path, "gates", "plain")
    with pytest.raises(UsageError, match="nothing to compare"):
        diff_runs(gates.output, plain.output)


def test_unfinished_and_damaged_runs(tmp_path: Path) -> None:
    gates = random_gates(4)
    write_run(tmp_path / "a", gates)
    write_run(tmp_path / "b", dict(list(gates.items())[:2]), planned=4)
    found = diff_runs(tmp_path / "a", tmp_path / "b")
    assert f"{tmp_path / 'b'} is not finished" in found.faults
    (tmp_path / "a" / "gates" / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunFolderError):
        diff_runs(tmp_path / "a", tmp_path / "a")


# Predictions


@pytest.fixture
def case(tmp_path: Path) -> TinyCase:
    case = TinyCase(tmp_path)
    case.run()
    return case


def changed(case: TinyCase, change: Any, name: str = "other") -> Run:
    """A second run whose prediction lines went through ``change``."""
    case.run(output=case.folder / name)
    path = case.folder / name / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows), encoding="utf-8")
    return open_run(case.folder / name)


def compare(case: TinyCase, change: Any, tolerance: float = 1e-3) -> RunDifference:
    return diff_runs(case.output, changed(case, change), tolerance=tolerance)


def test_the_same_model_again_is_the_same(case: TinyCase) -> None:
    case.run(output=case.folder / "other")
    found = diff_runs(case.output, case.folder / "other", tolerance=0)
    assert found.within
    assert found.settings == ()
    assert found.predictions is not None
    assert (found.predictions.queries, found.predictions.edges) == (7, 7 * 3 * 2)


def nudge(row: dict[str, Any], quantity: str, by: float) -> dict[str, Any]:
    """One query's values of a quantity moved."""
    if row["qid"] == 103 and quantity == "score":
        row["pred_relevant_windows"][0][2] += by
    elif row["qid"] == 103 and quantity == "window":
        row["pred_relevant_windows"][0][1] += by
    elif row["qid"] == 103 and quantity == "saliency":
        row["pred_saliency_scores"][-1] += by
    return row


@pytest.mark.parametrize(
    ("quantity", "by", "within"),
    [
        ("score", 1e-3, True),  # the tolerance and one rounding
        ("score", 2e-3, False),
        ("window", 2.0, True),  # one clip
        ("window", 4.0, False),
        ("saliency", 1e-3, True),
        ("saliency", 1e-2, False),
    ],
)
def test_steps_of_rounding_are_allowed_and_no_more(
    case: TinyCase, quantity: str, by: float, within: bool
) -> None:
    found = compare(case, lambda row: nudge(row, quantity, by))
    assert found.within is within
    assert found.predictions is not None
    worst = {
        "score": found.predictions.scores,
        "window": found.predictions.windows,
        "saliency": found.predictions.saliency,
    }[quantity]
    assert worst.qid == "103"
    assert worst.largest == pytest.approx(by, abs=1e-6)
    assert within or "in query 103" in found.faults[0]
    again = diff_runs(case.output, case.folder / "other", tolerance=0)
    assert not again.within


def test_too_many_windows_that_move_by_a_clip_are_a_difference(case: TinyCase) -> None:
    def all_ends(row: dict[str, Any]) -> dict[str, Any]:
        for window in row["pred_relevant_windows"]:
            window[1] += 2.0
        return row

    found = compare(case, all_ends)
    assert found.predictions is not None
    assert (found.predictions.moved, found.predictions.windows.beyond) == (21, 0)
    assert "starts and ends moved by a clip" in found.faults[0]


def test_windows_of_nearly_equal_scores_may_change_places(tmp_path: Path) -> None:
    def tie(row: dict[str, Any], gap: float) -> dict[str, Any]:
        row["pred_relevant_windows"] = [[0, 4, 0.5 + gap], [10, 18, 0.5], [0, 2, 0.1]]
        return row

    def swap(row: dict[str, Any], gap: float) -> dict[str, Any]:
        row["pred_relevant_windows"] = [[10, 18, 0.5 + gap], [0, 4, 0.5], [0, 2, 0.1]]
        return row

    case = TinyCase(tmp_path)
    for gap, within in ((1e-4, True), (0.1, False)):
        one = changed(case, lambda row, gap=gap: tie(row, gap), f"a{gap}")
        other = changed(case, lambda row, gap=gap: swap(row, gap), f"b{gap}")
        found = diff_runs(one, other)
        assert found.within is within
        assert found.predictions is not None
        assert found.predictions.reordered == (7 if within else 0)


def test_queries_and_shapes_that_differ(case: TinyCase) -> None:
    def shorter(row: dict[str, Any]) -> dict[str, Any]:
        if row["qid"] == 101:
            row["pred_saliency_scores"].append(0.0)
        return row

    found = compare(case, shorter)
    assert found.predictions is not None
    assert found.predictions.misshapen == ("101",)
    lines = (
        (case.folder / "other" / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    )
    order: Sequence[int] = (3, 0, 6, 1, 2, 5, 4)
    (case.folder / "other" / "predictions.jsonl").write_text(
        "".join(lines[i] for i in order), encoding="utf-8"
    )
    again = diff_runs(case.output, case.folder / "other")
    assert again.predictions is not None
    assert again.predictions.expected == pytest.approx(found.predictions.expected)
    assert replace(again.predictions, expected=0) == replace(found.predictions, expected=0)


def test_what_only_one_run_can_have_is_said_and_no_fault(tmp_path: Path) -> None:
    whole, gates = cases(tmp_path, "tracked", "gates")
    for pair in ((whole.output, gates.output), (gates.output, whole.output)):
        found = diff_runs(*pair)
        assert found.within
        assert found.notes == (f"predictions: only in {whole.output}, not compared",)
        assert found.predictions is None and all(gate.values for gate in found.gates)
    (whole.output / "predictions.jsonl").unlink()  # what a run should have and lacks is not passed over
    with pytest.raises(RunFolderError):
        diff_runs(whole.output, whole.output)


@pytest.mark.parametrize("gating", ["global", "clipwise"])
def test_a_run_and_the_log_of_the_same_gates_are_the_same(
    tmp_path: Path, gating: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = random_gates(4, clips=5)
    if gating == "global":
        gates = {name: {kind: own[:, :1] for kind, own in kinds.items()} for name, kinds in gates.items()}
    lines = [
        {
            "qid": int(name),
            "vid": f"v-{name}",
            "gating_type": gating,
            "layer_gates": [
                {"gate_mha": mha.tolist(), "gate_ffn": ffn.tolist()}
                for mha, ffn in zip(own["attention"], own["ffn"], strict=True)
            ],
        }
        for name, own in gates.items()
    ]
    log = tmp_path / "gate_logs.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    import_log(log, tmp_path / "imported")
    answer = {"query": "q", "vid": "v", "pred_relevant_windows": [[0, 2, 0.5]], "pred_saliency_scores": [1]}
    predictions = {name: {"qid": int(name), **answer} for name in gates}
    write_run(tmp_path / "run", gates, predictions=predictions)
    assert main(["diff", str(tmp_path / "run"), str(tmp_path / "imported")]) == 0
    assert f"predictions: only in {tmp_path / 'run'}, not compared" in capsys.readouterr().out
    write_run(tmp_path / "moved", moved(gates, "1002", "ffn", (1, 0, 0), 0.25), predictions=predictions)
    assert main(["diff", str(tmp_path / "moved"), str(tmp_path / "imported")]) == 1


@pytest.mark.parametrize(("round_to", "allowed"), [(2.0, 2.0), (None, 1.5 * 1e-3 * 150 + 1e-4)])
def test_windows_may_move_by_what_their_recipe_rounds(
    tmp_path: Path, round_to: float | None, allowed: float
) -> None:
    gates = random_gates(30, clips=5)
    manifest = manifest_of("clipwise", 2)
    manifest = replace(manifest, preprocessing=replace(manifest.preprocessing, round_to=round_to))

    def run(name: str, by: float) -> Path:
        rows = {
            qid: {
                "qid": int(qid),
                "query": "q",
                "vid": "v",
                "pred_relevant_windows": [[10, 20, 0.5], [30, 40 + (by if qid == "1001" else 0), 0.4]],
                "pred_saliency_scores": [0.5] * 5,
            }
            for qid in gates
        }
        return write_run(tmp_path / name, gates, manifest=manifest, predictions=rows).path

    base = run("base", 0)
    assert diff_runs(base, run("within", 0.99 * allowed)).within
    found = diff_runs(base, run("beyond", 1.01 * allowed + 1e-3))
    assert not found.within and "windows: 1 values are too far apart" in found.faults[0]


# The command


def test_the_command(case: TinyCase, capsys: pytest.CaptureFixture[str]) -> None:
    changed(case, lambda row: nudge(row, "score", 0.5))
    words = ["diff", str(case.output), str(case.folder / "other")]
    assert main(["diff", str(case.output), str(case.output)]) == 0
    assert "the same within 0.001, 7 samples compared" in capsys.readouterr().out
    assert main(words) == 1
    told = capsys.readouterr().out
    assert "not the same within 0.001" in told.splitlines()[0]
    assert "scores: 1 values are too far apart, by up to 5.00e-01 in query 103" in told
    assert "layer 1, ffn        0" in told
    assert main([*words, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["within_tolerance"] is False
    assert document["predictions"]["scores"]["beyond"] == 1
    assert main([*words, "--tolerance", "0.6"]) == 0
    capsys.readouterr()
    for bad in ("-1", "nan", "much"):
        with pytest.raises(SystemExit) as caught:
            main([*words, "--tolerance", bad])
        assert caught.value.code == 2
    assert main(["diff", str(case.output), str(case.folder / "absent")]) == 1
    assert "Traceback" not in capsys.readouterr().err
