"""Statistics and figures of users' own: registered, loaded, computed, reported, and named where they fail."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from gatescope.analysis import GateAnalyzer, analyze_run, statistic
from gatescope.analysis.plugins import registry
from gatescope.analysis.plugins.loading import load_plugins
from gatescope.analysis.report.context import AnalysisOptions
from gatescope.analysis.statistics.bootstrap import VideoBootstrap
from gatescope.runtime import plugins as entry_points
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import GatescopeError, UsageError

from .runs import random_gates, write_run

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
HEAD = "from gatescope.analysis import figure, statistic\nfrom matplotlib.figure import Figure\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing registered before or after; figures are made but not drawn."""
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG undrawn"))
    monkeypatch.setattr(registry, "_registered", {})
    entry_points.names.cache_clear()
    yield
    registry.forget_files()
    entry_points.names.cache_clear()


def plugin(folder: Path, code: str, name: str = "my_metrics.py") -> Path:
    path = folder / name
    path.write_text(HEAD + code, encoding="utf-8")
    return path


def analysed(folder: Path, *files: Path, samples: int = 4) -> dict[str, Any]:
    """The ``plugins`` entry of an analysis with the plug-ins ``files``."""
    gates = random_gates(samples)
    videos = {name: f"v{number // 2}" for number, name in enumerate(gates)}
    run = write_run(folder / "run", gates, videos=videos)
    analyze_run(run, folder / "report", options=AnalysisOptions(plugins=files))
    return json.loads((folder / "report" / "overall_statistics.json").read_text(encoding="utf-8")).get(
        "plugins"
    )


