"""Files that a command wrote, as it names them: each by itself, those in folders below by their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def written(output: Path, files: Sequence[Path]) -> list[str]:
    """A line for every file in ``output``, and one for every folder below it that holds some of ``files``."""
    beside = [str(path) for path in files if path.parent == output]
    below = Counter(path.parent for path in files if path.parent != output)
    return [*beside, *(f"{folder}/ ({_files(count)})" for folder, count in below.items())]


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
