"""Samples one by one and side by side: their files, names, numbers, and what of it is written when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from gatescope.analysis import AnalysisResult, analyze_run, compare_runs, summarise
from gatescope.analysis.evaluation.evaluate import evaluate_run
from gatescope.analysis.figures.sample import SamplePicture
from gatescope.analysis.figures.style import png
from gatescope.analysis.report.context import AnalysisOptions
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import UsageError
from gatescope.runtime.runs.reader import Run

from .runs import manifest_of, random_gates, write_run
from .test_association import judged_run

ALL = AnalysisOptions(samples=("all",))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def details_of(report: Path, name: str) -> dict[str, Any]:
    return json.loads((report / "individual_samples" / f"{name}_details.json").read_bytes())


@pytest.mark.usefixtures("undrawn")
def test_details_have_the_promised_keys_and_numpys_values(tmp_path: Path) -> None:
    gates = random_gates(3, 2, channels=4)
    run = write_run(tmp_path / "run", gates, videos={"1001": "that video"})
    analyze_run(run, tmp_path / "report", options=ALL)
    found = details_of(tmp_path / "report", "1001")
    assert (found["sample_id"], found["gating_type"], found["num_layers"]) == ("1001", "elementwise", 2)
    assert found["queries"][0]["vid"] == "that video"
    assert [layer["layer_index"] for layer in found["layer_analysis"]] == [0, 1]
    for layer, analysis in enumerate(found["layer_analysis"]):
        for kind in ("attention", "ffn"):
            values = gates["1001"][kind][layer].astype(float)
            block = analysis[f"{kind}_gate"]
            assert block["shape"] == [1, *values.shape]
            assert block["mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert block["std"] == pytest.approx(values.std(), rel=1e-9)
            assert (block["min"], block["max"]) == (values.min(), values.max())
            assert block["median"] == np.median(values)
            assert block["percentiles"] == {str(q): np.percentile(values, q) for q in (25, 75, 95)}
    means = {layer: gates["1001"]["ffn"][layer].astype(float).mean(axis=1) for layer in (0, 1)}
    pair = next(
        one["correlation"]
        for one in found["correlations_over_clips"]
        if (one["layer"], one["other_layer"], one["gate"]) == (0, 1, "ffn")
    )
    assert pair == pytest.approx(np.corrcoef(means[0], means[1])[0, 1], abs=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_which_samples_are_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(20, 1, clips=4))
    folder = tmp_path / "report" / "individual_samples"

    def shown(samples: tuple[str, ...] | None) -> set[str]:
        analyze_run(run, tmp_path / "report", options=AnalysisOptions(samples=samples))
        names = names_in(folder)
        found = {name.removesuffix("_details.json") for name in names if name.endswith(".json")}
        assert names == {
            name for one in found for name in (f"{one}_details.json", f"gate_analysis_{one}.png")
        }
        return found

    assert 3 <= len(shown(None)) < 20  # exemplars
    assert shown(("1003", "1007", "1003")) == {"1003", "1007"}
    assert len(shown(("all",))) == 20
    assert shown(("1000",)) == {"1000"}


@pytest.mark.usefixtures("undrawn")
def test_raw_gates_have_the_axis_of_the_batch(tmp_path: Path) -> None:
    for name, shape in (("global", {"clips": 1}), ("clipwise", {}), ("elementwise", {"channels": 3})):
        gates = random_gates(3, 2, **shape)
        run = write_run(tmp_path / name, gates)
        report = tmp_path / f"report of {name}"
        analyze_run(run, report, options=AnalysisOptions(samples=("1002",), raw=True))
        assert names_in(report / "raw_data") == {
            f"1002_layer{layer}_{kind}.npy" for layer in (0, 1) for kind in ("att", "ffn")
        }
        for layer in (0, 1):
            stored = np.load(report / "raw_data" / f"1002_layer{layer}_att.npy")
            assert stored.dtype == np.float32
            np.testing.assert_array_equal(stored, gates["1002"]["attention"][layer][None])


HOSTILE = [
    "Case",
    "case",
    "a/b",
    "../../out",
    "..",
    "nul\0byte",
    "x" * 300,
    "x" * 301,
    "한국어",
    "all",
    "CON",
]


@pytest.mark.usefixtures("undrawn")
def test_hostile_ids_neither_collide_nor_escape(tmp_path: Path) -> None:
    gates = dict(zip(HOSTILE, random_gates(len(HOSTILE), 1, clips=3).values(), strict=True))
    run = write_run(tmp_path / "run", gates)
    before = names_in(tmp_path)
    analyze_run(
        run, tmp_path / "deep" / "report", options=AnalysisOptions(samples=("all",), compare=(), raw=True)
    )
    assert names_in(tmp_path) == before | {"deep"} and names_in(tmp_path / "deep") == {"report"}
    folder = tmp_path / "deep" / "report" / "individual_samples"
    found = {json.loads(path.read_bytes())["sample_id"]: path.name for path in folder.glob("*.json")}
    assert set(found) == set(HOSTILE)
    assert len({name.casefold() for name in found.values()}) == len(HOSTILE)
    assert found["CON"] == "CON_details.json"
    raw = list((tmp_path / "deep" / "report" / "raw_data").iterdir())
    assert len(raw) == 2 * len(HOSTILE)
    assert all(len(name.encode()) < 200 for name in names_in(folder))


@pytest.mark.usefixtures("undrawn")
def test_an_id_that_is_not_there_is_named_before_anything_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(3, 1, clips=2))
    calls: list[int] = []
    for options in (AnalysisOptions(samples=("1001", "10x1")), AnalysisOptions(compare=("10x1",))):
        with pytest.raises(UsageError, match="no sample '10x1'") as caught:
            analyze_run(run, tmp_path / "report", options=options, progress=lambda *_: calls.append(1))
        assert "1001" in str(caught.value)
    assert not calls and not (tmp_path / "report").exists()


@pytest.mark.usefixtures("undrawn")
def test_comparison(tmp_path: Path) -> None:
    gates = random_gates(8, 2)
    run = write_run(tmp_path / "run", gates)
    result = analyze_run(run, tmp_path / "report", options=AnalysisOptions(compare=()))
    found = result.document["compared_samples"]
    assert list(found) == [*gates][:5]
    assert (tmp_path / "report" / "comparisons" / "gate_comparison.png").is_file()
    result = analyze_run(run, tmp_path / "report", options=AnalysisOptions(compare=("1006", "1002")))
    found = result.document["compared_samples"]
    assert list(found) == ["1006", "1002"]
    for name, own in found.items():
        assert own["att_means"] == pytest.approx(gates[name]["attention"].mean(axis=(1, 2)), abs=1e-6)
        assert own["ffn_means"] == pytest.approx(gates[name]["ffn"].mean(axis=(1, 2)), abs=1e-6)
    analyze_run(run, tmp_path / "report")
    assert not (tmp_path / "report" / "comparisons").exists()


@pytest.mark.usefixtures("undrawn")
def test_only_our_own_files_are_removed(tmp_path: Path) -> None:
    run, report = write_run(tmp_path / "run", random_gates(3, 1, clips=2)), tmp_path / "report"
    analyze_run(run, report, options=ALL)
    mine = [report / "notes.txt", report / "individual_samples" / "mine.txt"]
    outside = tmp_path / "outside.txt"
    for path in (*mine, outside):
        path.write_text("mine", encoding="utf-8")
    (report / "link").symlink_to(tmp_path)
    written = json.loads((report / ".gatescope-report.json").read_bytes())
    assert {*written["files"]} == {
        str(path.relative_to(report))
        for path in report.rglob("*")
        if path.is_file()
        and path not in mine
        and path.name != ".gatescope-report.json"
        and "link" not in path.parts
    }
    written["files"] += ["../outside.txt", str(outside), "link/outside.txt", "a\0b", 7]
    (report / ".gatescope-report.json").write_text(json.dumps(written), encoding="utf-8")
    analyze_run(run, report, options=AnalysisOptions(samples=("1000",)))
    assert outside.read_text(encoding="utf-8") == "mine" and all(
        path.read_text(encoding="utf-8") == "mine" for path in mine
    )
    assert names_in(report / "individual_samples") == {
        "1000_details.json",
        "gate_analysis_1000.png",
        "mine.txt",
    }
    (report / ".gatescope-report.json").write_text("damaged", encoding="utf-8")
    analyze_run(run, report, options=AnalysisOptions(samples=("1001",)))
    assert "1000_details.json" in names_in(report / "individual_samples")  # nobody knows whose it is


@pytest.mark.usefixtures("undrawn")
def test_a_failure_while_samples_are_written_leaves_the_earlier_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    analyze_run(write_run(tmp_path / "run", random_gates(2)), report)
    leftover = report / ".report-killed.partial"
    (leftover / "individual_samples").mkdir(parents=True)
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "1004_details.json":
            raise OSError(28, "No space left on device")
        return write(path, content)

    run = write_run(tmp_path / "other", random_gates(6))
    monkeypatch.setattr(Path, "write_bytes", full)
    for folder in (report, tmp_path / "new"):
        with pytest.raises(OSError, match="No space left"):
            analyze_run(run, folder, options=ALL)
    assert {path: path.read_bytes() for path in report.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "new").exists() and not leftover.exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", random_gates(4, 1, clips=3))
    report = tmp_path / "report"
    arguments = ["--sample", "1001", "--sample", "1002", "--compare", "1003", "1000", "--raw"]
    assert main(["analyze", str(tmp_path / "run"), "--output", str(report), *arguments]) == 0
    assert f"{report / 'individual_samples'}/ (4 files)" in capsys.readouterr().out
    assert imread(report / "individual_samples" / "gate_analysis_1002.png").ndim == 3
    assert imread(report / "comparisons" / "gate_comparison.png").ndim == 3
    assert main(["analyze", str(tmp_path / "run"), "--output", str(report), "--sample", "nobody"]) == 2
    assert "no sample 'nobody'" in capsys.readouterr().err
    assert (report / "ANALYSIS_REPORT.md").is_file()


@pytest.mark.parametrize("shape", [{"clips": 1}, {"clips": 3}, {"clips": 90}, {"clips": 5, "channels": 4}])
def test_a_sample_in_a_picture(tmp_path: Path, shape: dict[str, int]) -> None:
    gates = random_gates(3, 2, **shape)
    gates["1001"]["ffn"][1] = np.nan
    summary = summarise(write_run(tmp_path / "run", gates, per_part=3))
    frames = summary.by_layer, summary.per_sample
    # One figure for all samples draws what a figure of its own draws.
    picture = SamplePicture(*frames, summary.ranges, {"attention": 1.0, "ffn": 1.0})
    alone = SamplePicture(*frames, summary.ranges, {"attention": 1.0, "ffn": 1.0})

    def show(one: SamplePicture, name: str) -> bytes:
        statistics = {
            (row["layer"], row["gate"]): row
            for row in summary.per_sample.filter(sample_id=name).iter_rows(named=True)
        }
        courses = {kind: array.mean(axis=2).astype(float) for kind, array in gates[name].items()}
        return png(one.show(name, courses, statistics))

    for name in ("1000", "1001"):
        assert show(picture, name).startswith(b"\x89PNG")
    drawn = np.ma.getdata(picture.figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(drawn, gates["1001"]["attention"].mean(axis=2), atol=1e-6)
    assert show(picture, "1002") == show(alone, "1002")


@pytest.mark.usefixtures("undrawn")
def test_a_sample_shared_by_queries_is_found_by_each(tmp_path: Path) -> None:
    gates = {
        "video": random_gates(1, 1, clips=3)["1000"],
        "other": random_gates(1, 1, clips=3, seed=1)["1000"],
    }
    run = write_run(tmp_path / "run", gates, manifest=manifest_of("clipwise", 1))
    queries = run.samples.collect()
    shared = pl.concat([queries, queries.head(1)]).with_columns(qid=pl.Series(["12", "13", "15"]))
    shared.write_parquet(tmp_path / "run" / "samples.parquet")
    result = analyze_run(
        run, tmp_path / "report", options=AnalysisOptions(samples=("15",), compare=("12", "13"))
    )
    assert {row["qid"] for row in details_of(tmp_path / "report", "video")["queries"]} == {"12", "15"}
    assert list(result.document["compared_samples"]) == ["12", "13"]


@pytest.mark.usefixtures("undrawn")
def test_results_stand_beside_gates(tmp_path: Path) -> None:
    run, _, annotations = judged_run(tmp_path, 4)
    results = evaluate_run(run, annotations).per_query.select("qid", "ap", "iou")
    options = AnalysisOptions(annotations=annotations, samples=("1003",), compare=("1000", "1003"))
    result = analyze_run(run, tmp_path / "report", options=options)
    for name in ("1000", "1003"):
        ap, iou = results.filter(qid=name).row(0)[1:]
        assert result.document["compared_samples"][name]["ap"] == ap
        assert result.document["compared_samples"][name]["iou"] == iou
    query = details_of(tmp_path / "report", "1003")["queries"][0]
    assert query["query"] == "query 1003 <b>|"
    assert query["ap"] == results.filter(qid="1003")["ap"][0]
    text = (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    assert "| sample | AP | IoU | attention 0 |" in text


def test_of_several_runs_each_shows_the_samples_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[AnalysisOptions] = []

    def stub(run: Run, output: Path, *, options: AnalysisOptions, **_: Any) -> AnalysisResult:
        given.append(options)
        return AnalysisResult(output, (), summarise(run), {}, ())

    monkeypatch.setattr("gatescope.analysis.comparison.compare.analyze_run", stub)
    gates = random_gates(4, 1, clips=3)
    one = write_run(tmp_path / "one", {name: gates[name] for name in ("1000", "1001")})
    other = write_run(tmp_path / "other", {name: gates[name] for name in ("1001", "1002")})
    options = AnalysisOptions(samples=("1001", "1002"), compare=("1000",))
    compare_runs([one, other], tmp_path / "report", options=options)
    assert [own.samples for own in given] == [("1001",), ("1001", "1002")]
    assert [own.compare for own in given] == [("1000",), None]
    with pytest.raises(UsageError, match="no sample '1003'"):
        compare_runs([one, other], tmp_path / "again", options=AnalysisOptions(samples=("1003",)))
