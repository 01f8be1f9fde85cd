"""The command an error ends with, where options are all that it takes to go on."""

from __future__ import annotations

import pytest

from gatescope.runtime import plugins
from gatescope.runtime.cli import main as entry
from gatescope.runtime.cli.again import command_again
from gatescope.runtime.errors import VerificationError

CASES = {
    "added": ("export --checkpoint m.ckpt", ("--heads", "8"), "export --checkpoint m.ckpt --heads 8"),
    "instead of the one given": (
        "export --gating global --checkpoint m.ckpt",
        ("--gating", "clipwise"),
        "export --checkpoint m.ckpt --gating clipwise",
    ),
    "given with a sign": (
        "export r/ --gating=global",
        ("--gating", "clipwise"),
        "export r/ --gating clipwise",
    ),
    "a switch, before a folder": ("export --tef r/", ("--no-tef",), "export r/ --no-tef"),
    "several of one name": (
        "export --video-features a --video-features b r/",
        ("--video-features", "b", "--video-features", "a"),
        "export r/ --video-features b --video-features a",
    ),
    "one that excludes another": (
        "export --heads 4 r/ --no-text-positions",
        ("--code", "r/code.zip"),
        "export r/ --code r/code.zip",
    ),
    "a path with a space": ("export r/", ("--code", "my code.zip"), "export r/ --code 'my code.zip'"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_command_is_whole(case) -> None:
    given, options, wanted = CASES[case]
    assert command_again(given.split(), options) == f"gatescope {wanted}"


def test_it_is_printed_below_the_error(monkeypatch, capsys) -> None:
    def fail(_name, _arguments) -> int:
        raise VerificationError("they differ", fix="give --heads 8", again=("--heads", "8"))

    monkeypatch.setattr(entry, "run_command", fail)
    monkeypatch.setattr(plugins, "names", lambda _group: ["export"])
    assert entry.main(["export", "r/"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == ["  to do: give --heads 8", "  command: gatescope export r/ --heads 8"]
