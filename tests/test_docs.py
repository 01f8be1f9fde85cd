"""The documentation: both languages say the same, commands parse, links lead somewhere, errors exist.

Pages in English lie in ``docs/``, in Korean under the same name in ``docs/ko/``.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from gatescope.runtime.cli.main import command_names, command_parser
from gatescope.runtime.monitor.commands.command import command as monitor_command

from .test_cli import options_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
KOREAN = DOCS / "ko"
ROOMS = ("runtime", "export", "analysis", "front")

#: What only one language has, and why.
ENGLISH_ALONE = {"migration.md"}  # its Korean text is a part of README.ko.md
KOREAN_HEADINGS_ALONE = {"이전 스크립트에서 옮기기", "Gate 값 해석 가이드"}  # for the scripts' Korean users

LANGUAGES = {"en": (ROOT / "README.md", DOCS), "ko": (ROOT / "README.ko.md", KOREAN)}
PAGES = sorted(page.name for page in DOCS.glob("*.md") if page.name not in ENGLISH_ALONE)
TEXTS = [ROOT / "README.md", ROOT / "README.ko.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Long options of other programs that the pages name.
OTHERS_OPTIONS = {"--index-url", "--preload"}
#: Options of the scripts that came before this tool.
EARLIER_OPTIONS = re.compile(r"--(?:[a-z]+_[a-z_]+|quick|comprehensive)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language (``bash``, ``python``, ``text``)."""
    return [body for kind, body in FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def headings(path: Path) -> list[tuple[int, str]]:
    """(level, text) of every heading."""
    found = re.findall(r"^(#+) (.+)$", prose(path), re.MULTILINE)
    return [(len(marks), text) for marks, text in found]


PAIRS = [(LANGUAGES["en"][0], LANGUAGES["ko"][0]), *((DOCS / name, KOREAN / name) for name in PAGES)]


# -- both languages ------------------------------------------------------------------------------------


def test_every_page_is_there_in_both_languages() -> None:
    assert sorted(page.name for page in KOREAN.glob("*.md")) == PAGES
    assert len(PAGES) >= 20


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].stem)
def test_both_languages_have_the_same_headings(pair: tuple[Path, Path]) -> None:
    english, korean = (headings(path) for path in pair)
    levels = [level for level, text in korean if text not in KOREAN_HEADINGS_ALONE]
    assert [level for level, _ in english] == levels


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].stem)
def test_both_languages_show_the_same_code_and_output(pair: tuple[Path, Path]) -> None:
    """Comments alone may be translated."""
    for language in ("bash", "python", "text"):
        english, korean = ([uncommented(body) for body in blocks(path, language)] for path in pair)
        assert english == korean, language


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].stem)
def test_both_languages_have_the_same_tables(pair: tuple[Path, Path]) -> None:
    english, korean = (table_rows(path) for path in pair)
    if pair[0].name == "README.md":
        korean = korean[: len(english)]  # the tables for the scripts' users follow
    assert english == korean


@pytest.mark.parametrize("path", [KOREAN / name for name in PAGES], ids=lambda path: path.stem)
def test_korean_pages_are_in_korean(path: Path) -> None:
    """Every paragraph of some length has Hangul; code, links and names may be English."""
    if path.name == "commands.md":
        return  # its options are what --help says
    for paragraph in re.split(r"\n\s*\n", prose(path)):
        if len(paragraph) > 60 and not paragraph.startswith("|"):
            assert re.search("[가-힣]", paragraph), paragraph


def uncommented(code: str) -> str:
    lines = (re.sub(r"(^|\s+)#\s.*$", "", line) for line in code.splitlines())
    return "\n".join(line for line in lines if line.strip())


def table_rows(path: Path) -> list[int]:
    """The number of columns of every row of a table."""
    return [
        len(re.findall(r"(?<!\\)\|", line)) - 1 for line in prose(path).splitlines() if line.startswith("|")
    ]


# -- commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", command_names())
@pytest.mark.parametrize("readme", [LANGUAGES[language][0] for language in LANGUAGES], ids=list(LANGUAGES))
def test_every_command_has_a_row_in_the_readme(name: str, readme: Path) -> None:
    rows = [line for line in readme.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.startswith(f"| `gatescope {name}` |") and "(docs/" in row]


@pytest.mark.parametrize("name", command_names())
@pytest.mark.parametrize("language", list(LANGUAGES))
def test_every_command_is_shown_on_a_page(name: str, language: str) -> None:
    assert [words for words in command_lines(LANGUAGES[language][1]) if words[0] == name]


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_every_part_of_monitor_is_shown_on_its_page(language: str) -> None:
    shown = {words[1] for words in command_lines(LANGUAGES[language][1]) if words[0] == "monitor"}
    parts = next(iter(monitor_parts()))
    assert shown >= set(parts)


