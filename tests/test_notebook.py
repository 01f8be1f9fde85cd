"""What a notebook shows: objects in one line, figures as pictures, progress, links."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import polars as pl
import pytest
from matplotlib._pylab_helpers import Gcf

import gatescope.analysis
import gatescope.export
import gatescope.runtime
import gatescope.runtime.monitor
from gatescope.analysis import AnalysisResult, GateAnalyzer, diff_runs
from gatescope.analysis.figures import style
from gatescope.analysis.figures.kinds import kinds_figure
from gatescope.analysis.report.context import AnalysisOptions
from gatescope.runtime import Dataset, FeatureSources, GateSession, Monitor, MonitoredSession
from gatescope.runtime.errors import UsageError
from gatescope.runtime.runs.reader import Run

from .analysis.runs import random_gates, write_run
from .runtime.tiny_model import tiny_batch, tiny_model

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "analysis" / "figures"
LONG = "x" * 5000


# Classes that are public by name or given back by what is; not what is raised.
PUBLIC = {
    name
    for room in (gatescope.runtime, gatescope.export, gatescope.analysis, gatescope.runtime.monitor)
    for name in room.__all__
    if inspect.isclass(getattr(room, name)) and not issubclass(getattr(room, name), Exception)
} | {"Run", "GateTracker", "Baseline", "LoggedVideo", "Figure"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("notebook") / "run", random_gates(6, 2, clips=3))


@pytest.fixture(scope="module")
def analysed(run: Run) -> AnalysisResult:
    """One analysis for all tests, with every option that needs no file."""
    ids = run.samples.collect()["sample_id"].to_list()
    folder = run.path.parent / "a report <b>"
    return GateAnalyzer(run).analyze_all_samples(folder, samples=ids[:1], compare=ids[:2], raw=True)


def public_objects(folder: Path, run: Run, analysed: AnalysisResult) -> dict[str, Any]:
    """One of every public class, holding much."""
    from gatescope import analysis, export, runtime
    from gatescope.runtime import monitor
    from gatescope.runtime.monitor.alarm import Diagnosis, WindowReading
    from gatescope.runtime.monitor.baseline.baseline import Baseline
    from gatescope.runtime.monitor.log.segment import LoggedVideo

    manifest = tiny_model(folder / "m.onnx", layers=9)
    session = GateSession(folder / "m.onnx", device="cpu")
    session.tracker.enable_gate_tracking()
    session.tracker.set_current_sample_id("many")
    outputs = session.run(tiny_batch(manifest, (30,) * 5, (4,) * 5))
    watched = Monitor()
    server = monitor.MetricsServer(watched.snapshot, 0)
    difference = diff_runs(run, run)
    many, frame = tuple(map(str, range(5000))), pl.DataFrame({"x": range(5000)})
    prediction = runtime.Sample(*(np.zeros((75, 512), np.float32) for _ in range(3)))
    reading = WindowReading("drift", "ffn", 1, 25, 0.1, 0.1, 0.1, 0.1, 2.0)
    any_: Any = many
    documents = {"document": dict.fromkeys(many, LONG)}
    objects = [
        *(run, session, outputs, session.tracker, manifest, watched, MonitoredSession(session, watched)),
        *(analysed, difference, analysed.summary, GateAnalyzer(run), GateAnalyzer(run.gates), prediction),
        GateAnalyzer(session.tracker),
        analysis.AblationResult(folder, any_, any_, documents, any_, many),
        analysis.ComparisonResult(folder, any_, {"a": analysed}, frame, frame, documents, many),
        analysis.Section(LONG, LONG, {"a.png": b"x" * 5000}),
        export.Checkpoint(folder / "m.ckpt", LONG, dict.fromkeys(many, any_), {}, "opt", {"model": 1}),
        *(export.Choices(), export.Variant(), export.VerifyRequest(folder / "a.jsonl", folder / "b.jsonl")),
        *(Dataset.of(folder / "a.jsonl", folder), FeatureSources(folder, (folder,), folder, folder)),
        export.ExportResult(folder / "m.onnx", manifest, 10),
        *(monitor.LogSettings(), monitor.MonitorSettings(), monitor.WatchSettings()),
        server,
        monitor.Alarm(
            *(1, "firing", LONG, LONG, ("drift",), 25, 0.0, 1.0, 25, Diagnosis(LONG, many)),
            (reading,) * 1000,
        ),
        Baseline(any_, any_, 0.01, (25,), {}, {}, None, LONG, any_, LONG),
        LoggedVideo("segment", 0, any_),
        kinds_figure(analysed.summary.per_sample, ""),
    ]
    server.close()
    watched.close()
    return {f"{type(one).__name__} {place}": one for place, one in enumerate(objects)}


def test_every_public_object_says_in_a_line_what_it_is(
    tmp_path: Path, run: Run, analysed: AnalysisResult
) -> None:
    objects = public_objects(tmp_path, run, analysed)
    assert {type(one).__name__ for one in objects.values()} == PUBLIC
    for name, one in objects.items():
        told = repr(one)
        assert len(told) < 500 + 2 * len(str(run.path)), name
        assert not re.search(r" at 0x[0-9a-f]+", told), f"{name}: {told}"
        assert "\n" not in told, name


def test_what_a_run_and_its_outputs_say(tmp_path: Path, run: Run) -> None:
    assert repr(run) == f"Run({run.path}, 6 queries of 6 videos, clipwise, 2 layers, finished)"
    part = write_run(tmp_path / "part", random_gates(2, 1, clips=3), planned=5)
    assert repr(part).endswith("2 queries of 2 videos, clipwise, 1 layer, unfinished, 2 of 5 done)")
    (run_gone := write_run(tmp_path / "gone", random_gates(2, 1)))
    (run_gone.path / "samples.parquet").unlink()
    assert "finished" in repr(run_gone)

    manifest = tiny_model(tmp_path / "m.onnx")
    with GateSession(tmp_path / "m.onnx", device="cpu") as session:
        assert repr(session) == f"GateSession({tmp_path}/m.onnx, clipwise, 2 layers, tracked, on cpu)"
        told = repr(session.run(tiny_batch(manifest)))
    assert "attention: float32 (2, 2, 5, 1)" in told and "pred_spans: float32 (2, 3, 2)" in told
    assert repr(session).endswith(", closed)")


def test_a_result_links_to_its_report(
    run: Run, analysed: AnalysisResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path.parent)
    html = analysed._repr_html_()
    assert 'href="a%20report%20%3Cb%3E/report.html"' in html and "<b>" not in html
    assert analysed.page.exists() and str(analysed.page) in repr(analysed)


def figure_functions() -> list[Callable[..., Any]]:
    found: list[Callable[..., Any]] = []
    for path in sorted(FIGURES.glob("*.py")):
        module = import_module(f"gatescope.analysis.figures.{path.stem}")
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        ]
        found += [getattr(module, name) for name in names if name.endswith("_figure") and name[0] != "_"]
    return found


@pytest.mark.parametrize("function", figure_functions(), ids=lambda function: function.__name__)
def test_every_figure_is_one_that_shows_itself(function: Callable[..., Any]) -> None:
    assert get_type_hints(function)["return"] is style.Figure


def test_figures_are_made_in_one_place() -> None:
    """So what holds for one figure holds for all."""
    for path in FIGURES.glob("*.py"):
        made = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        names = {ast.unparse(node.func).split(".")[-1] for node in made}
        assert path.name == "style.py" or not names & {"Figure", "PlainFigure", "figure", "subplots_adjust"}
    assert type(style.new_figure(1, 1)) is style.Figure


def test_the_snippet_of_the_page_shows_a_picture_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "analyze.md").read_text(encoding="utf-8")
    snippet = text.split("## Figures in a notebook")[1].split("```python")[1].split("```")[0]
    *lines, last = ast.parse(snippet.replace('"run/"', repr(str(run.path)))).body
    scope: dict[str, Any] = {}
    exec(compile(ast.Module(lines, []), "analyze.md", "exec"), scope)
    assert isinstance(last, ast.Expr)
    figure = eval(compile(ast.Expression(last.value), "analyze.md", "eval"), scope)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert not Gcf.figs  # pyplot would show it a second time, at the end of the cell


def analysis_of_three_steps(
    *_: Any, progress: Callable[[int, int], object] = lambda _, __: None, **__: Any
) -> None:
    for step in range(3):
        progress(step, 3)


class Kernel:
    """What IPython is to code that runs in a notebook."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {"IPKernelApp": {}}


