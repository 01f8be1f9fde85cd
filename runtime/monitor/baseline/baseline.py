"""A baseline: the gates of many videos of one model while all was well, and the thresholds they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from ...brief import brief
from ...errors import BaselineError
from ..counting.layout import GateLayout
from ..counting.totals import GateTotals
from ..counting.videos import VideoCounts
from ..detectors import broken
from ..diagnosis.signatures import Signatures
from ..model import WatchedModel
from .thresholds import Thresholds, flag_threshold, thresholds
from .videos import BaselineVideos, expected_twins

#: With fewer videos no threshold at a rate of 1 % is worth its name.
FEWEST_BASELINE_VIDEOS = 100
#: Window sizes, in videos: the smallest sees a broken pipeline soon, the largest a small change.
WINDOWS = (25, 50, 200)
FALSE_ALARMS = 0.01
_SHOWN = 5


@dataclass(frozen=True)
class BaselineSource:
    """What a baseline was made from: ``kind`` (``run``, ``log``, ``baseline``), its path, and its videos."""

    kind: str
    path: str
    videos: int


@dataclass(frozen=True, eq=False)
class Baseline:
    """The reference of one model.

    - ``videos``: those it was made from. ``false_alarms``: in how many windows without drift, as a share,
      anything may fire; all slices together get as much again.
    - ``thresholds``: by slice (empty: all traffic), one for each window size. A slice of fewer than 100
      videos has none.
    - ``missing``: by slice, after how many videos of other slices in a row it is missing.
    - ``signatures``: what faults do to this model's gates, or None; ``signatures_note`` says why.
    - ``sources``: what it was made from. ``created``: ISO 8601, UTC.
    """

    model: WatchedModel
    videos: BaselineVideos
    false_alarms: float
    windows: tuple[int, ...]
    thresholds: dict[str, tuple[Thresholds, ...]]
    missing: dict[str, int]
    signatures: Signatures | None
    signatures_note: str
    sources: tuple[BaselineSource, ...]
    created: str

    @property
    def layout(self) -> GateLayout:
        """Rows of its counts."""
        return self.model.layout

    @property
    def slices(self) -> tuple[str, ...]:
        """Slices with thresholds of their own."""
        return tuple(name for name in self.thresholds if name)

    def totals(self) -> GateTotals:
        """All its videos together."""
        totals = GateTotals(self.layout)
        totals.update(self.videos.counts)
        return totals

    def counts_of(self, slice_: str) -> VideoCounts:
        """The videos that thresholds of ``slice_`` come from (empty: all)."""
        return self.videos.of_slice(slice_) if slice_ else self.videos.counts

    def thresholds_for(self, window: int, slice_: str = "") -> Thresholds:
        """For a window of ``window`` videos of ``slice_``: those kept, or computed now (seconds)."""
        for own in self.thresholds[slice_]:
            if own.window == window:
                return own
        counts = self.counts_of(slice_)
        return thresholds(self.layout, counts, expected_twins(counts), window, self._rate(slice_))

    def check_model(self, model: WatchedModel, what: str) -> None:
        """See that ``what`` (a run, a log, a session), which is of ``model``, is of this baseline's model.

        Raises :class:`~gatescope.runtime.errors.BaselineError` that says what differs.
        """
        if different := self.model.differences(model):
            raise BaselineError(
                f"the baseline is of another model than {what}",
                received=f"{what}: {'; '.join(different)}",
                expected=f"model {self.model.version}, {self.model.family} with {self.model.gating} gates",
                fix="make a baseline of this model: gatescope monitor baseline RUN --output baseline.json",
            )

    def _rate(self, slice_: str) -> float:
        return self.false_alarms / len(self.slices) if slice_ else self.false_alarms

    def __repr__(self) -> str:
        return brief(self)


def make_baseline(
    model: WatchedModel,
    parts: Sequence[BaselineVideos],
    *,
    sources: Sequence[BaselineSource] = (),
    windows: Sequence[int] = WINDOWS,
    false_alarms: float = FALSE_ALARMS,
    signatures: Signatures | None = None,
    signatures_note: str = "",
    insist: bool = False,
) -> Baseline:
    """The baseline of all videos of ``parts``, each once.

    Raises :class:`~gatescope.runtime.errors.BaselineError` for fewer than 100 videos and for videos whose
    gates are NaN or infinite. With ``insist`` 2 videos are enough, and such videos are left out.
    """
    videos = BaselineVideos.joined(parts) if parts else BaselineVideos.empty(model.layout)
    videos = _finite(model.layout, videos, insist=insist)
    if len(videos) < (2 if insist else FEWEST_BASELINE_VIDEOS):
        raise BaselineError(
            f"{len(videos)} videos are too few for a baseline",
            received=f"{len(videos)} different videos in {len(parts)} source{'s' if len(parts) != 1 else ''}",
            expected=f"at least {FEWEST_BASELINE_VIDEOS}: of fewer, a share of one in a hundred cannot be"
            " known, and thresholds would be guesses",
            fix="run more videos or let production log for longer; with --insist it is made anyway"
            f" (from {2} videos on), but its alarms mean little",
        )
    sizes = {name: size for name, size in videos.slice_sizes.items() if size >= FEWEST_BASELINE_VIDEOS}
    rate = false_alarms / max(len(sizes), 1)
    held = {
        name: tuple(
            _thresholds(
                model.layout,
                videos.of_slice(name) if name else videos.counts,
                window,
                rate if name else false_alarms,
            )
            for window in sorted(set(windows))
        )
        for name in ("", *sizes)
    }
    missing = {name: _missing_after(size, len(videos), rate) for name, size in sizes.items()}
    return Baseline(
        model,
        videos,
        false_alarms,
        tuple(sorted(set(windows))),
        held,
        missing,
        signatures,
        signatures_note,
        tuple(sources),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _finite(layout: GateLayout, videos: BaselineVideos, *, insist: bool) -> BaselineVideos:
    """Those whose gates are all finite numbers: what is broken here would pass for healthy from then on."""
    bad = broken(videos.counts)
    if not bad.any():
        return videos
    of_row = bad.sum(axis=0)
    worst = [int(row) for row in np.argsort(-of_row, kind="stable") if of_row[row]]
    told = [
        f"{layout.rows[row].kind} gates of layer {layout.rows[row].layer}: {of_row[row]}" for row in worst
    ]
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    whole = bool((of_row == len(videos)).any())
    if whole or not insist:
        raise BaselineError(
            f"gates of {int(bad.any(axis=1).sum())} of {len(videos)} videos are not finite numbers",
            received=f"videos with NaN or infinite {', '.join(told[:_SHOWN])}{more}",
            expected="gates from a time when all was well",
            fix="find out why: features that are not finite give such gates, and so does a checkpoint whose"
            " training diverged"
            + ("" if whole else "; with --insist the baseline is made of the other videos"),
        )
    return videos.where(np.asarray(~bad.any(axis=1)))


def _thresholds(layout: GateLayout, videos: VideoCounts, window: int, rate: float) -> Thresholds:
    return thresholds(layout, videos, expected_twins(videos), window, rate)


def _missing_after(had: int, of: int, rate: float) -> int:
    """After how many videos in a row without it a slice is missing: twice what chance explains.

    Twice, because traffic comes in bursts: a night has other languages than a morning.
    """
    gap = 8
    # As if all others were the flagged ones: too many of them in a window of ``gap``.
    while flag_threshold(of - had, of, gap, rate / 4) > gap and gap < 1_000_000:
        gap += max(gap // 4, 1)
    return 2 * gap
