"""The command line: help, versions, exit codes, and no traceback for any failure."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from gatescope.runtime import plugins
from gatescope.runtime.cli import installation
from gatescope.runtime.cli.main import SHELLS, command_names, command_parser, main
from gatescope.runtime.cli.parser import OLD_FLAGS, Parser, nearest
from gatescope.runtime.errors import GatescopeError

PROGRAM = (sys.executable, "-m", "gatescope.runtime.cli.main")
COMMANDS = plugins.names(plugins.COMMANDS)


def test_help_lists_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name}" in out for name in COMMANDS)
    assert "cannot be loaded" not in out


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Every option and argument of a command and of its subcommands."""
    found: list[argparse.Action] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [one for own in action.choices.values() for one in options_of(own)]
        else:
            found.append(action)
    return found


@pytest.mark.parametrize("name", command_names())
def test_every_option_has_a_help_text(name) -> None:
    _, parser = command_parser(name)
    assert not [action.option_strings or action.dest for action in options_of(parser) if not action.help]


def test_no_command_is_bad_usage(capsys) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["version"]])
def test_every_way_to_ask_for_the_version(arguments, capsys) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("gatescope ")


def test_what_is_installed(capsys) -> None:
    assert main(["version"]) == 0
    told = capsys.readouterr().out
    for name in ("Python 3", "cores", "GPU: ", "numpy", "torch", "matplotlib", "providers: "):
        assert name in told
    assert "pytest" not in told


@pytest.mark.parametrize(
    ("builds", "told"), [((), "no ONNX Runtime"), (("onnxruntime", "onnxruntime-gpu"), "both installed")]
)
def test_builds_of_onnx_runtime_that_cannot_work(builds, told, monkeypatch) -> None:
    def version(package: str) -> str:
        if package not in ("gatescope", *builds):
            raise PackageNotFoundError(package)
        return "1.32.0"

    monkeypatch.setattr(installation, "version", version)
    assert told in "\n".join(installation.installation())


def test_help_of_a_command_by_the_word(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["help", "run"])
    assert caught.value.code == 0
    assert "usage: gatescope run" in capsys.readouterr().out
    assert main(["help"]) == 0


def test_commands_are_listed_as_somebody_new_needs_them() -> None:
    names = command_names()
    assert sorted(names) == sorted(COMMANDS)
    assert names[:3] == ["demo", "report", "inspect"]