def monitor_parts() -> Iterator[list[str]]:
    _, parser = command_parser("monitor")
    for action in parser._actions:
        if isinstance(action.choices, dict):
            yield list(action.choices)


def command_lines(folder: Path) -> list[list[str]]:
    return [words for page in sorted(folder.glob("*.md")) for words in commands_of(page)]


def commands_of(path: Path) -> list[list[str]]:
    """The words behind ``gatescope``, in bash blocks and in inline code that is a whole command."""
    found: list[list[str]] = []
    for body in blocks(path, "bash"):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith("gatescope "):
                found.append(shlex.split(line, comments=True)[1:])
    for code in re.findall(r"`(gatescope [^`]+)`", prose(path)):
        words = shlex.split(code.replace("…", "X"))[1:]
        if len(words) > 2 and words[0] in command_names():
            found.append(words)
    return found


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_every_command_line_is_understood(path: Path) -> None:
    """By the parser of the command itself: no documented option can rot."""
    for words in commands_of(path):
        if words[0] in ("version", "help") or words[0].startswith("--"):
            continue
        _, parser = command_parser(words[0])
        parser.parse_args(words[1:])  # exits where it does not understand


@cache
def known_options() -> frozenset[str]:
    found = {"--completion", "--version"}
    for name in command_names():
        _, parser = command_parser(name)
        found |= {option for action in options_of(parser) for option in action.option_strings}
    return frozenset(found)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_every_option_that_is_named_exists(path: Path) -> None:
    if path.name in ("benchmarks.md", "design.md"):  # they name options of make's own scripts as well
        pytest.skip("options of development scripts")
    named = {
        option
        for code in re.findall(r"`[^`]+`", prose(path))
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]*", code)
    }
    unknown = {one for one in named - known_options() - OTHERS_OPTIONS if not EARLIER_OPTIONS.fullmatch(one)}
    assert not unknown


def test_monitor_is_the_command_that_its_package_has() -> None:
    assert command_parser("monitor")[0] is monitor_command


# -- links ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        file = (path.parent / place).resolve() if place else path
        assert file.exists(), target
        if anchor:
            assert anchor in [slug(text) for _, text in headings(file)], target


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_can_be_reached_from_the_readme() -> None:
    for readme, folder in LANGUAGES.values():
        seen: set[Path] = set()
        todo = [readme]
        while todo:
            page = todo.pop()
            if page in seen or page.suffix != ".md":
                continue
            seen.add(page)
            links = [link for link in re.findall(r"\]\(([^)\s#]+)", prose(page)) if ":" not in link]
            todo += [file for link in links if (file := (page.parent / link).resolve()).exists()]
        assert set(folder.glob("*.md")) <= seen


# -- what is said --------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_python_blocks_are_python(path: Path) -> None:
    for body in blocks(path, "python"):
        ast.parse(body)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_imports_in_python_blocks_work(path: Path) -> None:
    for body in blocks(path, "python"):
        for node in ast.parse(body).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gatescope"):
                exec(compile(ast.Module([node], []), name_of(path), "exec"), {})


PROMISES_TOO_MUCH = (
    "proves the file",
    "proven equal",
    "nothing is guessed",
    "audio matters here",
    "the reference's model",
)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_no_page_promises_too_much(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").split()).lower()
    assert not [words for words in PROMISES_TOO_MUCH if words in text]


@cache
def patterns() -> list[re.Pattern[str]]:
    """One pattern per line of text in the source: what is filled in may be anything."""
    found: set[str] = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                found.update(template(node).split("\n"))
    said = [line for line in found if len(re.sub(r"\W", "", line)) >= SHORTEST]
    return [re.compile(".*?".join(map(re.escape, line.split(FILLED_IN)))) for line in said]


FILLED_IN = "\0"
#: Letters of a message that are its own; of fewer, any text would match.
SHORTEST = 8


def template(node: ast.AST) -> str:
    """The text of a string or of an f-string; empty for anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else FILLED_IN
            for part in node.values
        )
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def quoted_errors() -> list[str]:
    found: list[str] = []
    for body in blocks(DOCS / "troubleshooting.md", "text"):
        found += [line.removeprefix("gatescope: error: ") for line in body.splitlines()]
    return found


@pytest.mark.parametrize("line", quoted_errors())
def test_every_error_in_troubleshooting_is_one_that_the_source_can_print(line: str) -> None:
    text = re.sub(r"^\s+(received|expected|to do): ", "", line)
    assert [one for one in patterns() if one.fullmatch(text)], text


# -- design --------------------------------------------------------------------------------------------


def test_the_design_names_every_folder_and_no_other() -> None:
    named = set(re.findall(r"^\| `(\w+/\w+)/` \|", prose(DOCS / "design.md"), re.MULTILINE))
    rooms = ("runtime", "export", "analysis")
    there = {name_of(file.parent) for room in rooms for file in (ROOT / room).glob("*/__init__.py")}
    assert named == there
