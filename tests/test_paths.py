"""``~`` is the user's home in every option and every public call that takes a path."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from gatescope.runtime import plugins
from gatescope.runtime.cli.main import command_names, command_parser
from gatescope.runtime.cli.options import expanded, file_path
from gatescope.runtime.files import local
from tests.runtime.tiny_case import TinyCase
from tests.undrawn import undrawn

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for room in ("runtime", "export", "analysis") for path in (ROOT / room).rglob("*.py"))
ANY_PATH = re.compile(r"str \| (Path|os\.PathLike)|Path \| str")
NAMES_A_PATH = {"DIR", "FILE", "ROOT", "RUN", "LOGDIR", "PREDICTIONS", "RUN_A", "RUN_B"}
# Their Python calls expand them: they may also be NAME=RUN, or are opened as they are.
EXPANDED_LATER = {"run", "one", "other"}


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Every option of a command and of its subcommands."""
    found: list[argparse.Action] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for own in action.choices.values():
                found += options_of(own)
        else:
            found.append(action)
    return found


@pytest.mark.parametrize("name", command_names())
def test_options_that_name_a_file_expand_the_home(name) -> None:
    own = str(plugins.load(plugins.COMMANDS, name).run.__module__).startswith("gatescope.")
    assert own
    _, parser = command_parser(name)
    kept = [
        action.dest
        for action in options_of(parser)
        if (action.type is Path or action.metavar in NAMES_A_PATH)
        and action.type not in (file_path, expanded)
        and action.dest not in EXPANDED_LATER
    ]
    assert not kept


def as_given(function: ast.FunctionDef) -> set[str]:
    """Names of the parameters of ``function`` that are text or a path."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {one.arg for one in arguments if one.annotation and ANY_PATH.search(ast.unparse(one.annotation))}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_caller_gives_as_a_path_is_taken_by_local(source) -> None:
    """``Path(x)`` of a parameter that may be text would take ``~`` literally."""
    for function in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef) or not (given := as_given(function)):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in ("Path", "map"):
                continue
            text = [ast.unparse(one) for one in call.args]
            first = text[0].partition("[")[0] if text else ""
            literal = first in given or (first == "Path" and text[1] in given)
            assert not literal or function.name == "local", f"{function.name}: {ast.unparse(call)}"


def test_local_expands_the_home_and_nothing_else(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local("~/run") == tmp_path / "run"
    assert local("a/~/b") == Path("a/~/b")
    assert local("~nobody-is-called-so/x") == Path("~nobody-is-called-so/x")
    assert expanded("~/slowfast") == str(tmp_path / "slowfast")
    assert expanded("../features/clip/") == "../features/clip/"


def test_a_subset_s_file_expands_the_home(monkeypatch, tmp_path) -> None:
    from gatescope.runtime.data.subsets import read_subsets

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "qids.txt").write_text("1\n2\n", encoding="utf-8")
    assert read_subsets(["some=~/qids.txt"], ["1"]) == {"some": frozenset("12")}


def test_public_calls_expand_the_home(monkeypatch, tmp_path) -> None:
    from gatescope.analysis import GateAnalyzer, diff_runs
    from gatescope.runtime import GateSession, batches, open_run
    from gatescope.runtime.running.pipeline import run_model

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    TinyCase(tmp_path)
    run_model("~/m.onnx", "~/data/val.jsonl", "~/data", "~/run", device="cpu", batch_size=2)
    assert open_run("~/run").path == tmp_path / "run"
    with undrawn():
        GateAnalyzer("~/run").analyze_all_samples("~/report", samples=[])
    assert (tmp_path / "report" / "ANALYSIS_REPORT.md").is_file()
    assert diff_runs("~/run", "~/run").within
    with GateSession("~/m.onnx", device="cpu") as session:
        ids, _ = next(iter(batches(session.manifest, "~/data/val.jsonl", features="~/data")))
    assert ids
    assert not (tmp_path / "~").exists()
