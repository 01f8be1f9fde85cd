"""The command reference, docs/commands.md and docs/ko/commands.md, from the commands' own parsers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .parsers import CommandEntry, Option, OptionGroup, all_commands, own_commands

_SENTENCES = re.compile(r"(?<=[.?]) ")
KOREAN_FILE = Path(__file__).parent / "korean.toml"


@dataclass(frozen=True)
class Language:
    """The words of a page, and what it says of each command, heading and option.

    - ``fixed``: sentences of the page itself, by name.
    - ``summaries``: by command. ``groups``: by heading of the help, the heading and what stands below it.
    - ``options``: by command, and under ``all`` for those that need no words of their own, by first spelling.
    """

    fixed: Mapping[str, str]
    summaries: Mapping[str, str] = field(default_factory=dict[str, str])
    groups: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    def summary(self, entry: CommandEntry) -> str:
        """What the command does; the parser's own words where this language has none."""
        return self.summaries.get(entry.name, entry.summary)

    def group(self, group: OptionGroup) -> tuple[str, str]:
        """The heading of a group, and what stands below it."""
        heading, *text = self.groups.get(group.title, [group.title, group.text])
        return heading, " ".join(text)

    def option(self, entry: CommandEntry, option: Option) -> str:
        """What the option does."""
        return self.own_words(entry, option) or option.text

    def own_words(self, entry: CommandEntry, option: Option) -> str | None:
        """The same, None where this language has no words for it."""
        for place in (entry.name, "all"):
            if said := self.options.get(place, {}).get(option.names[0]):
                return said
        return None


ENGLISH = Language(
    {
        "title": "Commands",
        "origin": "`make docs` writes this page from the commands' own `--help`; change it there.",
        "everywhere": "Every command also has `--help` (`-h`), which prints what stands here, and `--debug`, "
        "which shows the full traceback of a failure. Options that may be repeated take one value each time. "
        "Exit codes: 0 success, 1 a failure that is named, 2 bad usage, 130 interrupted; where a command has "
        "others, it says so.",
        "command": "command",
        "option": "option",
        "does": "what it does",
        "required": "required",
        "default": "default",
        "known": "default",
        "example": "Example:",
    }
)


def korean() -> Language:
    """What :data:`KOREAN_FILE` says."""
    words: dict[str, Any] = tomllib.loads(KOREAN_FILE.read_text(encoding="utf-8"))
    return Language(words["page"], words["commands"], words["groups"], words["options"])


def missing_words(language: Language) -> list[str]:
    """Commands, headings and options that ``language`` has no words for."""
    missing: list[str] = []
    for entry in all_commands():
        missing += [entry.name] if entry.name not in language.summaries else []
        for group in entry.groups:
            missing += [group.title] if group.title and group.title not in language.groups else []
        missing += [
            f"{entry.name} {one.names[0]}" for one in entry.options if not language.own_words(entry, one)
        ]
    return missing


def unused_words(language: Language) -> list[str]:
    """What ``language`` has words for although it is no longer there."""
    entries = list(all_commands())
    unused = [name for name in language.summaries if name not in {entry.name for entry in entries}]
    titles = {group.title for entry in entries for group in entry.groups}
    unused += [title for title in language.groups if title not in titles]
    for place, words in language.options.items():
        of_place = [entry for entry in entries if place in ("all", entry.name)]
        there = {
            option.names[0]
            for entry in of_place
            for option in entry.options
            if place != "all" or option.names[0] not in language.options.get(entry.name, {})
        }
        unused += [f"{place} {name}" for name in words if name not in there]
    return unused


def reference(language: Language) -> str:
    """The page."""
    fixed, entries = language.fixed, own_commands()
    lines = [f"# {fixed['title']}", "", fixed["origin"], "", fixed["everywhere"], ""]
    lines += list(_list(entries, language))
    for entry in entries:
        lines += _chapter(entry, language, "##")
        for own in entry.subcommands:
            lines += _chapter(own, language, "###")
    return "\n".join(lines).rstrip() + "\n"


def _list(entries: tuple[CommandEntry, ...] | list[CommandEntry], language: Language) -> Iterator[str]:
    yield f"| {language.fixed['command']} | {language.fixed['does']} |"
    yield "|---|---|"
    for entry in entries:
        anchor = entry.name.replace(" ", "-")
        first = _SENTENCES.split(language.summary(entry))[0].removesuffix(".")
        yield f"| [`{entry.name}`](#{anchor}) | {_cell(first[0].upper() + first[1:])} |"
    yield ""


def _chapter(entry: CommandEntry, language: Language, heading: str) -> Iterator[str]:
    fixed = language.fixed
    yield from (f"{heading} {entry.name}", "", _sentence(language.summary(entry)), "")
    yield from ("```text", entry.usage, "```", "")
    yield from (fixed["example"], "", "```bash", entry.example, "```", "")
    if entry.subcommands:
        yield from _list(entry.subcommands, language)
    for group in entry.groups:
        title, text = language.group(group)
        if title:
            yield from (f"**{title[:1].upper()}{title[1:]}** {_sentence(text)}".rstrip(), "")
        yield from (f"| {fixed['option']} | {fixed['does']} |", "|---|---|")
        for option in group.options:
            yield f"| `{_cell(option.form)}` | {_cell(_meaning(entry, option, language))} |"
        yield ""


def _meaning(entry: CommandEntry, option: Option, language: Language) -> str:
    text = language.option(entry, option)
    if option.default is not None and language.fixed["known"] not in text:
        text += f" ({language.fixed['default']}: `{option.default}`)"
    return f"{text} **({language.fixed['required']})**" if option.required else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")
