"""The whole analysis: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.analysis import GateAnalyzer, Section, analyze_run
from gatescope.analysis.report.context import AnalysisOptions
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import GatescopeError, RunFolderError, UsageError
from gatescope.runtime.gates.certificate import Certificate, Verification
from gatescope.runtime.runs.info import Skipped

from .runs import manifest_of, random_gates, write_run
from .test_events import annotations

FILES = {
    "ANALYSIS_REPORT.md",
    "overall_statistics.json",
    "overall_statistics.png",
    "layer_distributions.png",
    "activation_patterns.png",
    "query_gate_rankings.png",
    "layer_gate_statistics.png",
    "detailed_gate_analysis.json",
    "layer_gate_averages.csv",
    "sample_rankings.csv",
    "attention_against_ffn.png",
    "report.html",
    "gate_evolution.png",
    "gate_clustering.png",
    ".gatescope-report.json",
    "individual_samples",
}


pytestmark = pytest.mark.usefixtures("undrawn")  # test_figures.py draws them


@pytest.mark.parametrize("name", ["annotations", "subsets", "training_predictions", "ablation"])
def test_what_options_would_hide_is_refused(tmp_path, name: str) -> None:
    run = write_run(tmp_path / "run", random_gates(3))
    given: dict[str, Any] = {name: ["a=b"] if name == "subsets" else tmp_path / "file"}
    with pytest.raises(UsageError, match=f"{name} would be ignored"):
        analyze_run(run, tmp_path / "report", options=AnalysisOptions(raw=True), **given)
    assert not (tmp_path / "report").exists()


def report_of(folder: Path) -> str:
    return (folder / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")


def statistics_of(folder: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = (folder / "overall_statistics.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=refuse)


def names_in(folder: Path) -> set[str]:
    """What lies in a folder, but for the timelines, of which there are as many as are worth a look."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("timeline_")}


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_promised_files_and_keys(tmp_path: Path) -> None:
    gates = random_gates(5, 2)
    write_run(tmp_path / "run", gates)
    result = GateAnalyzer(tmp_path / "run").analyze_all_samples(tmp_path / "report")
    assert names_in(tmp_path / "report") == FILES
    assert {*result.files, tmp_path / "report" / ".gatescope-report.json"} == set(
        contents(tmp_path / "report")
    )
    found = statistics_of(tmp_path / "report")
    assert (found["total_samples"], found["gating_type"], found["num_layers"]) == (5, "clipwise", 2)
    for kind in ("attention", "ffn"):
        values = np.concatenate([own[kind].astype(np.float64).ravel() for own in gates.values()])
        block = found[f"{kind}_gates"]
        assert block["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert block["std"] == pytest.approx(values.std(), rel=1e-9)
        assert (block["min"], block["max"]) == (values.min(), values.max())
        assert block["median"] == np.percentile(values, 50)
        assert block["percentiles"] == {str(q): np.percentile(values, q) for q in (25, 75, 95)}
        assert (block["count"], block["nan_count"], block["inf_count"]) == (values.size, 0, 0)
        for layer in range(2):
            own = np.concatenate([of[kind][layer].astype(np.float64).ravel() for of in gates.values()])
            assert found["layer_statistics"][str(layer)][f"{kind}_mean"] == pytest.approx(own.mean())
            assert found["layer_statistics"][str(layer)][f"{kind}_std"] == pytest.approx(own.std())


def test_the_report_holds_the_numbers(tmp_path: Path) -> None:
    gates = random_gates(4, 3, clips=9)
    analyze_run(write_run(tmp_path / "run", gates), tmp_path / "report")
    text = report_of(tmp_path / "report").replace("−", "-")
    for kind in ("attention", "ffn"):
        for layer in range(3):
            values = np.concatenate([own[kind][layer].astype(np.float64).ravel() for own in gates.values()])
            row = next(line for line in text.splitlines() if line.startswith(f"| {kind} | {layer} |"))
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            assert cells[2:5] == [
                f"{values.mean():.3f}",
                f"{np.abs(values).mean():.3f}",
                f"{values.std():.3f}",
            ]
            assert cells[9] == f"{np.median(values):.3f}"
            assert cells[13] == f"{np.mean(values > 0):.1%}"
    for name in (name for name in FILES if name.endswith(".png")):
        assert f"]({name})" in text
    assert "Read this first" not in text


def test_an_unfinished_run_is_analysed_and_said_so_first(tmp_path: Path) -> None:
    skipped = [Skipped(f"bad-{number}", "features are missing | <b>") for number in range(7)]
    run = write_run(tmp_path / "run", random_gates(3), planned=8, skipped=skipped)
    result = analyze_run(run, tmp_path / "report")
    assert "not finished: 3 of 8 samples" in result.warnings[0]
    assert "7 samples left out" in result.warnings[1]
    assert "(7 samples (bad-0, bad-1, bad-2, …): features are missing" in result.warnings[1]
    text = report_of(tmp_path / "report")
    assert text.index("not finished") < text.index("The gates in numbers")
    assert "features are missing \\| &lt;b&gt;" in text
    found = statistics_of(tmp_path / "report")
    assert (found["run_finished"], found["total_samples"]) == (False, 3)
    assert found["warnings"] == list(result.warnings)


def test_manifest_warnings_and_certificate_are_shown(tmp_path: Path) -> None:
    certificate = Certificate(
        "gatescope's own model", ({"clips": (3, 5), "words": (2, 4)},), {"gate_ffn": 2e-6}, 1e-4
    )
    manifest = replace(
        manifest_of("clipwise", 2), warnings=("--gating differs from training",), certificate=certificate
    )
    run = write_run(tmp_path / "run", random_gates(2), manifest=manifest)
    result = analyze_run(run, tmp_path / "report")
    text = report_of(tmp_path / "report")
    assert result.warnings == ("--gating differs from training",)
    assert "compared with gatescope's own model on 1 batch shape, largest difference 2.0e−06" in text
    assert "**Verified:** **no**" in text

    verified = replace(
        certificate, verification=Verification("best.jsonl", "c" * 64, 200, 100, {"score": 1e-4})
    )
    manifest = replace(manifest, certificate=verified)
    analyze_run(write_run(tmp_path / "again", random_gates(2), manifest=manifest), tmp_path / "report")
    assert "yes, against 200 predictions of training (best.jsonl)" in report_of(tmp_path / "report")


def test_nan_gates_are_null_and_reported(tmp_path: Path) -> None:
    gates = random_gates(2, 1, clips=4)
    for own in gates.values():
        own["ffn"][:] = np.nan
    result = analyze_run(write_run(tmp_path / "run", gates), tmp_path / "report")
    found = statistics_of(tmp_path / "report")
    assert found["ffn_gates"]["mean"] is None
    assert found["ffn_gates"]["percentiles"] == {"25": None, "75": None, "95": None}
    assert (found["ffn_gates"]["count"], found["ffn_gates"]["nan_count"]) == (0, 8)
    assert "8 values are NaN" in result.warnings[0]
    assert "No value is finite" in report_of(tmp_path / "report")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("closed", 0.001, "The gate is nearly closed"),
        ("constant", 0.5, "All 24 values are 0.500: the gate does not react"),
    ],
)
def test_gates_that_do_nothing_are_called_so(tmp_path: Path, name: str, value: float, sentence: str) -> None:
    own = {kind: np.full((2, 4, 1), value, np.float32) for kind in ("attention", "ffn")}
    analyze_run(write_run(tmp_path / name, dict.fromkeys("abc", own)), tmp_path / "report")
    assert sentence in report_of(tmp_path / "report")


