"""The commands' own parsers as plain data: what a reference in any language is written from.

Nothing here depends on the width of a terminal, on the locale, or on how a version of argparse prints help.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gatescope.runtime.cli.main import command_names, command_parser

ROOT = Path(__file__).parent.parent.parent
# Every command has these; the reference says so once.
_EVERYWHERE = ("help", "debug")
_TITLES = ("options", "positional arguments")


@dataclass(frozen=True)
class Option:
    """An option or an argument.

    - ``names``: its spellings; of an argument what stands for it. ``form``: the spelling with its value.
    - ``text``: the help. ``default``: what it is without being given, as text; None where that is nothing.
    """

    names: tuple[str, ...]
    form: str
    text: str
    default: str | None
    required: bool


@dataclass(frozen=True)
class OptionGroup:
    """Options under a heading of the help; ``title`` is empty for those that stand under none."""

    title: str
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class CommandEntry:
    """A command or a subcommand, by its whole name: ``gatescope monitor watch``."""

    name: str
    summary: str
    usage: str
    example: str
    groups: tuple[OptionGroup, ...]
    subcommands: tuple[CommandEntry, ...]

    @property
    def options(self) -> Iterator[Option]:
        """All of its own options."""
        return (option for group in self.groups for option in group.options)


def own_commands() -> list[CommandEntry]:
    """Every command of gatescope itself, as somebody new needs them; packages of users may add others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = project["entry-points"]["gatescope.commands"]
    return [_entry(command_parser(name)[1]) for name in command_names() if name in names]


def all_commands() -> Iterator[CommandEntry]:
    """The same, each followed by its subcommands."""
    for entry in own_commands():
        yield entry
        yield from entry.subcommands


def _entry(parser: argparse.ArgumentParser) -> CommandEntry:
    actions: list[argparse.Action] = parser._actions
    below = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    groups = [
        OptionGroup(
            "" if (title := group.title or "") in _TITLES else title,
            _words(group.description),
            tuple(_option(action, parser.prog) for action in group._group_actions if _is_told(action)),
        )
        for group in parser._action_groups
    ]
    plain = tuple(option for group in groups if not group.title for option in group.options)
    first = [OptionGroup("", "", plain)] if plain else []
    subcommands = [_entry(own) for action in below for own in cast("dict[str, Any]", action.choices).values()]
    return CommandEntry(
        parser.prog,
        _words(parser.description),
        _usage(parser.prog, actions),
        _example(parser.epilog or ""),
        (*first, *(group for group in groups if group.title and group.options)),
        tuple(subcommands),
    )


def _is_told(action: argparse.Action) -> bool:
    return action.dest not in _EVERYWHERE and not isinstance(action, argparse._SubParsersAction)


def _option(action: argparse.Action, prog: str) -> Option:
    text = _words((action.help or "") % {**vars(action), "prog": prog})
    # Some versions of argparse write this themselves.
    if isinstance(action, argparse.BooleanOptionalAction):
        text = text.partition(" (default: ")[0]
    value = _value(action)
    if not action.option_strings:
        return Option((action.dest,), value, text, None, required=action.nargs not in ("?", "*"))
    names = tuple(action.option_strings)
    form = ", ".join(f"{name} {value}".strip() for name in names)
    return Option(names, form, text, _default(action), required=action.required)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
    one = str(action.metavar or choices or action.dest.upper())
    several = {"?": f"[{one}]", "*": f"[{one} …]", "+": f"{one} [{one} …]"}
    return several.get(str(action.nargs), one)


def _default(action: argparse.Action) -> str | None:
    default = action.default
    if default is None or default is False or default == [] or default == argparse.SUPPRESS:
        return None
    return f"{default:g}" if isinstance(default, float) else str(default)


def _usage(prog: str, actions: list[argparse.Action]) -> str:
    words = [prog]
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            words.append("SUBCOMMAND")
        elif not action.option_strings:
            words.append(_value(action))
    for action in actions:
        if action.option_strings and action.required:
            words.append(f"{action.option_strings[-1]} {_value(action)}")
    return " ".join([*words, "[OPTION …]"])


def _example(epilog: str) -> str:
    lines = epilog.removeprefix("example:").strip("\n").splitlines()
    return "\n".join(line.removeprefix("  ") for line in lines)


def _words(text: str | None) -> str:
    return " ".join((text or "").split())
