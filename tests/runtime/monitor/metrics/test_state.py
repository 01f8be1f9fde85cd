"""State files: several processes are one truth, counters never go down, and damage costs only itself."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from filelock import FileLock, Timeout
from zlib_ng.zlib_ng import crc32

from gatescope.runtime.monitor.counting.layout import GateLayout
from gatescope.runtime.monitor.counting.totals import GateTotals
from gatescope.runtime.monitor.metrics import state as states
from gatescope.runtime.monitor.metrics.state import FleetState, StateFile, WorkerState, merged_state

from .snapshots import LAYOUT, gates, state_of

ENDED = "ended.state"


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., StateFile]]:
    """Begins a process's state file, with so many videos counted; all are closed in the end."""
    files: list[StateFile] = []

    def one(name: str, videos: int = 1, **counters: float) -> StateFile:
        file = StateFile(tmp_path, name)
        file.write(counted(videos, **counters))
        files.append(file)
        return file

    yield one
    for file in files:
        file.close()


def counted(videos: int, **counters: float) -> WorkerState:
    return state_of(gates(videos, seed=videos), {"ko": videos}, requests=videos, **counters)


def merged(folder: Path) -> FleetState:
    return merged_state(folder, LAYOUT)


def videos_in(fleet: FleetState) -> int:
    """How many, which all that counts them must agree on."""
    state = fleet.state
    assert state.totals.videos == state.slices["ko"] == state.counters["requests"]
    return state.totals.videos


def without_lock(*_: Any, **__: Any) -> Any:
    raise PermissionError("this reader may not write here")


def test_the_sum_over_processes_is_exact(tmp_path: Path, begin: Callable[..., StateFile]) -> None:
    for videos in (3, 5, 9):
        begin(f"p{videos}", videos, lost=videos / 2, log_bytes=1000 * videos)
    fleet = merged(tmp_path)
    assert (videos_in(fleet), fleet.live, fleet.damaged) == (17, 3, 0)
    assert fleet.state.counters["lost"] == 8.5 and fleet.state.counters["log_bytes"] == 17_000
    assert fleet.state.last_inference == counted(9).last_inference
    whole = GateTotals(LAYOUT)
    for videos in (9, 3, 5):
        whole.merge(counted(videos).totals)
    assert np.array_equal(fleet.state.totals.integers, whole.integers)
    np.testing.assert_allclose(fleet.state.totals.positive, whole.positive, rtol=1e-12)
    np.testing.assert_allclose(fleet.state.totals.squares, whole.squares, rtol=1e-12)


def test_an_empty_folder_has_counted_nothing(tmp_path: Path) -> None:
    fleet = merged(tmp_path)
    assert (videos_in(fleet), fleet.live, fleet.damaged) == (0, 0, 0)


def test_what_ended_processes_have_counted_is_kept(tmp_path: Path, begin: Callable[..., StateFile]) -> None:
    file = begin("a", 4)
    begin("b", 2)
    file.close()
    file.close()
    fleet = merged(tmp_path)
    assert (videos_in(fleet), fleet.live) == (6, 1)


def test_counters_never_go_down_and_the_folder_does_not_grow(
    tmp_path: Path, begin: Callable[..., StateFile]
) -> None:
    begin("lives", 2)
    total = 2
    for number in range(40):
        begin(f"p{number:02}", 1 + number % 3).close()
        total += 1 + number % 3
        fleet = merged(tmp_path)
        assert (videos_in(fleet), fleet.live, fleet.damaged) == (total, 1, 0)
        assert len(list(tmp_path.glob("*.state"))) <= 8 + 2
    assert len(list(tmp_path.iterdir())) < 25


def test_slices_of_all_processes_that_ever_were_are_bounded(tmp_path: Path) -> None:
    for number in range(30):
        file = StateFile(tmp_path, f"p-{number}")
        file.write(state_of(gates(1), {f"slice {number}.{label}": 1 for label in range(10)}))
        file.close()
        merged(tmp_path)
    slices = merged(tmp_path).state.slices
    assert (len(slices), slices.total(), slices["slice 0.0"]) == (101, 300, 1)
    assert slices["other"] == 200


