"""A results folder as training leaves it, for tests that read one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatescope.export import load_checkpoint


def training_folder(
    folder: Path,
    checkpoints: Mapping[str, Path],
    *,
    predictions: Mapping[str, Path] | None = None,
    evaluated: int = 3,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write ``folder``: checkpoints and predictions by their names there, ``opt.json`` and logs.

    ``evaluated``: the epoch of the last line of eval.log.txt. ``files``: others, by name.
    """
    folder.mkdir(parents=True)
    options: dict[str, Any] = {}
    for name, source in checkpoints.items():
        shutil.copyfile(source, folder / name)
        options = load_checkpoint(source).options
    recorded = {key: value for key, value in options.items() if key != "device"}
    (folder / "opt.json").write_text(json.dumps(recorded, default=str), encoding="utf-8")
    for name, source in (predictions or {}).items():
        shutil.copyfile(source, folder / name)
        metrics = {"brief": {"MR-full-mAP": 1.0}}
        (folder / f"{Path(name).stem}_metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    lines = [f"2025_01_01 [Epoch] {epoch:03d} [Loss] x [Metrics] {{}}" for epoch in range(evaluated + 1)]
    (folder / "eval.log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    return folder
