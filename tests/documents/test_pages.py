"""Generated pages are up to date, whole, and the same on every machine."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from .pages import stale
from .parsers import _entry, all_commands
from .reference import ENGLISH, korean, missing_words, reference, unused_words


def test_pages_are_up_to_date() -> None:
    assert stale() == [], "run 'make docs'"


def test_every_command_and_option_has_words_in_korean() -> None:
    """Where one is missing: add it to tests/documents/korean.toml and run ``make docs``."""
    assert missing_words(korean()) == []
    assert unused_words(korean()) == []


def test_missing_and_unused_words_are_named() -> None:
    assert missing_words(ENGLISH)[0] == "gatescope demo"
    words = korean()
    more = type(words)(words.fixed, words.summaries, words.groups, {**words.options, "gone": {"--gone": "x"}})
    assert unused_words(more) == ["gone --gone"]


@pytest.mark.parametrize("language", [ENGLISH, korean()], ids=["english", "korean"])
def test_the_reference_names_every_command_and_option(language) -> None:
    page = reference(language)
    for entry in all_commands():
        chapter = page.split(f"# {entry.name}\n")[1].split("\n## ")[0]
        assert all(f"`{option.form}`".replace("|", "\\|") in chapter for option in entry.options)
        assert entry.example in chapter


def test_pages_do_not_depend_on_the_terminal() -> None:
    program = "from tests.documents.pages import stale; print(stale())"
    for environment in ({"COLUMNS": "40"}, {"COLUMNS": "400", "FORCE_COLOR": "1", "LC_ALL": "C"}):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout.strip() == "[]"


def test_an_entry_says_what_its_parser_takes() -> None:
    parser = argparse.ArgumentParser(prog="own", description="does\n  it", epilog="example:\n  own a b")
    parser.add_argument("what", nargs="+", metavar="A|B", help="of %(prog)s")
    parser.add_argument("-n", "--number", type=float, default=0.5, required=True, help="how many")
    parser.add_argument("--yes", action=argparse.BooleanOptionalAction, default=True, help="or no")
    group = parser.add_argument_group("more", "said of it")
    group.add_argument("--kind", choices=("x", "y"), default="x", help="of %(default)s")
    entry = _entry(parser)
    assert entry.usage == "own A|B [A|B …] --number NUMBER [OPTION …]"
    assert (entry.summary, entry.example) == ("does it", "own a b")
    forms = [(option.form, option.text, option.default, option.required) for option in entry.options]
    assert forms == [
        ("A|B [A|B …]", "of own", None, True),
        ("-n NUMBER, --number NUMBER", "how many", "0.5", True),
        ("--yes, --no-yes", "or no", "True", False),
        ("--kind {x,y}", "of x", "x", False),
    ]
    assert [group.text for group in entry.groups] == ["", "said of it"]
