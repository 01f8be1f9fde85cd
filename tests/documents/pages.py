"""Which pages are generated, and from what."""

from __future__ import annotations

from pathlib import Path

from .formats import DOCUMENTS, schema
from .measurements import ENGLISH_WORDS, korean_words, with_tables
from .reference import ENGLISH, korean, reference

DOCS = Path(__file__).parent.parent.parent / "docs"


def generated() -> dict[Path, str]:
    """The content of every generated file, by its path."""
    measured = {DOCS / "benchmarks.md": ENGLISH_WORDS, DOCS / "ko" / "benchmarks.md": korean_words()}
    return {
        DOCS / "commands.md": reference(ENGLISH),
        DOCS / "ko" / "commands.md": reference(korean()),
        **{DOCS / "formats" / f"{name}.schema.json": schema(kind) for name, kind in DOCUMENTS.items()},
        **{path: with_tables(path.read_text(encoding="utf-8"), words) for path, words in measured.items()},
    }


def stale() -> list[str]:
    """Generated files that are missing or are not what would be written now."""
    return [
        str(path)
        for path, content in generated().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != content
    ]
