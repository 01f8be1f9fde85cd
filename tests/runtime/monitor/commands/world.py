"""A small model's traffic, well and broken: as gate logs, as runs, and as a baseline file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.cli.main import main
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.monitor.baseline.baseline import make_baseline
from gatescope.runtime.monitor.baseline.stored import save_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.observed import ObservedVideo, ObservedVideos
from gatescope.runtime.monitor.counting.videos import count_gates
from gatescope.runtime.monitor.log.writer import GateLogWriter
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.settings import LogSettings

from ....analysis.runs import write_run
from ...tiny_model import tiny_manifest

LAYERS, CLIPS = 2, 30
MANIFEST = tiny_manifest("clipwise", LAYERS)
MODEL = WatchedModel.of(MANIFEST)
OTHER = replace(MANIFEST, checkpoint_sha256="d" * 64)
BEGAN = 1_700_000_000
BASELINE_VIDEOS = 300


def gates(videos: int, seed: int, level: float = 0.5) -> np.ndarray:
    """(videos, 2 · layers, clips, 1): about tanh(``level``)."""
    rng = np.random.default_rng(seed)
    own = level + 0.1 * rng.normal(0, 1, (videos, 2 * LAYERS, 1, 1))
    return np.tanh(own + 0.2 * rng.normal(0, 1, (videos, 2 * LAYERS, CLIPS, 1))).astype(np.float32)


def traffic(
    pool: np.ndarray, *, first: int = 0, start: float = BEGAN, slices: Sequence[str] = ("",)
) -> list[ObservedVideo]:
    """A video of each of ``pool``, one every tenth of a second from ``start`` on, named from ``first`` on."""
    counts = count_gates(MODEL.layout, {"attention": pool[:, :LAYERS], "ffn": pool[:, LAYERS:]})
    return [
        ObservedVideo(
            int(start * 1e9) + number * 10**8,
            f"v{first + number}",
            slices[number % len(slices)],
            CLIPS,
            counts.integers[number],
            counts.sums[number],
        )
        for number in range(len(pool))
    ]


def writer_of(folder: Path, manifest: Manifest = MANIFEST) -> GateLogWriter:
    """A process's log that starts no other process."""
    return GateLogWriter(folder, manifest, WatchedModel.of(manifest), LogSettings(seal=False))


def write_log(folder: Path, *parts: list[ObservedVideo], manifest: Manifest = MANIFEST) -> Path:
    """A finished gate log; returns ``folder``."""
    with writer_of(folder, manifest) as writer:
        for part in parts:
            writer.append(part)
    return folder


def write_gates(folder: Path, pool: np.ndarray, manifest: Manifest = MANIFEST) -> Path:
    """A run of ``pool``; returns ``folder``."""
    own = {f"q{number}": {"attention": one[:LAYERS], "ffn": one[LAYERS:]} for number, one in enumerate(pool)}
    write_run(folder, own, manifest=manifest, per_part=64)
    return folder


def write_baseline(path: Path) -> Path:
    """A baseline of 300 videos that are well; returns ``path``."""
    counts = ObservedVideos.of(traffic(gates(BASELINE_VIDEOS, 1))).counts
    names = [f"b{number}" for number in range(BASELINE_VIDEOS)]
    own = BaselineVideos.of(MODEL.layout, names, names, [""] * BASELINE_VIDEOS, counts)
    save_baseline(make_baseline(MODEL, [own]), path)
    return path


def well(videos: int, **told: Any) -> list[ObservedVideo]:
    """Traffic as in the baseline."""
    return traffic(gates(videos, 2), **told)


def broken(videos: int, **told: Any) -> list[ObservedVideo]:
    """Traffic whose gates have moved."""
    return traffic(gates(videos, 3, level=-0.5), **told)


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str


class Commands:
    """Runs ``gatescope monitor …`` in this process; no traceback may be said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Said:
        self._capsys.readouterr()
        try:
            code = main(["monitor", *map(str, words)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)


def files_in(folder: Path) -> dict[str, bytes]:
    """Everything below ``folder``, by its path."""

    def each() -> Iterator[tuple[str, bytes]]:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(folder)), path.read_bytes()

    return dict(each())
