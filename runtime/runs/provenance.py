"""Where a run's numbers come from: files by their hash, folders, and versions of what computed them."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from ..data.folders import FeatureFolders
from .info import FeatureRef, FileRef


def file_ref(path: Path) -> FileRef:
    """``path`` and the SHA-256 of its content."""
    with path.open("rb") as stream:
        return FileRef(str(path.resolve()), hashlib.file_digest(stream, "sha256").hexdigest())


def feature_ref(folders: FeatureFolders) -> FeatureRef:
    """The folders, as absolute paths."""
    return FeatureRef(
        video=tuple(str(folder.resolve()) for folder in folders.video),
        audio=str(folders.audio.resolve()),
        text=None if folders.text is None else str(folders.text.resolve()),
    )


def run_versions(computing: Mapping[str, str]) -> dict[str, str]:
    """Versions of gatescope and of what computes (``computing``, a session's own) and writes its numbers."""
    return {
        "gatescope": version("gatescope"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        **computing,
        "polars": pl.__version__,
    }