def test_a_crash_between_folding_and_removing_counts_none_twice(
    tmp_path: Path, begin: Callable[..., StateFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        begin(f"p{number}").close()

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(states, "_remove", crash)
        with pytest.raises(KeyboardInterrupt):
            merged(tmp_path)
    assert (tmp_path / ENDED).exists() and len(list(tmp_path.glob("p*.state"))) == 9
    for _ in range(3):
        assert videos_in(merged(tmp_path)) == 9
    assert list(tmp_path.glob("p*")) == []


def test_a_disk_on_which_nothing_can_be_folded_changes_nothing(
    tmp_path: Path, begin: Callable[..., StateFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        begin(f"p{number}").close()

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(states, "_write", full)
        assert videos_in(merged(tmp_path)) == 12
    assert len(list(tmp_path.glob("p*.state"))) == 12 and videos_in(merged(tmp_path)) == 12


def test_what_a_process_writes_at_its_very_end_is_not_folded_away_unread(
    tmp_path: Path, begin: Callable[..., StateFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        begin(f"p{number}").close()
    last = begin("z")
    read = states._read  # pyright: ignore[reportPrivateUsage]

    def ends_after_reading(path: Path, layout: GateLayout) -> WorkerState | None:
        found = read(path, layout)
        if path.stem == "z":
            last.write(counted(5))
            last.close()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(states, "_read", ends_after_reading)
        assert videos_in(merged(tmp_path)) == 9 + 1
    assert videos_in(merged(tmp_path)) == 9 + 5


def test_a_reader_that_may_not_write_reads_the_same(
    tmp_path: Path, begin: Callable[..., StateFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        begin(f"p{number:02}").close()
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(states, "FileLock", without_lock)
    assert videos_in(merged(tmp_path)) == 12
    assert sorted(tmp_path.iterdir()) == before


def test_a_reader_without_the_lock_sees_all_while_another_folds(
    tmp_path: Path, begin: Callable[..., StateFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        begin(f"p{number:02}").close()
    kept = states._ended  # pyright: ignore[reportPrivateUsage]

    def folded_after_reading(folder: Path, layout: GateLayout) -> Any:
        found = kept(folder, layout)
        with monkeypatch.context() as patch:
            patch.setattr(states, "_ended", kept)
            patch.setattr(states, "FileLock", FileLock)
            assert videos_in(merged(tmp_path)) == 12
        return found

    monkeypatch.setattr(states, "FileLock", without_lock)
    monkeypatch.setattr(states, "_ended", folded_after_reading)
    fleet = merged(tmp_path)
    assert (videos_in(fleet), fleet.damaged) == (12, 0)
    assert list(tmp_path.glob("p*.state")) == []


def test_a_reader_does_not_wait_for_ever_for_the_lock(
    tmp_path: Path, begin: Callable[..., StateFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("a", 3)

    def held(*_: Any, **__: Any) -> Any:
        raise Timeout("the lock")

    monkeypatch.setattr(states, "FileLock", held)
    assert videos_in(merged(tmp_path)) == 3


def test_a_file_that_goes_while_the_folder_is_read_is_no_damage(
    tmp_path: Path, begin: Callable[..., StateFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("a", 2)
    begin("b", 3)
    read = states._read  # pyright: ignore[reportPrivateUsage]

    def removed(path: Path, layout: GateLayout) -> WorkerState | None:
        (tmp_path / "b.state").unlink(missing_ok=True)
        return read(path, layout)

    monkeypatch.setattr(states, "_read", removed)
    fleet = merged(tmp_path)
    assert (videos_in(fleet), fleet.live, fleet.damaged) == (2, 1, 0)


def test_flipped_bits_and_cuts_are_counted_and_never_believed(
    tmp_path: Path, begin: Callable[..., StateFile]
) -> None:
    begin("a", 2)
    begin("b", 3).close()
    path = tmp_path / "b.state"
    data = path.read_bytes()
    rng = random.Random(1)
    broken = [data[:length] for length in (0, 3, 4, 5, len(data) // 2, len(data) - 1)]
    for _ in range(60):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        broken.append(bytes(flipped))
    for one in broken:
        path.write_bytes(one)
        fleet = merged(tmp_path)
        assert (videos_in(fleet), fleet.live, fleet.damaged) == (2, 1, 1)
    path.write_bytes(data)
    assert videos_in(merged(tmp_path)) == 5


OTHER = GateLayout.of([("attention", 0, -1.0, 1.0)])
FOREIGN: dict[str, Any] = {
    "no map": [1, 2],
    "an empty map": {},
    "other gates": WorkerState(GateTotals(OTHER)).to_plain(),
    "counters that are a list": {**counted(1).to_plain(), "counters": [], "folded": []},
    "counters that are text": {**counted(1).to_plain(), "counters": {"lost": "many"}, "folded": []},
    "counters that are empty": {**counted(1).to_plain(), "counters": {"lost": None}, "folded": []},
    "slices that are a number": {**counted(1).to_plain(), "slices": 5, "folded": []},
    "slices without counts": {**counted(1).to_plain(), "slices": {"ko": None}, "folded": []},
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("name", ["b.state", ENDED])
def test_whole_files_of_other_content_are_counted_as_damaged(
    tmp_path: Path, begin: Callable[..., StateFile], what: str, name: str
) -> None:
    data = msgspec.msgpack.encode(FOREIGN[what])
    (tmp_path / name).write_bytes(crc32(data).to_bytes(4, "little") + data)
    for number in range(10):
        begin(f"p{number}").close()
    for _ in range(2):
        fleet = merged(tmp_path)
        assert (videos_in(fleet), fleet.damaged) == (10, 1)
    # Where what was folded cannot be read nothing more is folded into it.
    assert len(list(tmp_path.glob("p*.state"))) == (10 if name == ENDED else 0)


def test_counters_that_an_older_version_did_not_know_are_zero(tmp_path: Path) -> None:
    plain = {**counted(3, lost=2).to_plain(), "counters": {"requests": 3, "of a later version": 7}}
    data = msgspec.msgpack.encode(plain)
    (tmp_path / "a.state").write_bytes(crc32(data).to_bytes(4, "little") + data)
    fleet = merged(tmp_path)
    assert (videos_in(fleet), fleet.damaged) == (3, 0)
    assert fleet.state.counters["lost"] == 0 and "of a later version" not in fleet.state.counters


def test_a_state_that_is_written_while_it_is_read_is_read_whole(
    tmp_path: Path, begin: Callable[..., StateFile]
) -> None:
    begin("still", 2)
    file = begin("busy", 1)
    ready = [counted(videos) for videos in range(1, 60)]

    def write() -> None:
        for state in ready:
            for _ in range(3):
                file.write(state)

    writer = threading.Thread(target=write)
    writer.start()
    seen = [2 + 1]
    while writer.is_alive():
        fleet = merged(tmp_path)
        assert (fleet.damaged, fleet.live) == (0, 2)
        seen.append(videos_in(fleet))
    writer.join()
    seen.append(videos_in(merged(tmp_path)))
    assert seen == sorted(seen) and seen[-1] == 2 + 59


def test_what_a_killed_process_left_half_written_is_no_state_and_goes_with_it(
    tmp_path: Path, begin: Callable[..., StateFile]
) -> None:
    for number in range(9):
        begin(f"p{number}").close()
        (tmp_path / f".p{number}.partial").write_bytes(b"half")
    fleet = merged(tmp_path)
    assert (videos_in(fleet), fleet.damaged) == (9, 0)
    assert {path.name for path in tmp_path.iterdir()} <= {".fold.lock", ENDED}
