"""Files that a tracker writes: statistics as JSON, figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_bytes(document: dict[str, Any]) -> bytes:
    """A JSON file; ``null`` stands for NaN and infinity."""
    return (json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def write_files(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write each file atomically into ``folder``, which is made where it is not there; gives their paths."""
    from ..runs.atomic import write_atomically
    from ..runs.folder import writing  # brings Polars, which tracking alone does not need

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(folder / name, content)
    return [folder / name for name in files]
