"""The gate log under kill -9, cut off at every byte, and with flipped bits.

Goals: of writers killed 500 times at random moments, one and four at a time, nothing acknowledged is lost and
nothing is there twice; a segment cut off anywhere gives the exact prefix; 20,000 flipped bits, none silently
wrong.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gatescope.runtime.errors import GateLogError
from gatescope.runtime.monitor.counting.observed import ObservedVideo
from gatescope.runtime.monitor.log.folder import join_folder, open_folder
from gatescope.runtime.monitor.log.frames import PREAMBLE_BYTES, VIDEO
from gatescope.runtime.monitor.log.reader import read_log
from gatescope.runtime.monitor.log.records import encode_video
from gatescope.runtime.monitor.log.recovery import recover
from gatescope.runtime.monitor.log.sealing import seal_finished
from gatescope.runtime.monitor.log.segment import LoggedVideo, SegmentReader, SegmentState, read_segment
from gatescope.runtime.monitor.log.writer import GateLogWriter
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.settings import LogSettings

from ..runtime.tiny_model import tiny_manifest
from .killed_writers import MOST_AT_ONCE, POOL
from .row import Row
from .traffic import named, same, traffic

_KILLS_A_LOG = 50
_MANIFEST = tiny_manifest("clipwise", layers=4)
_MODEL = WatchedModel.of(_MANIFEST)


def measure(short: bool, tell: Callable[[str], None]) -> list[Row]:
    """Kills, cuts and flips; the logs are written below the system's folder for temporary files."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="gatescope-log-") as folder:
        for writers in (1, 4):
            kills = killed(Path(folder) / f"{writers}-writers", 4 if short else 500, writers)
            tell(f"{writers} writers: {kills}")
            rows.append(
                Row(
                    f"kill -9 at random moments, {writers} writer{'s' * (writers > 1)}",
                    "nothing acknowledged lost, nothing twice",
                    str(kills),
                    kills.wrong == 0 and kills.acknowledged > 0,
                )
            )
        segment = Path(folder) / "whole.gatelog"
        written = write_segment(segment, 2 if short else 24)
        cuts, wrong = cut_off_everywhere(segment, written)
        tell(f"{cuts} cuts")
        rows.append(
            Row(
                "cut off at every byte",
                "the exact prefix",
                f"{cuts} cuts of {len(written)} videos, {wrong} wrong",
                not wrong,
            )
        )
        flips = flipped(segment, written, 300 if short else 20_000)
        tell(f"{flips}")
        rows.append(Row("random bit flips", "none silently wrong", str(flips), not flips.wrong))
    return rows


@dataclass
class Kills:
    """``acknowledged``: videos. ``kept``: found. ``twice``, ``lost``, ``altered``: of them, and must be 0.

    ``incomplete``: logs that were not reported complete, or not sealed.
    """

    kills: int = 0
    acknowledged: int = 0
    kept: int = 0
    twice: int = 0
    lost: int = 0
    altered: int = 0
    incomplete: int = 0

    @property
    def wrong(self) -> int:
        """How many of anything that must not be."""
        return self.twice + self.lost + self.altered + self.incomplete

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.acknowledged:,} acknowledged, {self.kept:,} kept; {self.lost} lost,"
            f" {self.twice} twice, {self.altered} altered, {self.incomplete} logs incomplete"
        )


def killed(folder: Path, kills: int, writers: int) -> Kills:
    """Kill writers of several logs below ``folder``, then read each log, seal it, and read it again."""
    found = Kills()
    for number, start in enumerate(range(0, kills, _KILLS_A_LOG)):
        log = folder / str(number)
        join_folder(log, _MANIFEST, _MODEL)
        count = min(_KILLS_A_LOG, kills - start)
        acknowledged = _run_killed(log, count, writers, seed=100 * writers + number)
        found.kills += len(acknowledged)
        found.acknowledged += sum(acknowledged.values())
        found.incomplete += recover(log).exit_code != 0
        found.kept += _check_killed(found, read_log(log), acknowledged, whole=True)
        seal_finished(open_folder(log))
        found.incomplete += any((log / "segments").glob("*.gatelog"))
        _check_killed(found, read_log(log), acknowledged, whole=False)
    return found


