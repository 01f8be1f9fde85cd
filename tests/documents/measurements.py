"""The tables of docs/benchmarks.md and docs/ko/benchmarks.md, from the JSON files in docs/benchmarks/.

The files have the structure of what ``make bench BENCH_ARGS="--output FILE"`` (``speed.json``), ``make
bench-cuda`` (``gpu.json``, with ``throughput`` added) and ``make torture TORTURE_ARGS="--output FILE"``
(``monitor.json``) write.
Where a number was not kept, such as the seconds of each round, it is not there or null.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ..benchmarks.goals import COLUMNS, Goal, Verdict
from ..benchmarks.spread import Spread
from .reference import KOREAN_FILE

DATA = Path(__file__).parent.parent.parent / "docs" / "benchmarks"
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
# Not those that belong to a name, such as the 2 of M2 or the 9 of -9.
_NUMBER = re.compile(r"(?<![\w-])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
_WORD = re.compile(r"[A-Za-z]{3,}")

#: What the tables say besides their cells, in English; ``korean.toml`` has the same names and every cell.
ENGLISH_WORDS = {
    "seen": "seen on {date} ({cpu}, {cores} cores, {idle})",
    "idle": "idle",
    "not idle": "not idle",
    "date": "{day} {month_name} {year}",
}


def korean_words() -> Mapping[str, str]:
    """What :data:`~tests.documents.reference.KOREAN_FILE` says for them."""
    return tomllib.loads(KOREAN_FILE.read_text(encoding="utf-8"))["measurements"]


Rows = list[list[str]]


def with_tables(page: str, words: Mapping[str, str]) -> str:
    """``page`` with each table between its marks written anew in the language of ``words``."""
    for name, make in TABLES.items():
        document = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
        table = _table([[translated(cell, words) for cell in row] for row in make(document, words)])
        start, end = f"<!-- table: {name} -->\n", f"<!-- end: {name} -->\n"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no {start.strip()} with its {end.strip()}")
        page = f"{before}{start}\n{table}\n{end}{after}"
    return page


def translated(cell: str, words: Mapping[str, str]) -> str:
    """The cell with what ``words`` say for it, its numbers put where they stand in the sentence."""
    sentence = words.get(_NUMBER.sub("{}", cell))
    return cell if sentence is None else sentence.format(*_NUMBER.findall(cell))


def missing_cells(words: Mapping[str, str]) -> list[str]:
    """Sentences in cells, ``{}`` for each number, that ``words`` say nothing for."""
    return [sentence for sentence in _sentences(words) if _WORD.search(sentence) and sentence not in words]


def unused_cells(words: Mapping[str, str]) -> list[str]:
    """What ``words`` say although no cell has it."""
    return sorted(set(words) - set(ENGLISH_WORDS) - set(_sentences(words)))


def _sentences(words: Mapping[str, str]) -> Iterator[str]:
    for name, make in TABLES.items():
        document = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
        seen = _seen(document["machine"], words) if name == "monitor" else None
        yield from (_NUMBER.sub("{}", cell) for row in make(document, words) for cell in row if cell != seen)


def measured_on(machine: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """The day, as people write it; ``machine["date"]`` may have a time as well."""
    day = date.fromisoformat(machine["date"][:10])
    return words["date"].format(
        day=day.day, month=day.month, month_name=_MONTHS[day.month - 1], year=day.year
    )


def _seen(machine: Mapping[str, Any], words: Mapping[str, str]) -> str:
    idle = words["idle" if machine["idle"] else "not idle"]
    when = measured_on(machine, words)
    return words["seen"].format(date=when, cpu=machine["cpu"], cores=machine["cores"], idle=idle)


def _gpu(document: Mapping[str, Any], words: Mapping[str, str]) -> Rows:
    rows = [["what", "ms per batch", "samples/s"]]
    for row in document["cuda"]["throughput"]:
        ms, samples = row["ms per batch"], f"{row['samples per second']:,}"
        samples = f"**{samples}**" if row.get("headline") else samples
        rows.append([row["what"], "" if ms is None else f"{ms:g}", samples])
    return rows


def _speed(document: Mapping[str, Any], words: Mapping[str, str]) -> Rows:
    rows = [list(COLUMNS)]
    for row in document["goals"]["goals"]:
        goal = Goal(row["what"], row["unit"], row["at_least"], row["at_most"])
        measured = None if row["measured"] is None else Spread(**row["measured"])
        rows.append(Verdict(goal, measured, row["note"]).cells(judged=True))
    return rows


def _monitor(document: Mapping[str, Any], words: Mapping[str, str]) -> Rows:
    head = ["what", "goal", _seen(document["machine"], words)]
    return [head, *([row["what"], row["goal"], row["measured"]] for row in document["rows"])]


#: By the name of the file, what makes its table: the first row is the head.
TABLES = {"gpu": _gpu, "speed": _speed, "monitor": _monitor}


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
    lines = [head, "|" + "---|" * len(rows[0]) + "\n", *body]
    return re.sub(r"\|  (?=\|)", "| ", "".join(lines))
