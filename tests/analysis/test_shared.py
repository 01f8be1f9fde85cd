"""What is passed on names no home folders, and the page links to nothing that may not be there."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from gatescope.analysis.analyze import analyze_run
from gatescope.analysis.comparison.compare import compare_runs
from gatescope.analysis.report.context import AnalysisOptions
from gatescope.analysis.report.html.markup import to_html
from gatescope.analysis.report.markdown import shared_name, without_folders
from gatescope.runtime.gates.certificate import Certificate, Verification
from gatescope.runtime.runs.info import FileRef, Skipped
from gatescope.runtime.runs.reader import Run, open_run
from tests.analysis.runs import manifest_of, random_gates, write_run

FAILING = """
from gatescope.analysis import statistic

@statistic("mine")
def mine(gates):
    raise ValueError("no")
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose every path is absolute and lies in somebody's home folder, with something wrong in each."""
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG undrawn"))
    home = tmp_path / "home" / "kim"
    verified = Verification(str(home / "results" / "preds.jsonl"), "0" * 64, 3, 4, {"score": 1e-6})
    manifest = replace(
        manifest_of("clipwise", 2),
        warnings=(f"no options beside {home / 'results'}/model_best.ckpt: defaults are used",),
        certificate=Certificate("the model", (), {"gate_ffn": 1e-6}, 1e-4, verified),
    )
    made = write_run(
        home / "report" / "run",
        random_gates(4),
        manifest=manifest,
        audio=str(home / "features" / "pann"),
        skipped=[Skipped("77", f"{home}/features/clip/v77.npz is missing")],
    )
    info = replace(
        made.record,
        model=FileRef(str(home / "m" / "model.onnx"), "a" * 64),
        annotations=FileRef(str(home / "data" / "val.jsonl"), "b" * 64),
    )
    (made.path / "run.json").write_bytes(info.to_json())
    return open_run(made.path)


@pytest.mark.parametrize("audio", [False, True])
def test_a_report_names_files_and_no_folders(run: Run, tmp_path: Path, audio: bool) -> None:
    if audio:  # the folder is there, its files are not
        Path(run.record.features.audio).mkdir(parents=True)
    plugin = tmp_path / "home" / "own.py"
    plugin.write_text(FAILING, encoding="utf-8")
    result = analyze_run(run, tmp_path / "out", options=AnalysisOptions(plugins=(plugin,), samples=("all",)))
    for name in ("ANALYSIS_REPORT.md", "report.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8").replace("\\", "")
        assert str(tmp_path) not in html.unescape(text), name
        assert "kim" not in text, name
        for told in ("model.onnx", "val.jsonl", "report/run", "preds.jsonl", "v77.npz"):
            assert told in text, (name, told)
    assert result.warnings


def test_the_page_links_to_itself_alone(run: Run, tmp_path: Path) -> None:
    analyze_run(run, tmp_path / "out", options=AnalysisOptions(samples=("all",)))
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "[statistics](individual_samples/" in (tmp_path / "out" / "ANALYSIS_REPORT.md").read_text(
        encoding="utf-8"
    )
    targets = re.findall(r"""(?:href|src)\s*=\s*["']([^"']*)""", text)
    assert targets
    assert [one for one in targets if not one.startswith(("#", "data:"))] == []
    assert 'title="individual_samples/1000_details.json">statistics</span>' in text


def test_a_comparison_names_no_folders(run: Run, tmp_path: Path) -> None:
    other = write_run(tmp_path / "home" / "kim" / "other" / "run", random_gates(4, seed=1))
    compare_runs([run, other], tmp_path / "out")
    text = (tmp_path / "out" / "COMPARISON.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "report/run" in text


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/kim/m.onnx", "m.onnx"),
        ("~/m.onnx", "m.onnx"),
        ("C:\\Users\\Kim Lee\\m.onnx", "m.onnx"),
        ("/home/kim/seed1/run", "seed1/run"),
        ("/run", "run"),
        ("data/m.onnx", "data/m.onnx"),
        ("(unknown: the model was run by its user)", "(unknown: the model was run by its user)"),
    ],
)
def test_what_a_file_is_called(path: str, shown: str) -> None:
    assert shared_name(path) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("beside /home/kim/m.ckpt: defaults", "beside m.ckpt: defaults"),
        ("12 and/or 3.5/4, /a", "12 and/or 3.5/4, /a"),
        ("(/home/kim/x.npz)", "(x.npz)"),
        ("it is in ~/data/x.npz.", "it is in x.npz."),
        ("https://example.org/a/b stays", "https://example.org/a/b stays"),
        ("C:\\Users\\kim\\x.npz is", "x.npz is"),
    ],
)
def test_sentences_lose_the_folders_of_paths(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_links_of_a_page() -> None:
    shown = to_html("[a](b/c.json) [d](https://example.org) [e](#f)")
    assert '<span class="file" title="b/c.json">a</span>' in shown
    assert '<a href="https://example.org">d</a> <a href="#f">e</a>' in shown
