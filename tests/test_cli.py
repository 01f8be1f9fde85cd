"""The command line: help, versions, exit codes, and no traceback for any failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatescope.runtime import plugins
from gatescope.runtime.cli.main import main

COMMANDS = plugins.names(plugins.COMMANDS)
README = (Path(__file__).parent.parent / "README.md").read_text()


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("gatescope ")


def test_help_lists_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name}" in out for name in COMMANDS)
    assert "cannot be loaded" not in out


def test_no_command_is_bad_usage(capsys) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["export"], ["run", "--nonsense"], ["--nonsense"]])
def test_bad_usage_exits_2(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_a_place_in_the_readme(name, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"gatescope {name}" in out.split("example:")[1]
    assert f"gatescope {name}" in README


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "--checkpoint", "absent.pth"],
        ["run", "absent.onnx", "--annotations", "a.jsonl", "--features", "f", "--output", "r"],
        ["analyze", "absent", "--output", "r"],
    ],
)
def test_named_failures_exit_1_without_a_traceback(arguments, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gatescope.runtime.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "absent" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path) -> None:
    program = [
        sys.executable,
        "-m",
        "gatescope.runtime.cli.main",
        "export",
        "--debug",
        "--checkpoint",
        "no.pth",
    ]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "Traceback" in done.stderr


def test_missing_extra_is_a_message(tmp_path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')\n")
    done = subprocess.run(
        [sys.executable, "-m", "gatescope.runtime.cli.main", "export", "--checkpoint", "m.pth"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "gatescope[export]" in done.stderr
    assert "Traceback" not in done.stderr