def _run_killed(log: Path, kills: int, writers: int, seed: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.torture.killed_writers"]
    done = subprocess.run(
        [*command, str(log), str(kills), str(writers), str(seed)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _check_killed(
    found: Kills, videos: Iterable[LoggedVideo], acknowledged: dict[str, int], *, whole: bool
) -> int:
    """Count what is wrong; ``whole``: compare gates kept whole too. Returns how many videos there are."""
    pool = traffic(_MODEL, POOL, whole_every=7)
    numbers: dict[str, list[int]] = {name: [] for name in acknowledged}
    for logged in videos:
        name, _, number = logged.video.sample_id.partition("/")
        numbers[name].append(int(number))
        expected = named(pool[int(number) % POOL], logged.video.sample_id)
        found.altered += not same(logged.video, expected if whole else replace(expected, gates=None))
    for name, count in acknowledged.items():
        seen = numbers[name]
        found.twice += len(seen) - len(set(seen))
        found.lost += len(set(range(count)) - set(seen))
        # What the last call wrote and could not tell any more may be there as well, and nothing else.
        found.altered += max(seen, default=-1) >= count + MOST_AT_ONCE
    return sum(len(seen) for seen in numbers.values())


def write_segment(path: Path, videos: int) -> list[ObservedVideo]:
    """A finished segment at ``path``, with gates kept whole in every eighth video; what is in it."""
    written = traffic(_MODEL, videos, whole_every=8)
    with tempfile.TemporaryDirectory() as folder:
        with GateLogWriter(folder, _MANIFEST, _MODEL, LogSettings(seal=False)) as writer:
            for video in written:
                writer.append([video])
        [segment] = Path(folder, "segments").glob("*.gatelog")
        path.write_bytes(segment.read_bytes())
    return written


def cut_off_everywhere(segment: Path, written: Sequence[ObservedVideo]) -> tuple[int, int]:
    """Cut ``segment`` off at each of its bytes: how many cuts, and how many did not give the exact prefix."""
    data = segment.read_bytes()
    cut = segment.with_name("cut.gatelog")
    reader = SegmentReader(segment)
    ends = [frame.end for frame in reader.frames() if frame.kind == VIDEO]
    reader.close()
    wrong = 0
    for size in range(len(data)):
        cut.write_bytes(data[:size])
        expected = written[: sum(end <= size for end in ends)]
        state = SegmentState()
        try:
            found = _read(cut, state)
        except GateLogError:
            wrong += size >= PREAMBLE_BYTES
            continue
        exact = len(found) == len(expected) and all(
            same(one.video, other) for one, other in zip(found, expected, strict=True)
        )
        wrong += not exact or bool(state.skipped)
    return len(data), wrong


@dataclass
class Flips:
    """``stepped_over``: flips that cost a video and were reported. ``invented``, ``silent``: must be 0."""

    flips: int = 0
    harmless: int = 0
    stepped_over: int = 0
    refused: int = 0
    invented: int = 0
    silent: int = 0

    @property
    def wrong(self) -> int:
        """Videos that were never written, or missing without a word."""
        return self.invented + self.silent

    def __str__(self) -> str:
        return (
            f"{self.flips:,} flips: {self.stepped_over:,} cost one video and were reported,"
            f" {self.harmless:,} cost none, {self.refused} refused; {self.invented} invented,"
            f" {self.silent} silently missing"
        )


def flipped(segment: Path, written: Sequence[ObservedVideo], flips: int) -> Flips:
    """Flip one random bit of ``segment`` at a time and read it."""
    data = segment.read_bytes()
    damaged = segment.with_name("flipped.gatelog")
    originals = [encode_video(video) for video in written]
    rng = random.Random(5)
    result = Flips(flips)
    for _ in range(flips):
        place = rng.randrange(len(data) * 8)
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        damaged.write_bytes(changed)
        state = SegmentState()
        try:
            found = [encode_video(logged.video) for logged in _read(damaged, state)]
        except GateLogError:
            result.refused += 1
            continue
        remaining = iter(originals)
        known = all(any(one == other for other in remaining) for one in found)
        missing = len(originals) - len(found)
        result.invented += not known
        result.silent += bool(missing and state.whole) or missing > 1
        result.stepped_over += missing == 1
        result.harmless += missing == 0
    return result


def _read(path: Path, state: SegmentState) -> list[LoggedVideo]:
    return list(read_segment(path, len(_MODEL.layout), state))
