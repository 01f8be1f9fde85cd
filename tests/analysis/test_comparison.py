"""Several runs beside each other: every number against numpy, and runs that have little in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from gatescope.analysis.analyze import AnalysisResult
from gatescope.analysis.comparison.compare import ComparisonResult, compare_runs
from gatescope.analysis.comparison.run_gates import compare_gates
from gatescope.analysis.comparison.run_metrics import compare_metrics
from gatescope.analysis.comparison.runs import run_names
from gatescope.analysis.figures.runs import runs_figure
from gatescope.analysis.figures.style import png
from gatescope.analysis.report.context import AnalysisOptions
from gatescope.analysis.statistics.summary import summarise
from gatescope.analysis.statistics.videos import videos_of
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import UsageError
from gatescope.runtime.running.pipeline import run_model
from gatescope.runtime.runs.reader import Run

from .heard import heard_dataset, heard_model
from .runs import manifest_of, random_gates, write_run


def undraw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes most of an analysis."""
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG undrawn"))


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run's own report is a stub: test_analyze.py tests it, and it takes seconds."""

    def stub(run: Run, output: Path, *, options: AnalysisOptions, **_: Any) -> AnalysisResult:
        output.mkdir(parents=True, exist_ok=True)
        (output / "ANALYSIS_REPORT.md").write_text(f"subsets: {', '.join(options.subsets)}", encoding="utf-8")
        return AnalysisResult(output, (output / "ANALYSIS_REPORT.md",), summarise(run), {}, ())

    undraw(monkeypatch)
    monkeypatch.setattr("gatescope.analysis.comparison.compare.analyze_run", stub)