def test_a_mean_of_cancelling_signs_is_not_called_closed(tmp_path: Path) -> None:
    half = np.array([[[0.8], [-0.8], [0.8], [-0.8]]], np.float32)
    run = write_run(tmp_path / "run", {"a": {"attention": half, "ffn": half}})
    analyze_run(run, tmp_path / "report")
    assert "positive and negative values cancel; the gate itself is open" in report_of(tmp_path / "report")


def test_one_sample_is_not_compared(tmp_path: Path) -> None:
    analyze_run(write_run(tmp_path / "run", random_gates(1, 1, clips=1)), tmp_path / "report")
    text = report_of(tmp_path / "report")
    assert "There is only one sample" in text
    assert "There is one layer" in text


def test_hostile_ids_are_shown_as_text(tmp_path: Path) -> None:
    ids = [
        "</script><b>x",
        "$math$",
        "a|b",
        "![x](http://y)",
        "`code`",
        "line\nbreak",
        "\u202eabc",
        "q" * 10_000,
    ]
    gates = dict(zip(ids, random_gates(len(ids), 1, clips=3).values(), strict=True))
    analyze_run(write_run(tmp_path / "run", gates), tmp_path / "report")
    text = report_of(tmp_path / "report")
    for raw in ("<b>", "![x]", "`code`", "$math$", "\u202e", "q" * 200):
        assert raw not in text
    for line in text.splitlines():
        if line.startswith(("| most open", "| least open")):
            assert len(re.findall(r"(?<!\\)\|", line)) == 6


def test_events_become_a_section_a_figure_and_a_key(tmp_path: Path) -> None:
    gates = random_gates(3, 2, clips=10)
    for own in gates.values():
        own["attention"][1, 2:5] = 0.99999
    run = write_run(tmp_path / "run", gates)
    path = annotations(tmp_path / "a.jsonl", *({"qid": qid, "gatescope_events": [2, 3, 4]} for qid in gates))
    analyze_run(run, tmp_path / "report", annotations=path)
    assert names_in(tmp_path / "report") == FILES | {"event_recovery.png"}
    recovery = statistics_of(tmp_path / "report")["event_recovery"]
    assert (recovery["videos"], recovery["clips"], recovery["event_clips"]) == (3, 30, 9)
    best = next(row for row in recovery["gates"] if (row["layer"], row["gate"]) == (1, "attention"))
    assert best["auc"] == 1.0
    assert "Best: the attention gate of layer 1, 1.000" in report_of(tmp_path / "report")

    analyze_run(run, tmp_path / "report")
    assert names_in(tmp_path / "report") == FILES
    plain = annotations(tmp_path / "plain.jsonl", {"qid": "1000"})
    analyze_run(run, tmp_path / "report", annotations=plain)
    assert "Do the gates find the event?" not in report_of(tmp_path / "report")
    assert "event_recovery" not in statistics_of(tmp_path / "report")


