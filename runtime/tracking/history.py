"""What a tracker remembers: gates by sample id, in memory up to a budget, the oldest beyond it on disk."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RunFolderError
from ..forks import remove_with, renew_after_fork
from .batch import TrackedBatch

DEFAULT_BUDGET = 256 * 2**20


@dataclass(frozen=True)
class _Place:
    """Where a batch lies on disk: all its arrays one after another from number ``start`` of ``file``."""

    file: Path
    start: int
    shapes: dict[str, tuple[tuple[int, ...], ...]]
    without_gates: TrackedBatch


class GateHistory(Mapping[Hashable, dict[str, Any]]):
    """Tracked gates by sample id, in the order they came.

    ``history[id]`` is a dict: ``attention_gates`` and ``ffn_gates``, lists of one numpy float32 array
    (B, L | 1, 1 | d) a layer, and ``layer_info``, a list of one dict a layer. numpy, because whatever ran
    the model the gates are on the CPU then, and because the history is also of exported models, which know
    no torch; float32, because that is what every table and statistic made of them holds.

    ``budget`` is how many bytes stay in memory (256 MiB unless it is set). Beyond it the oldest batches move
    to temporary files, from which they are read when they are asked for; these vanish with the history,
    and each as soon as everything in it was replaced.
    A copy of a history, by ``copy`` or ``pickle``, is empty.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self.budget = budget
        self.version = 0
        self.lock = threading.RLock()
        self._held: dict[Hashable, TrackedBatch] = {}
        self._spilled: dict[Hashable, _Place] = {}
        self._in_file: Counter[Path] = Counter()
        self._bytes = 0
        self._folder: Path | None = None
        self._files = 0
        renew_after_fork(self)

    @property
    def memory(self) -> int:
        """Bytes in memory, about."""
        return self._bytes

    def put(self, sample_id: Hashable, batch: TrackedBatch) -> bool:
        """Remember ``batch`` as the newest; True where it replaces an earlier one of the same id.

        Raises :class:`~gatescope.runtime.errors.RunFolderError` where the budget is used up and the
        temporary folder cannot be written; the batch is remembered all the same.
        """
        with self.lock:
            self.version += 1
            earlier = self._held.pop(sample_id, None)
            if earlier is not None:
                self._bytes -= earlier.bytes
            replaced = earlier is not None or self._forget_spilled(sample_id)
            self._held[sample_id] = batch
            self._bytes += batch.bytes
            if self._bytes > self.budget:
                self._spill()
            return replaced

    def clear(self) -> None:
        """Forget everything, and remove what is on disk."""
        with self.lock:
            self.version += 1
            self._held.clear()
            self._spilled.clear()
            self._in_file.clear()
            self._bytes = 0
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def batch(self, sample_id: Hashable) -> TrackedBatch:
        """What is remembered under ``sample_id``. Raises ``KeyError``, as a dict does."""
        with self.lock:
            held = self._held.get(sample_id)
            return held if held is not None else _read(self._spilled[sample_id])

    def sizes(self) -> list[tuple[Hashable, int, tuple[int, ...]]]:
        """Every id, the length of its batch in clips, and the valid clips of its samples."""
        with self.lock:
            spilled = [(one, place.without_gates) for one, place in self._spilled.items()]
            return [(one, of.length, of.clips) for one, of in [*spilled, *self._held.items()]]

    def __getitem__(self, sample_id: Hashable) -> dict[str, Any]:
        return self.batch(sample_id).entry()

    def __iter__(self) -> Iterator[Hashable]:
        with self.lock:
            return iter([*self._spilled, *self._held])

    def __len__(self) -> int:
        return len(self._spilled) + len(self._held)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._spilled or sample_id in self._held

    def __repr__(self) -> str:
        return f"GateHistory({len(self)} ids, {self._bytes:,} bytes in memory)"

    def after_fork(self) -> None:
        """In a forked child: its own lock, and a folder of its own for what it moves to disk.

        What the parent has moved there is read from there, while the parent keeps it.
        """
        self.lock = threading.RLock()
        self._folder = None

    def __reduce__(self) -> tuple[Any, ...]:
        return GateHistory, (self.budget,)

    def _spill(self) -> None:
        """Move the oldest batches to one new file, until half of the budget is free again."""
        moving: dict[Hashable, TrackedBatch] = {}
        left = self._bytes
        for sample_id, batch in self._held.items():
            if left <= self.budget / 2:
                break
            moving[sample_id] = batch
            left -= batch.bytes
        path = self._new_file()
        places: dict[Hashable, _Place] = {}
        start = 0
        try:
            with path.open("wb") as stream:
                for sample_id, batch in moving.items():
                    places[sample_id] = _Place(path, start, _shapes(batch), replace(batch, gates={}))
                    for array in _arrays(batch):
                        stream.write(np.ascontiguousarray(array, np.float32).data)
                        start += array.size
        except OSError as error:
            path.unlink(missing_ok=True)
            raise _full(path, error) from error
        # Only now: a disk that is full must not lose gates that were in memory.
        for sample_id in moving:
            del self._held[sample_id]
        self._spilled.update(places)
        self._in_file[path] = len(places)
        self._bytes = left

    def _forget_spilled(self, sample_id: Hashable) -> bool:
        """Whether ``sample_id`` lay on disk; a file in which nothing is left to read is removed."""
        place = self._spilled.pop(sample_id, None)
        if place is None:
            return False
        self._in_file[place.file] -= 1
        if self._in_file[place.file] == 0 and self._folder == place.file.parent:
            del self._in_file[place.file]
            place.file.unlink(missing_ok=True)
        return True

    def _new_file(self) -> Path:
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="gatescope-gates-"))
            except OSError as error:
                raise _full(Path(tempfile.gettempdir()), error) from error
            remove_with(self, self._folder)
        self._files += 1
        return self._folder / f"{self._files:06}.f32"


def _arrays(batch: TrackedBatch) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    return [array for layers in batch.gates.values() for array in layers]


def _shapes(batch: TrackedBatch) -> dict[str, tuple[tuple[int, ...], ...]]:
    return {kind: tuple(array.shape for array in layers) for kind, layers in batch.gates.items()}


def _read(place: _Place) -> TrackedBatch:
    numbers = sum(int(np.prod(shape)) for shapes in place.shapes.values() for shape in shapes)
    try:
        flat = np.fromfile(place.file, np.float32, numbers, offset=4 * place.start)
    except OSError as error:
        raise RunFolderError(
            f"tracked gates that had been moved to {place.file} cannot be read",
            received=error.strerror or str(error),
            fix="track again; temporary files must stay while the tracker is in use",
        ) from error
    gates: dict[str, tuple[np.ndarray[Any, np.dtype[np.float32]], ...]] = {}
    for kind, shapes in place.shapes.items():
        layers: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        for shape in shapes:
            size = int(np.prod(shape))
            layers.append(flat[:size].reshape(shape))
            flat = flat[size:]
        gates[kind] = tuple(layers)
    return replace(place.without_gates, gates=gates)


def _full(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"tracked gates cannot be moved to disk: {error.strerror or error}",
        received=str(path),
        fix="free some space, set TMPDIR to a folder with space before starting, or raise "
        "gate_history.budget (bytes) to keep more in memory",
    )