@pytest.mark.parametrize(
    ("notebook", "asked", "seen"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_an_analysis_shows_how_far_it_is_in_a_notebook(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    notebook: bool,
    asked: bool | None,
    seen: bool,
) -> None:
    if notebook:
        fake = types.ModuleType("IPython")
        fake.get_ipython = Kernel  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setattr("gatescope.runtime.progress.LINE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("gatescope.analysis.analyzer.analyze_run", analysis_of_three_steps)
    GateAnalyzer(run).analyze_all_samples("report", progress=asked)
    told = capsys.readouterr()
    assert told.out == ""
    assert ("analysing: " in told.err and " steps" in told.err) == seen


def test_the_options_of_an_analysis_are_in_its_signature(
    run: Run, analysed: AnalysisResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = inspect.signature(GateAnalyzer.analyze_all_samples).parameters
    read = {"subset_files"}  # from the subsets that are given
    assert set(AnalysisOptions.__dataclass_fields__) - read <= set(signature)
    assert not [one for one in signature.values() if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    assert any(path.suffix == ".npy" for path in analysed.files)

    given: dict[str, Any] = {}
    monkeypatch.setattr(
        "gatescope.analysis.analyzer.analyze_run", lambda *_, **options: given.update(options)
    )
    GateAnalyzer(run).analyze_all_samples(
        "report",
        annotations="val.jsonl",
        subsets={"half": [1, "2"]},
        samples="all",
        compare=[3],
        raw=True,
        plugins=["mine.py"],
    )
    subsets = {"half": frozenset({"1", "2"})}
    expected = AnalysisOptions(
        Path("val.jsonl"), subsets, samples=("all",), compare=("3",), raw=True, plugins=(Path("mine.py"),)
    )
    assert given["options"] == expected


def test_a_pandas_frame_is_told_apart() -> None:
    made: Any = type("DataFrame", (), {"__module__": "pandas.core.frame"})()
    with pytest.raises(UsageError, match=r"polars.from_pandas\(frame\)") as caught:
        GateAnalyzer(made)
    assert "LazyFrame" in str(caught.value)
