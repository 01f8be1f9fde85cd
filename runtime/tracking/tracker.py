"""``GateTracker``: the promised methods, the same for exported models and for live PyTorch modules."""

from __future__ import annotations

import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plugins
from ..brief import counted, one_line
from ..errors import GatescopeError
from ..files import local
from ..forks import remove_with, renew_after_fork
from .batch import TrackedBatch
from .history import DEFAULT_BUDGET, GateHistory
from .ids import BatchIds, checked_id, distinct_texts, file_name, id_text, ids_of_batch
from .saved import json_bytes, write_files
from .scalars import ScalarTotals
from .source import GateSource
from .statistics import gate_statistics, layer_means

if TYPE_CHECKING:
    from ..runs.reader import Run

_ALL = "all"
_SHOWN = 5
# A copy counts anew, as its history is empty.
_OF_THE_PROCESS = ("_lock", "_own", "_snapshot", "_totals")


class GateTrackingWarning(UserWarning):
    """Something a tracker did that its user may not have meant."""


class GateTracker:
    """Remembers the gates of every batch that runs, under the ids its user sets.

    Off until :meth:`enable_gate_tracking`. ``gate_history`` is a mapping, see
    :class:`~gatescope.runtime.tracking.history.GateHistory`, whose ``budget`` bounds the memory. Several
    threads may run the model and set ids: an id set by a thread holds for that thread, and for threads that
    never set one.
    """

    def __init__(self, source: GateSource, *, budget: int = DEFAULT_BUDGET) -> None:
        self.gate_history = GateHistory(budget)
        self._source = source
        self._tracking = False
        self._keeps = True
        self._id: Hashable | list[Hashable] = None
        self._unnamed = 0
        self._prepare()

    def _prepare(self) -> None:
        """What is neither copied nor pickled."""
        self._lock = threading.RLock()
        self._own = threading.local()
        self._snapshot: tuple[int, Run] | None = None
        self._totals: ScalarTotals | None = None
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: its own lock; the run that the parent made of its history is the parent's."""
        self._lock = threading.RLock()
        self._snapshot = None

    @property
    def track_gates(self) -> bool:
        """Whether gates are being remembered."""
        return self._tracking

    @property
    def current_sample_id(self) -> Hashable | list[Hashable]:
        """The id, or the list of ids, that the next batch gets; None where none is set."""
        return getattr(self._own, "id", self._id)

    def enable_gate_tracking(self, *, history: bool = True) -> None:
        """Forget what was tracked, and remember gates from now on.

        With ``history=False`` no gate is kept, only what :meth:`scalars` gives is counted: memory then stays
        the same however long the model runs, and no ids are needed. Raises
        :class:`~gatescope.runtime.errors.GatescopeError` where the model has none to track.
        """
        with self._lock:
            self._source.start()
            self.gate_history.clear()
            self._unnamed = 0
            self._keeps = history
            self._totals = None
            self._tracking = True

    def disable_gate_tracking(self) -> None:
        """Stop remembering; what was tracked is kept."""
        with self._lock:
            self._tracking = False
            self._source.stop()

    def set_current_sample_id(self, sample_id: Hashable | list[Hashable]) -> None:
        """Name the batches that run from now on.

        One id for a batch of B samples keeps their gates together, (B, L | 1, 1 | d) a layer, and makes rows
        ``id/0`` … ``id/B-1`` of them in a run; a list of B ids (or an array of them) gives each sample its
        own, without its padding clips. Any hashable is an id, a tuple too. A batch under an id that is taken
        replaces the earlier one, with a warning; None gives numbered ids. Raises
        :class:`~gatescope.runtime.errors.InputError` for what cannot be an id.
        """
        checked = checked_id(sample_id)
        with self._lock:
            self._id = self._own.id = checked

    def claim(self, samples: int) -> BatchIds:
        """The ids for a batch of ``samples`` that is about to run; for the model, not for users.

        Raises :class:`~gatescope.runtime.errors.InputError` for a list of ids of another length.
        """
        if not self._keeps:
            return BatchIds((None,), each=False)
        with self._lock:
            current = self.current_sample_id
            if current is not None:
                return ids_of_batch(current, samples)
            number = self._unnamed
            self._unnamed += 1
        if number == 0:
            warnings.warn(
                "gates are tracked but no sample id is set: batches are called unnamed_0, unnamed_1, …; "
                "call set_current_sample_id before each batch",
                GateTrackingWarning,
                stacklevel=3,
            )
        return BatchIds((f"unnamed_{number}",), each=False)

    def record(self, ids: BatchIds, batch: TrackedBatch) -> None:
        """Remember a batch under the ids that :meth:`claim` gave; for the model, not for users."""
        with self._lock:
            if self._totals is None and not self._keeps:
                self._totals = ScalarTotals(self._source.limits)
            if self._totals is not None:
                self._totals.update(batch)
        if not self._keeps:
            return
        batches = batch.split() if ids.each else [batch]
        pairs = zip(ids.ids, batches, strict=True)
        replaced = [sample_id for sample_id, own in pairs if self.gate_history.put(sample_id, own)]
        if replaced:
            named = ", ".join(repr(sample_id) for sample_id in replaced[:_SHOWN])
            warnings.warn(
                f"the gates of {named} replace those that were tracked under the same id before",
                GateTrackingWarning,
                stacklevel=3,
            )

    def scalars(self, *, reset: bool = True) -> dict[str, float]:
        """Statistics of the gates as a flat dict of floats, for ``writer.add_scalar`` or ``wandb.log``.

        Names are ``gate/{kind}/layer{layer}/{statistic}``, in a stable order; statistics are ``mean``,
        ``std``, ``mean_abs``, ``share_saturated`` (left out where nothing bounds the gate),
        ``share_near_zero``, ``nan_count`` and ``inf_count``, over the valid entries of all batches since the
        last call; ``reset=False`` lets them count on. Where gates are kept, the first call covers
        what ``gate_history`` holds. Empty where nothing was tracked since.
        """
        with self._lock:
            if self._totals is None:
                self._totals = ScalarTotals(self._source.limits)
                for sample_id in self.gate_history:
                    self._totals.update(self.gate_history.batch(sample_id))
            found = self._totals.scalars()
            if reset:
                self._totals = ScalarTotals(self._source.limits)
            return found

    def get_gate_statistics(self, sample_id: Hashable = None) -> dict[Hashable, dict[str, Any]]:
        """The statistics of one sample or of all, by id, over valid clips only.

        Each has ``attention_stats`` and ``ffn_stats``, one {mean, std, min, max, shape} a layer, and
        ``layer_info``.
        """
        ids = list(self.gate_history) if sample_id is None else [self._known(sample_id)]
        return {one: gate_statistics(self.gate_history.batch(one)) for one in ids}

    def print_gate_summary(self) -> None:
        """Print how many samples are tracked and, per layer, the mean and spread of their mean gates."""
        ids = list(self.gate_history)
        state = "on" if self.track_gates else "off"
        print(f"Gate tracking is {state}; {len(ids)} sample id{'' if len(ids) == 1 else 's'} tracked.")
        if not ids:
            return
        columns: dict[tuple[str, int], list[float]] = {}
        for one in ids:
            for kind, means in layer_means(self.gate_history.batch(one)).items():
                for layer, mean in enumerate(means):
                    columns.setdefault((kind.removesuffix("_means"), layer), []).append(mean)
        print("  gate  layer     mean      min      max   (of the samples' means)")
        for (kind, layer), means in columns.items():
            mean = sum(means) / len(means)
            print(f"  {kind:<5} {layer:>5} {mean:>8.4f} {min(means):>8.4f} {max(means):>8.4f}")

    def save_gate_analysis(self, save_dir: str | Path, sample_id: Hashable = None) -> list[Path]:
        """Write ``gate_statistics_{id or all}.json`` and, where the analysis room is installed, a figure.

        Gives the files' paths. An id that is not a safe file name becomes what is safe of it and a hash.
        """
        statistics = self.get_gate_statistics(sample_id)
        if not statistics:
            raise self._nothing()
        reserved = () if sample_id is None else (_ALL,)
        name = _ALL if sample_id is None else file_name(id_text(sample_id), reserved=reserved)
        texts = distinct_texts((one, 1) for one in statistics)
        document = {text: own for (text,), own in zip(texts, statistics.values(), strict=True)}
        folder = local(save_dir)
        files = {f"gate_statistics_{name}.json": json_bytes(document)}
        means = {
            text: layer_means(self.gate_history.batch(one))
            for (text,), one in zip(texts, statistics, strict=True)
        }
        if draw := _figure():
            files[f"gate_analysis_{name}.png"] = draw(means)
        return write_files(folder, files)

    def compare_samples_gates(
        self, sample_ids: Sequence[Hashable], save_dir: str | Path | None = None
    ) -> dict[Hashable, dict[str, list[float]]]:
        """By id, ``att_means`` and ``ffn_means``: the mean gate of every layer, over valid clips.

        With ``save_dir`` also the figure ``gate_comparison.png`` there. Raises
        :class:`~gatescope.runtime.errors.GatescopeError` for an id that was not tracked.
        """
        means = {one: layer_means(self.gate_history.batch(self._known(one))) for one in sample_ids}
        if not means:
            raise GatescopeError("there are no samples to compare", fix="give at least one sample id")
        if save_dir is not None and (draw := _figure()):
            texts = distinct_texts((one, 1) for one in means)
            named = {text: own for (text,), own in zip(texts, means.values(), strict=True)}
            write_files(local(save_dir), {"gate_comparison.png": draw(named)})
        return means

    def to_run(self, path: str | Path) -> Run:
        """Write what was tracked as a run folder, which ``gatescope analyze`` and ``open_run`` read.

        Raises :class:`~gatescope.runtime.errors.RunFolderError` where ``path`` is not new or empty, and
        :class:`~gatescope.runtime.errors.GatescopeError` where nothing was tracked or a gate is not finite.
        """
        from .as_run import write_history

        if not self.gate_history:
            raise self._nothing()
        return write_history(self.gate_history, self._source.identity(), local(path))

    def as_run(self) -> Run:
        """What was tracked so far, as a run in a temporary folder.

        It lives as long as the tracker, and until :meth:`as_run` is called after more was tracked.
        """
        with self._lock:
            version = self.gate_history.version
            if self._snapshot is not None and self._snapshot[0] == version:
                return self._snapshot[1]
            folder = Path(tempfile.mkdtemp(prefix="gatescope-run-"))
            remove_with(self, folder)
            try:
                run = self.to_run(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            if self._snapshot is not None:
                shutil.rmtree(self._snapshot[1].path, ignore_errors=True)
            self._snapshot = version, run
            return run

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in _OF_THE_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def _known(self, sample_id: Hashable) -> Hashable:
        if sample_id in self.gate_history:
            return sample_id
        known = [repr(one) for one in self.gate_history]
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        raise GatescopeError(
            f"no gates were tracked under the id {sample_id!r}",
            expected=f"one of {', '.join(known[:_SHOWN])}{more}" if known else None,
            fix=None if known else "enable_gate_tracking(), set_current_sample_id(id), then run the model",
        )

    def _nothing(self) -> GatescopeError:
        return GatescopeError(
            "no gates were tracked",
            received=f"gate tracking is {'on' if self.track_gates else 'off'}, the history is empty",
            fix="enable_gate_tracking(), set_current_sample_id(id), then run the model"
            if self._keeps
            else "enable_gate_tracking() without history=False keeps the gates",
        )

    def __repr__(self) -> str:
        state = "tracking" if self.track_gates else "off"
        return one_line(self, state, counted(len(self.gate_history), "id"))


def _figure() -> Callable[[dict[str, dict[str, list[float]]]], bytes] | None:
    """What draws a figure of several samples' mean gates, where the analysis room is installed."""
    try:
        return plugins.load(plugins.PLUGINS, "gate_comparison")
    except GatescopeError as error:  # numbers matter more than pictures of them
        warnings.warn(f"no figure was drawn: {error.problem}", GateTrackingWarning, stacklevel=3)
        return None