def refusal(arguments: list[str], capsys) -> str:
    """What stands on stderr after the usage where ``arguments`` are bad usage; nothing is on stdout."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err[err.index("error: ") :]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["analyse", "run/"], "did you mean analyze?"),
        (["reprot"], "did you mean report?"),
        (["run", "m.onnx", "--outptu", "x"], "--outptu: did you mean --output?"),
        (["run", "--batch_size", "3"], "--batch_size: here --batch-size"),
        (["monitor", "wach"], "did you mean watch?"),
        (["monitor", "watch", "log", "--basline=b.json"], "--basline: did you mean --baseline?"),
        (["run", "--device", "cudda"], "there is no 'cudda', there are auto, cpu, cuda: did you mean cuda?"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(arguments, meant, capsys) -> None:
    assert meant in refusal(arguments, capsys)


@pytest.mark.parametrize("flag", sorted(OLD_FLAGS))
@pytest.mark.parametrize("name", ["run", "export", "report", "analyze", "demo"])
def test_flags_of_the_earlier_scripts_are_answered_with_ours(name, flag, capsys) -> None:
    """Also where options that are required are missing: nobody who migrates has those yet."""
    told = refusal([name, flag, "value"], capsys)
    assert flag in told
    assert "required" not in told
    assert ("earlier scripts" in told) or (f"here {flag.replace('_', '-')}" in told)


def test_what_the_hints_name_exists() -> None:
    """Every option that a hint names is one of ours, of the command it names or of ``report``."""
    for told in OLD_FLAGS.values():
        options = re.findall(r"--[a-z-]+", told)
        named = re.findall(r"gatescope ([a-z]+)", told) or ["report"]
        for name in named:
            _, parser = command_parser(name)
            assert set(options) <= set(parser.option_names), told


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command_and_option(shell, capsys) -> None:
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    for name in ("report", "monitor", "watch", "max-samples", "metrics-port"):
        assert name in script


def test_a_command_that_cannot_be_loaded_leaves_completion_to_the_others(monkeypatch, capsys) -> None:
    names, load = plugins.names, plugins.load

    def broken(group: str, name: str) -> Any:
        if name == "broken":
            raise GatescopeError("it imports what is not there")
        return load(group, name)

    monkeypatch.setattr(plugins, "names", lambda group: [*names(group), "broken"])
    monkeypatch.setattr(plugins, "load", broken)
    assert main(["--completion", "bash"]) == 0
    out, err = capsys.readouterr()
    assert "max-samples" in out
    assert err == "gatescope: 'broken' is not completed: it imports what is not there\n"


@pytest.mark.parametrize("arguments", [["--debug", "inspect", "--", "--x"], ["--debug", "monitor", "check"]])
def test_debug_before_a_command_is_no_argument_of_it(arguments, capsys) -> None:
    """Not even behind a ``--``, after which all is an argument."""
    with pytest.raises((SystemExit, GatescopeError)) as caught:
        main(arguments)
    assert "debug" not in str(caught.value) + capsys.readouterr().err.rpartition("error:")[2]


def test_a_users_command_may_pass_options_on() -> None:
    parser = Parser(prog="own")
    parser.add_argument("--seed")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    assert parser.parse_args(["python", "x.py", "--epochs", "3"]).program == [
        "python",
        "x.py",
        "--epochs",
        "3",
    ]


def test_an_option_like_none_gets_no_hint() -> None:
    """The dashes that all options have make none of them alike."""
    assert nearest("--model", ["--help", "--device"]) == ""
    assert nearest("--modl", ["--help", "--model"]) == ": did you mean --model?"


def test_the_completion_is_what_bash_completes(tmp_path) -> None:
    script = tmp_path / "complete.sh"
    script.write_text(
        subprocess.check_output([*PROGRAM, "--completion", "bash"], text=True), encoding="utf-8"
    )
    asked = f"""source {script}
        COMP_WORDS=(gatescope run --bat); COMP_CWORD=2; _shtab_gatescope gatescope --bat run
        echo "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["--batch-size"], done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("errors", ["strict", ""])
def test_output_in_any_encoding(encoding, errors, tmp_path) -> None:
    """No sign of a message or a result is beyond what the terminal can show."""
    signs = "… − – █ ‖ ≥ ≤ × → ± 가 é"
    program = (
        "from gatescope.runtime.cli.streams import write_any_sign; import sys; write_any_sign();"
        f"print({signs!a}); print({signs!a}, file=sys.stderr)"  # a C locale passes no other signs on
    )
    coded = f"{encoding}:{errors}" if errors else encoding
    environment = {**os.environ, "PYTHONIOENCODING": coded, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    for text in (done.stdout.decode(encoding), done.stderr.decode(encoding)):
        assert len(text.split()) == len(signs.split())
        assert "?" not in text
    if encoding == "ascii":
        assert done.stdout.decode(encoding).startswith("... - - # || >= <= x -> +- \\uac00")


def test_a_command_finishes_in_ascii(tmp_path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"}
    for arguments in (["--help"], ["run", "--help"], ["inspect", "absent…"]):
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, env=environment, check=False)
        assert b"UnicodeEncodeError" not in done.stderr
        assert b"fault in gatescope" not in done.stderr


def test_an_interrupt_that_python_drops_ends_the_command_all_the_same(tmp_path) -> None:
    """A signal that arrives in the callback of a weak reference is printed and forgotten by Python itself."""
    program = """
import signal, sys, time, weakref
from gatescope.runtime.cli import main as cli
class Thing: pass
def interrupted(_): signal.raise_signal(signal.SIGINT)
def work(arguments):
    thing = Thing()
    held = weakref.ref(thing, interrupted)
    del thing
    time.sleep(60)
    return 0
cli._dispatch = work
sys.exit(cli.main([]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "gatescope: interrupted\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["diff"], ["run", "--nonsense"], ["--nonsense"]])
def test_bad_usage_exits_2(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"gatescope {name}" in out.split("example:")[1]


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
    (tmp_path / "torch.py").write_text(
        "raise ModuleNotFoundError('no torch', name='torch')\n", encoding="utf-8"
    )
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
