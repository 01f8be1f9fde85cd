"""A whole run, features from disk and Parquet to disk, beside the bare session on batches in memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from gatescope.runtime import GateSession, batches
from gatescope.runtime.running.pipeline import run_model

from .dataset import make_dataset
from .settings import Settings
from .timing import Series

BARE, WHOLE, COMMAND = "bare session", "whole run", "gatescope run"

# Batches the bare session goes through again and again.
_KEPT_BATCHES = 4


def whole_run(model: Path, folder: Path, settings: Settings, tell: Callable[[str], None]) -> Series:
    """Seconds for all queries, by round.

    ``bare session``: ``session.run`` on prepared batches, nothing else. ``whole run``: opening the file,
    checking features, reading, computing and writing the run folder, in this process. ``gatescope run``: the
    command, with the start of Python and its libraries.
    """
    queries, batch = settings.run_queries, settings.batch
    series: Series = {BARE: [], WHOLE: [], COMMAND: []}
    tell(f"writing features of {queries} queries")
    with GateSession(model, device="cpu") as session:
        recipe = session.manifest.preprocessing
        data = make_dataset(
            folder / "data",
            recipe,
            queries,
            distinct=settings.run_features,
            clips=settings.clips,
            words=settings.words,
        )
        drawn = batches(session.manifest, data.annotations, features=data.root, batch_size=batch)
        kept = [one for _, one in islice(drawn, _KEPT_BATCHES)]

    def bare() -> None:
        with GateSession(model, device="cpu") as session:
            start = time.perf_counter()
            for i in range(queries // batch):
                session.run(kept[i % len(kept)])
            series[BARE].append(time.perf_counter() - start)

    def whole() -> None:
        output = folder / "run"
        start = time.perf_counter()
        run_model(model, data.annotations, data.root, output, device="cpu", batch_size=batch)
        series[WHOLE].append(time.perf_counter() - start)
        shutil.rmtree(output)

    def command() -> None:
        output = folder / "run"
        words = ["run", model, "--annotations", data.annotations, "--features", data.root, "--output", output]
        words += ["--device", "cpu", "--batch-size", batch]
        start = time.perf_counter()
        program = Path(sys.executable).with_name("gatescope")
        subprocess.run([program, *map(str, words)], check=True, capture_output=True)
        series[COMMAND].append(time.perf_counter() - start)
        shutil.rmtree(output)

    for i in range(settings.run_rounds):
        tell(f"whole run, round {i + 1} of {settings.run_rounds}")
        for job in (bare, whole, command):
            time.sleep(settings.pace.pause)
            job()
    return series