def test_sections_of_others_are_appended(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2))
    mine = ("Mine", "Some *words*.", {"mine.png": b"\x89PNG"})
    analyze_run(run, tmp_path / "report", sections=[mine, Section("Also mine", "More.")])
    text = report_of(tmp_path / "report")
    assert "## Mine\n\nSome *words*.\n\n![mine](mine.png)\n\n## Also mine\n\nMore.\n" in text
    assert (tmp_path / "report" / "mine.png").read_bytes() == b"\x89PNG"
    for name in ("overall_statistics.png", "../out.png"):
        with pytest.raises(ValueError, match="cannot be called"):
            analyze_run(run, tmp_path / "other", sections=[("Bad", "", {name: b""})])
        assert not (tmp_path / "other").exists()


def test_an_output_that_cannot_hold_a_report_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2))
    before = names_in(tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run"):
        analyze_run(run, tmp_path / "run")
    assert names_in(tmp_path / "run") == before
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        analyze_run(run, tmp_path / "file")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_other_files_in_the_output_are_left_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "notes.txt").write_text("mine", encoding="utf-8")
    analyze_run(run, tmp_path / "report")
    first = contents(tmp_path / "report")
    analyze_run(run, tmp_path / "report")
    assert first == contents(tmp_path / "report")
    assert first[tmp_path / "report" / "notes.txt"] == b"mine"


def test_what_fails_writes_nothing(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "empty", {}, planned=2)
    with pytest.raises(RunFolderError, match="no samples yet"):
        analyze_run(empty, tmp_path / "report")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RunFolderError, match="not a run folder"):
        analyze_run(tmp_path / "nothing", tmp_path / "report")
    with pytest.raises(GatescopeError, match="no annotation file"):
        analyze_run(
            write_run(tmp_path / "run", random_gates(1)), tmp_path / "report", annotations="missing.jsonl"
        )
    assert not (tmp_path / "report").exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", random_gates(2), planned=3)
    path = annotations(tmp_path / "a.jsonl", {"qid": 1000, "gatescope_events": [0]})
    assert main(["analyze", str(tmp_path / "run"), "--output", str(tmp_path / "report")]) == 0
    shown = capsys.readouterr()
    assert str(tmp_path / "report" / "ANALYSIS_REPORT.md") in shown.out
    assert "warning: The run is not finished" in shown.err
    arguments = ["--output", str(tmp_path / "other"), "--annotations", str(path), "--json"]
    assert main(["analyze", str(tmp_path / "run"), *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["statistics"]["total_samples"] == 2
    assert "event_recovery" in told["statistics"]
    assert all(Path(name).is_file() for name in told["files"])


def test_command_failures_are_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path / "missing"), "--output", str(tmp_path / "report")]) == 1
    write_run(tmp_path / "run", random_gates(1))
    assert main(["analyze", str(tmp_path / "run"), "--output", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "choose another folder" in shown


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, gatescope.analysis, gatescope.analysis.commands.analyze\n"
        "print({'torch', 'onnxruntime', 'matplotlib', 'sklearn', 'polars'} & set(sys.modules))\n"
        "import gatescope.analysis.analyze\n"
        "print({'torch', 'onnxruntime'} & set(sys.modules))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split("\n")[:2] == ["set()", "set()"]


def test_a_full_disk_leaves_the_earlier_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report"
    analyze_run(write_run(tmp_path / "run", random_gates(2)), report)
    before = contents(report)
    write, written = Path.write_bytes, list[Path]()

    def fails_the_third_time(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return write(path, content)

    run = write_run(tmp_path / "other", random_gates(5))
    monkeypatch.setattr(Path, "write_bytes", fails_the_third_time)
    with pytest.raises(OSError, match="No space left"):
        analyze_run(run, report)
    assert contents(report) == before


@pytest.mark.usefixtures("undrawn")
def test_a_report_ends_with_the_command_that_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a run", random_gates(6, 2, clips=4))
    (tmp_path / "some.txt").write_text("1000\n1001\n", encoding="utf-8")
    words = ["analyze", "a run", "--output", "report", "--subset", "it's=some.txt", "--sample", "1001"]
    assert main([*words, "--raw", "--compare"]) == 0
    before = {path.name: path.read_bytes() for path in Path("report").rglob("*") if path.is_file()}
    for text in (before["ANALYSIS_REPORT.md"].decode(), html.unescape(before["report.html"].decode())):
        assert "gatescope analyze" in text
    command = before["ANALYSIS_REPORT.md"].decode().rstrip().splitlines()[-1]
    shutil.rmtree("report")
    assert main(shlex.split(command)[1:]) == 0
    after = {path.name: path.read_bytes() for path in Path("report").rglob("*") if path.is_file()}
    assert after == before
