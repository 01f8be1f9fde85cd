"""The command that failed, with the options that an error says are the way on: to be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

# Options that another one excludes: a user's own code decides what these say.
_EXCLUDED = {
    "--code": (
        *("--heads", "--fusion-heads", "--attention-activation"),
        *("--text-positions", "--no-text-positions", "--optimize", "--precision"),
    )
}
# Options that no value follows; their other form is --no-….
_SWITCHES = ("--tef", "--text-positions")


def command_again(arguments: Sequence[str], options: Sequence[str]) -> str:
    """One command line: ``arguments`` as they were given, ``options`` in place of those of the same name.

    ``options`` are words as a shell would split them, and so are values after their option.
    """
    names = {word for word in options if word.startswith("--")}
    names |= {other for name in names for other in _EXCLUDED.get(name, ())}
    switches = {form for name in _SWITCHES for form in _forms(name)}
    names |= {form for name in names & switches for form in _forms(name)}
    kept: list[str] = []
    value_follows = False
    for word in arguments:
        if word.startswith("--"):
            name, assigned, _ = word.partition("=")
            value_follows = name in names - switches and not assigned
            if name not in names:
                kept.append(word)
        elif value_follows:
            value_follows = False
        else:
            kept.append(word)
    return shlex.join(["gatescope", *kept, *options])


def _forms(switch: str) -> tuple[str, str]:
    """Both forms of an option that no value follows."""
    name = "--" + switch.removeprefix("--").removeprefix("no-")
    return name, f"--no-{name[2:]}"