def values_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "report" / "plugin_statistics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_entropy_of_the_page_is_a_plugin_as_it_stands(tmp_path: Path, capsys: Any) -> None:
    code = next(one for one in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "@statistic" in one)
    entropy = code.split("@figure")[0]
    assert len(entropy.strip().splitlines()) < 15
    path = tmp_path / "my_metrics.py"
    path.write_text(code, encoding="utf-8")
    gates = random_gates(5, 3, clips=30)
    videos = {name: f"v{number // 2}" for number, name in enumerate(gates)}
    write_run(tmp_path / "run", gates, videos=videos)
    folder = tmp_path / "report"
    assert main(["analyze", str(tmp_path / "run"), "--output", str(folder), "--plugin", str(path)]) == 0

    def bits(values: Any) -> float:
        counts = np.unique(np.clip(((values.ravel() + 1) * 32).astype(int), 0, 63), return_counts=True)[1]
        return -sum(count / values.size * math.log2(count / values.size) for count in counts)

    told, found = (
        capsys.readouterr(),
        json.loads((folder / "overall_statistics.json").read_text(encoding="utf-8"))["plugins"],
    )
    assert "warning" not in told.err and found["failures"] == []
    rows = values_of(tmp_path)
    report = (folder / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    for kind in ("attention", "ffn"):
        expected = [bits(own[kind]) for own in gates.values()]
        np.testing.assert_allclose([float(row[f"gate entropy.{kind}"]) for row in rows], expected, rtol=1e-6)
        row = found["statistics"]["gate entropy"][kind]
        interval = VideoBootstrap(list(videos.values())).mean(expected)
        assert row["mean"] == pytest.approx(interval.estimate)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        assert (row["min"], row["max"]) == pytest.approx((min(expected), max(expected)))
        assert row["std"] == pytest.approx(np.std(expected)) and row["videos"] == 3
        assert f"gate entropy.{kind}: mean {row['mean']:.3f} [" in told.out
        assert f"| gate entropy.{kind} | 5 | {row['mean']:.3f} \\[" in report
    assert [(row["sample_id"], row["vid"]) for row in rows] == list(videos.items())
    (name,) = found["figures"].values()
    assert (folder / name).read_bytes().startswith(b"\x89PNG") and f"]({name})" in report
    assert "## Your own statistics" in report
    assert "Your own statistics" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_single_number_and_the_three_frames(tmp_path: Path) -> None:
    path = plugin(
        tmp_path,
        """
seen = {}
@statistic("largest gate")
def largest(gates):
    '''The largest |g|.

    Not shown.'''
    assert {kind: values.dtype.name for kind, values in gates.items()} == dict.fromkeys(gates, "float32")
    return max(abs(values).max() for values in gates.values())

@figure("one")
def one(frame):
    assert frame.columns[:4] == ["sample_id", "vid", "layer", "gate"] and len(frame) == 4 * 2 * 2
    return Figure()

@figure("two", frame="layers")
def two(frame):
    assert frame.columns[:2] == ["layer", "gate"] and "mean" in frame.columns and len(frame) == 2 * 2
    return Figure()

@figure("three", frame="statistics")
def three(frame):
    assert frame.columns == ["sample_id", "vid", "largest gate"] and len(frame) == 4
    return Figure()
""",
    )
    found = analysed(tmp_path, path)
    assert found["failures"] == []
    assert found["figures"] == {name: f"plugins/{name}.png" for name in ("one", "two", "three")}
    expected = [max(abs(own[kind]).max() for kind in own) for own in random_gates(4).values()]
    np.testing.assert_allclose([float(row["largest gate"]) for row in values_of(tmp_path)], expected)
    assert list(found["statistics"]["largest gate"]) == [""]
    assert "The largest |g|.\n" in (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(
        encoding="utf-8"
    ).replace("\\", "")


FAILING_STATISTICS = {
    "raises": ('return {}["no"]', "KeyError: 'no'"),
    "changes the gates": ('gates["ffn"][:] = 0', "read-only"),
    "forgets to return": ("gates", "returned nothing (None)"),
    "text": ('return "0.5"', "returned a str; expected a number, or a dict"),
    "array": ('return gates["ffn"]', "ndarray of the shape (2, "),
    "empty": ("return {}", "an empty dict"),
    "keys": ("return {0: 1.0}", "a key of its dict is 0; expected text"),
    "values": ('return {"a": "b"}', "holds a str under 'a'"),
    "ids": ("return {str(i): 1.0 for i in range(300)}", "more than 200 different keys"),
}
FAILING_FIGURES = {
    "raises": ('return frame["no"]', "ColumnNotFoundError"),
    "is none": ("return frame", "returned a DataFrame; expected a matplotlib Figure"),
}


def test_what_fails_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    code = "".join(
        [f'@statistic("{name}")\ndef f(gates): {body}\n' for name, (body, _) in FAILING_STATISTICS.items()]
        + [f'@figure("{name}")\ndef f(frame): {body}\n' for name, (body, _) in FAILING_FIGURES.items()]
    )
    well = '@statistic("well")\ndef well(gates): return 2\n@figure("fine")\ndef fine(_): return Figure()\n'
    path = plugin(tmp_path, code + well)
    found = analysed(tmp_path, path)
    failures = {(failure["what"], failure["name"]): failure for failure in found["failures"]}
    for what, failing in (("statistic", FAILING_STATISTICS), ("figure", FAILING_FIGURES)):
        for name, (_, said) in failing.items():
            failure = failures.pop((what, name))
            assert said in failure["error"] and str(path) in failure["place"]
            assert failure["samples"] == (4 if what == "statistic" else 0) and failure["of"] == 4
    assert not failures
    assert list(found["statistics"]) == ["well"] and list(found["figures"]) == ["fine"]
    assert found["statistics"]["well"][""]["mean"] == 2
    report = (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    assert report.count("⚠") == len(FAILING_STATISTICS) + len(FAILING_FIGURES)


def test_failing_for_one_sample_keeps_the_others(tmp_path: Path, capsys: Any) -> None:
    write_run(tmp_path / "run", random_gates(4))
    path = plugin(
        tmp_path,
        """
calls = []
@statistic("third time")
def third(gates):
    calls.append(gates)
    if len(calls) == 3:
        raise RuntimeError("<b>|no\\nluck")
    return {"n": len(calls), "odd": float("nan")}
""",
    )
    command = ["analyze", str(tmp_path / "run"), "--output", str(tmp_path / "report"), "--plugin", str(path)]
    assert main([*command, "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)["statistics"]["plugins"]
    assert [row["third time.n"] for row in values_of(tmp_path)] == ["1.0", "2.0", "NaN", "4.0"]
    assert found["statistics"]["third time"]["n"]["mean"] == pytest.approx(7 / 3)
    assert found["statistics"]["third time"]["n"]["samples"] == 3
    assert found["statistics"]["third time"]["odd"]["mean"] is None
    assert "failed for 1 of 4 samples, first for '1002': RuntimeError: <b>|no" in told.err
    assert "&lt;b&gt;\\|no luck" in (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")


BAD_FILES = {
    "a slip": ("def x(:", "SyntaxError"),
    "a module that is not there": ("import no_such_module_x", "ModuleNotFoundError"),
    "it exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "nothing in it": ("", "registers nothing"),
    "a name twice": (
        '@statistic("a b")\ndef x(gates): return 1\n@statistic("A_b")\ndef y(gates): return 1',
        "two statistics have the name 'A_b'",
    ),
    "a name that is none": ('@figure("../up")\ndef x(frame): return Figure()', "'../up'"),
    "a name that is taken": ('@statistic("vid")\ndef x(gates): return 1', "not sample_id or vid"),
    "no name": ("@statistic\ndef x(gates): return 1", "cannot be the name of a statistic"),
    "another frame": (
        '@figure("x", frame="rows")\ndef x(frame): return Figure()',
        "samples, layers, statistics",
    ),
}


@pytest.mark.parametrize(("code", "said"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_files_that_cannot_be_loaded_are_named_first(
    tmp_path: Path, code: str, said: str, capsys: Any
) -> None:
    write_run(tmp_path / "run", random_gates(2))
    path = plugin(tmp_path, code)
    command = ["analyze", str(tmp_path / "run"), "--output", str(tmp_path / "report"), "--plugin", str(path)]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert str(path) in err and said in err and "Traceback" not in err
    assert not (tmp_path / "report").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no plug-in"):
        load_plugins([tmp_path / "none.py"])


def test_several_files_may_be_given_and_import_what_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "beside_the_plugin.py").write_text("LEVEL = 7", encoding="utf-8")
    one = plugin(tmp_path, "import beside_the_plugin as b\n@statistic('one')\ndef f(g): return b.LEVEL")
    two = plugin(tmp_path, "@statistic('two')\ndef f(g): return 2", "no python ending")
    found = analysed(tmp_path, one, two, one)
    assert {name: rows[""]["mean"] for name, rows in found["statistics"].items()} == {"one": 7, "two": 2}
    other = plugin(tmp_path, "@statistic('one')\ndef f(g): return 3", "other.py")
    with pytest.raises(GatescopeError, match="two statistics have the name 'one'") as caught:
        load_plugins([one, other])
    assert str(one) in str(caught.value) and str(other) in str(caught.value)


def test_a_file_counts_for_its_own_analysis_only(tmp_path: Path) -> None:
    path = plugin(tmp_path, "@statistic('one')\ndef f(g): return 1")
    assert analysed(tmp_path, path)["statistics"]
    analyze_run(tmp_path / "run", tmp_path / "report")
    assert "plugins" not in json.loads(
        (tmp_path / "report" / "overall_statistics.json").read_text(encoding="utf-8")
    )
    assert not (tmp_path / "report" / "plugin_statistics.csv").exists()


def test_what_a_notebook_registers_counts_and_its_cells_may_run_again(tmp_path: Path) -> None:
    for value in (1.0, 2.0):

        def level(gates: Any, value: float = value) -> float:
            return value

        level.__module__ = "__main__"
        statistic("level")(level)
    write_run(tmp_path / "run", random_gates(3))
    result = GateAnalyzer(tmp_path / "run").analyze_all_samples(tmp_path / "report")
    assert result.document["plugins"]["statistics"]["level"][""]["mean"] == 2


def test_installed_packages_add_theirs_and_a_broken_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    site = tmp_path / "site"
    (site / "own_gates-1.0.dist-info").mkdir(parents=True)
    (site / "own_gates-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: own-gates\nVersion: 1.0\n", encoding="utf-8"
    )
    (site / "own_gates-1.0.dist-info" / "entry_points.txt").write_text(
        "[gatescope.analysis]\nown = own_gates_x\nbroken = own_gates_y\n", encoding="utf-8"
    )
    plugin(site, "@statistic('packaged')\ndef f(g): return 5", "own_gates_x.py")
    (site / "own_gates_y.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    write_run(tmp_path / "run", random_gates(3))
    for _ in range(2):
        assert main(["analyze", str(tmp_path / "run"), "--output", str(tmp_path / "report")]) == 0
        told = capsys.readouterr()
        assert "packaged: mean 5" in told.out
        assert "The package 'broken' could not be loaded: ZeroDivisionError" in told.err


def test_subclasses_of_the_analyzer_go_through_the_history(tmp_path: Path) -> None:
    class Custom(GateAnalyzer):
        def custom_visualization(self) -> dict[str, float]:
            history = self.model.gate_history
            return {
                sample: float(np.mean([abs(gates).mean() for gates in data["attention_gates"]]))
                for sample, data in history.items()
            }

    gates = random_gates(3, clips=6)
    write_run(tmp_path / "run", gates)
    found = Custom(tmp_path / "run").custom_visualization()
    assert found == pytest.approx({name: abs(own["attention"]).mean() for name, own in gates.items()})