@pytest.fixture(scope="module")
def heard_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Annotations, and runs of three models: the same, deaf, and deaf on fewer videos than can be judged."""
    folder = tmp_path_factory.mktemp("runs")
    annotations = heard_dataset(folder / "data", 22)
    paths: list[Path] = []
    for name, slope, queries in (("first", 2.0, 44), ("deaf", 0.0, 44), ("short", 0.0, 12)):
        (folder / name).mkdir()
        heard_model(folder / name / "m.onnx", slope)
        paths.append(folder / name / "run")
        run_model(
            folder / name / "m.onnx",
            annotations,
            folder / "data",
            paths[-1],
            device="cpu",
            max_samples=queries,
        )
    return annotations, paths


@pytest.fixture(scope="module")
def compared(
    heard_runs: tuple[Path, list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> ComparisonResult:
    annotations, paths = heard_runs
    with pytest.MonkeyPatch.context() as patched:
        shorten(patched)
        return compare_runs(paths, tmp_path_factory.mktemp("report"), options=AnalysisOptions(annotations))


def gates_of(runs: list[Run], names: list[str]) -> pl.DataFrame:
    return compare_gates(names, [*map(summarise, runs)], [videos_of(run.samples.collect()) for run in runs])


def test_gates_are_means_over_videos(tmp_path: Path) -> None:
    gates = [random_gates(6, 2, seed=seed) for seed in (0, 1)]
    videos = {name: f"v{place // 2}" for place, name in enumerate(gates[0])}
    runs = [write_run(tmp_path / str(place), own, videos=videos) for place, own in enumerate(gates)]
    found = gates_of(runs, ["a", "b"])
    assert found.height == 2 * 2 * 2 * 2
    for row in found.iter_rows(named=True):
        size = np.abs if row["statistic"] == "mean_abs" else np.asarray
        levels = [
            [
                np.mean(
                    [
                        size(own[name][row["gate"]][row["layer"]]).mean(dtype=float)
                        for name in own
                        if videos[name] == vid
                    ]
                )
                for vid in ("v0", "v1", "v2")
            ]
            for own in gates
        ]
        own = levels["ab".index(row["run"])]
        assert row["value"] == pytest.approx(np.mean(own))
        assert row["videos"] == 3
        if row["run"] == "b":
            assert row["difference"] == pytest.approx(np.mean(levels[1]) - np.mean(levels[0]))
            assert row["difference_low"] <= row["difference"] <= row["difference_high"]
            assert row["shared_videos"] == 3
        else:
            assert row["difference"] is None
        assert not row["told_apart"]  # three videos are too few


def test_only_what_both_have_is_compared(tmp_path: Path) -> None:
    gates = random_gates(5, 2)
    names = list(gates)
    deeper = random_gates(5, 3, seed=1)
    one = write_run(tmp_path / "a", {name: gates[name] for name in names[:4]})
    other = write_run(tmp_path / "b", {name: deeper[name] for name in names[1:]})
    found = gates_of([one, other], ["a", "b"]).filter(run="b", gate="ffn", statistic="mean")
    assert found["layer"].to_list() == [0, 1, 2]
    assert found["shared_videos"].to_list() == [3, 3, None]
    assert found["difference"][2] is None
    want = np.mean(
        [
            deeper[name]["ffn"][0].mean(dtype=float) - gates[name]["ffn"][0].mean(dtype=float)
            for name in names[1:4]
        ]
    )
    assert found["difference"][0] == pytest.approx(want)


def test_metrics_are_paired_over_shared_queries() -> None:
    rng = np.random.default_rng(0)

    def frame(qids: range, shift: float) -> pl.DataFrame:
        values = np.clip(np.random.default_rng(1).random(60)[qids.start : qids.stop] + shift, 0, 1)
        vids = [f"v{qid // 2}" for qid in qids]
        return pl.DataFrame(
            {"qid": [str(qid) for qid in qids], "vid": vids, "ap": values, "r1_0.5": values > 0.5}
        )

    one, other = frame(range(60), 0.0), frame(range(10, 60), -0.2)
    found = compare_metrics(
        {"a": one, "b": other.sample(fraction=1, shuffle=True, seed=int(rng.integers(9)))}
    )
    row = found.filter(run="b", metric="MR-full-mAP").row(0, named=True)
    want = 100 * (other["ap"].to_numpy() - one["ap"].to_numpy()[10:]).mean()
    assert row["difference"] == pytest.approx(want)
    assert (row["shared_queries"], row["shared_videos"], row["queries"]) == (50, 25, 50)
    assert row["told_apart"]
    assert row["value"] == pytest.approx(100 * other["ap"].mean())  # type: ignore[operator]
    assert found["metric"].unique(maintain_order=True).to_list() == ["MR-full-R1@0.5", "MR-full-mAP"]


def test_a_planted_difference_is_found_and_no_other(compared: ComparisonResult) -> None:
    gates = compared.gates.filter(run="deaf", statistic="mean")
    apart = gates.filter("told_apart")
    assert apart.select("gate", "layer").rows() == [("attention", 0)]
    assert apart["difference"][0] < -0.1
    mean = compared.metrics.filter(run="deaf", metric="MR-full-mAP").row(0, named=True)
    assert mean["told_apart"]
    assert mean["difference"] < -50
    assert compared.document["runs"]["deaf"]["metrics"]["brief"]["MR-full-mAP"] == pytest.approx(
        mean["value"], abs=0.005
    )
    text = (compared.output / "COMPARISON.md").read_text(encoding="utf-8")
    assert "1 of 4 mean gates differ, most attention gate of layer 0" in text


def test_few_shared_videos_are_said_and_call_nothing_a_difference(compared: ComparisonResult) -> None:
    assert not compared.metrics.filter(run="short")["told_apart"].any()
    assert any("short and first have only 6 videos in common" in one for one in compared.warnings)
    assert any("number of queries (first: 44; deaf: 44; short: 12)" in one for one in compared.warnings)


def test_every_run_has_its_own_report(compared: ComparisonResult) -> None:
    for name, result in compared.runs.items():
        assert result.output == compared.output / name
        assert (result.output / "ANALYSIS_REPORT.md").is_file()
    told = json.loads((compared.output / "comparison.json").read_text(encoding="utf-8"))
    assert list(told["runs"]) == ["first", "deaf", "short"]
    assert "model (SHA-256)" in told["settings_that_differ"]
    text = (compared.output / "COMPARISON.md").read_text(encoding="utf-8")
    assert "[first](first/ANALYSIS_REPORT.md)" in text
    assert set(compared.files) == {path for path in compared.output.rglob("*") if path.is_file()}


def test_runs_of_other_gatings_layers_and_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    one = write_run(tmp_path / "clipwise", random_gates(4, 2, clips=5))
    manifest = manifest_of("global", 3, (0.0, 1.0))
    other = write_run(tmp_path / "global", random_gates(4, 3, clips=1), manifest=manifest)
    wide = write_run(tmp_path / "wide", random_gates(4, 2, clips=5, channels=3), planned=6)
    result = compare_runs([one, other, wide], tmp_path / "report")
    told = "\n".join(result.warnings)
    assert "wide is not finished" in told
    assert "gating (clipwise: clipwise; global: global; wide: elementwise)" in told
    assert "number of layers (clipwise: 2; global: 3; wide: 2)" in told
    assert "range of their gates" in told
    assert result.metrics.is_empty()
    assert "## Metrics" not in (tmp_path / "report" / "COMPARISON.md").read_text(encoding="utf-8")


def test_runs_with_nothing_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undraw(monkeypatch)
    gates = random_gates(4)
    names = list(gates)
    runs = [
        write_run(tmp_path / f"run{place}", {name: gates[name] for name in names[2 * place : 2 * place + 2]})
        for place in range(2)
    ]
    result = compare_runs(runs, tmp_path / "report")
    assert all((tmp_path / "report" / name / "overall_statistics.json").is_file() for name in result.runs)
    assert any("have no video, or no gate, in common" in one for one in result.warnings)
    assert "nothing in common to compare" in (tmp_path / "report" / "COMPARISON.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("count", [2, 5, 14])
@pytest.mark.parametrize("metrics", [True, False])
def test_the_figure(compared: ComparisonResult, count: int, metrics: bool) -> None:
    """Many runs are the three again under other names."""
    names = [f"run {place} $x$ 한" for place in range(count)]
    some = ["first", *["deaf", "short"] * count][:count]

    def named(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat(
            frame.filter(run=own).with_columns(run=pl.lit(name))
            for own, name in zip(some, names, strict=True)
        )

    gates = named(compared.gates.filter(statistic="mean"))
    figure = runs_figure(gates, named(compared.metrics) if metrics else compared.metrics.clear(), names)
    assert len(figure.axes) == (6 if metrics else 4)
    levels = {line.get_ydata()[0] for line in figure.axes[0].lines}  # type: ignore[index]
    want = gates.filter(run=names[0], gate="attention", layer=0)["value"][0]
    assert want in levels
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (["seed1/run", "seed2/run"], ["seed1", "seed2"]),
        (["x/run", "y/run", "y/old"], ["x-run", "y-run", "y-old"]),
        (["Run", "run"], ["1-Run", "2-run"]),
        (["한국/a b$c", "한국/a b%c"], ["1-a-b-c", "2-a-b-c"]),
        (["p/.hidden", "p/" + "x" * 300], ["hidden", "x" * 60]),
        (["p/run", "q/s/run"], ["p", "s"]),
        (["run", "my_report/run"], ["run", "my_report"]),
        (["report/run", "old"], ["report", "old"]),
        (["report/run", "d/run5"], ["report", "run5"]),
        (["exp/run", "exp/run2"], ["run", "run2"]),
    ],
)
def test_names(tmp_path: Path, paths: list[str], names: list[str]) -> None:
    assert run_names([tmp_path / path for path in paths]) == names


def test_the_working_folders_name_is_no_runs_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "QD-DETR"
    home.mkdir()
    monkeypatch.chdir(home)
    assert run_names([Path("run"), Path("my_report/run")]) == ["run", "my_report"]
    assert run_names([home / "run", tmp_path / "other" / "run"]) == ["run", "other"]


def test_runs_are_called_as_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    paths = [tmp_path / name / "run" for name in ("a", "b=c", "d")]
    for seed, path in enumerate(paths):
        write_run(path, random_gates(3, seed=seed))
    words = [f"seed-1={paths[0]}", str(paths[1]), f"last={paths[2]}"]
    assert main(["analyze", *words, "--output", str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert [*document["runs"]] == ["seed-1", "b-c", "last"]
    assert (tmp_path / "out" / "seed-1" / "ANALYSIS_REPORT.md").is_file()
    assert "**last** against seed-1" in (tmp_path / "out" / "COMPARISON.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "told"),
    [(["a/b", None], "cannot be the name"), (["", "x"], "cannot be the name"), (["x", "X"], "the same name")],
)
def test_names_that_no_run_can_have(tmp_path: Path, names: list[str | None], told: str) -> None:
    runs = [write_run(tmp_path / str(seed), random_gates(2, seed=seed)) for seed in range(2)]
    with pytest.raises(UsageError, match=told):
        compare_runs(runs, tmp_path / "out", names=names)
    assert not (tmp_path / "out").exists()


def test_bad_usage(compared: ComparisonResult, heard_runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    _, paths = heard_runs
    with pytest.raises(UsageError, match="needs two runs"):
        compare_runs(paths[:1], tmp_path / "report")
    with pytest.raises(UsageError, match="given twice"):
        compare_runs([paths[0], paths[1], paths[0]], tmp_path / "report")
    with pytest.raises(UsageError, match="holds a run"):
        compare_runs(paths, paths[0])
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        compare_runs(paths, tmp_path / "file")
    assert not (tmp_path / "report").exists()


def test_the_command(
    heard_runs: tuple[Path, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shorten(monkeypatch)
    annotations, paths = heard_runs
    (tmp_path / "some.txt").write_text(
        "2100\n2101\n", encoding="utf-8"
    )  # of the last video, which one run lacks
    words = ["analyze", str(paths[0]), str(paths[2]), "--annotations", str(annotations)]
    words += ["--output", str(tmp_path / "out"), "--subset", f"some={tmp_path / 'some.txt'}"]
    assert main(words) == 0
    out = capsys.readouterr()
    assert out.out.startswith("2 runs compared; wrote")
    assert str(tmp_path / "out" / "COMPARISON.md") in out.out
    assert "short and first have only 6 videos in common" in out.err
    reports = [
        (tmp_path / "out" / name / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
        for name in ("first", "short")
    ]
    assert reports == ["subsets: some", "subsets: "]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["reference"] == "first"
