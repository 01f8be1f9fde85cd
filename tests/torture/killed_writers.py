"""Writers that are killed: ``python -m tests.torture.killed_writers FOLDER KILLS WRITERS SEED``.

Forks ``WRITERS`` processes at a time, each of which appends videos to the gate log ``FOLDER`` and notes in
shared memory how many were acknowledged; kills each with SIGKILL at a random moment. Prints a JSON object:
acknowledged videos by the writer's name. Imports nothing that is slow or starts threads.

The log must exist: its model and manifest are read from it.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from gatescope.runtime.monitor.counting.observed import ObservedVideo
from gatescope.runtime.monitor.log.folder import LogFolder, open_folder
from gatescope.runtime.monitor.log.writer import GateLogWriter
from gatescope.runtime.monitor.settings import LogSettings

from .traffic import named, traffic

#: Videos that one call of ``append`` is given, at most.
MOST_AT_ONCE = 3
#: Different videos; a writer's n-th is the n-th of these, modulo their number.
POOL = 40
_LONGEST_SECONDS = 0.06
_BEGINS = 60.0
_NUMBER = struct.Struct("<Q")


def main(folder: Path, kills: int, writers: int, seed: int) -> dict[str, int]:
    """Acknowledged videos by writer."""
    log = open_folder(folder)
    pool = traffic(log.model, POOL, whole_every=7)
    rng = random.Random(seed)
    acknowledged: dict[str, int] = {}
    killed = 0
    while killed < kills:
        names = [f"{seed}.{killed + number}" for number in range(min(writers, kills - killed))]
        shared = mmap.mmap(-1, _NUMBER.size * len(names))
        moments = {
            _fork(log, pool, name, shared, number * _NUMBER.size): rng.uniform(0.0, _LONGEST_SECONDS)
            for number, name in enumerate(names)
        }
        began = time.monotonic()
        last = killed + len(names) >= kills
        for process, moment in sorted(moments.items(), key=lambda entry: entry[1]):
            time.sleep(max(began + moment - time.monotonic(), 0.0))
            # However slow the machine is, not all of them are killed before they could begin.
            while last and not any(acknowledged.values()) and not any(shared[:]) and _waits(began):
                time.sleep(0.001)
            os.kill(process, signal.SIGKILL)
        for process in moments:
            os.waitpid(process, 0)
        for number, name in enumerate(names):
            acknowledged[name] = _NUMBER.unpack_from(shared, number * _NUMBER.size)[0]
        shared.close()
        killed += len(names)
    return acknowledged


def _waits(began: float) -> bool:
    return time.monotonic() - began < _BEGINS


def _fork(log: LogFolder, pool: list[ObservedVideo], name: str, shared: mmap.mmap, place: int) -> int:
    process = os.fork()
    if process:
        return process
    # Whatever happens here, the child must not go on as its parent.
    try:
        _write(log, pool, name, shared, place)
    finally:
        os._exit(1)


def _write(log: LogFolder, pool: list[ObservedVideo], name: str, shared: mmap.mmap, place: int) -> None:
    rng = random.Random(name)
    settings = LogSettings(segment_bytes=60_000, sync_seconds=0.004, seal=False)
    writer = GateLogWriter(log.path, log.manifest, log.model, settings)
    number = 0
    while True:
        count = rng.randint(1, MOST_AT_ONCE)
        videos = [named(pool[at % POOL], f"{name}/{at}") for at in range(number, number + count)]
        number += writer.append(videos)
        _NUMBER.pack_into(shared, place, writer.acknowledged)
        writer.tick()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *(int(one) for one in sys.argv[2:5]))))
