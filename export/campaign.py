"""Many results folders in one go: each exported, run and recorded, then all compared.

    DIR/
      NAME/             of each results folder: model.onnx, run/, report/ and the record member.json
      COMPARISON.md …   what the plug-in ``campaign`` writes

A folder that fails is recorded with its reason and the rest go on. The same command on the same DIR does what
is not done: finished folders are kept, failed ones tried again. Several processes may share the work, each
with its part of the folders (``only``); whichever finds that all are settled writes the comparison.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

from filelock import FileLock

from ..runtime import plugins
from ..runtime.errors import CheckpointError, GatescopeError, UsageError
from ..runtime.files import local
from ..runtime.runs.member import MEMBER_FILE, Member, read_member
from ..runtime.runs.schema import RUN_FILE
from ..runtime.session.model_file import file_sha256
from .reading.results import ResultsFolder, checkpoints_in
from .report import REPORT, ReportResult

#: What may lie in a member's folder next to what a report writes.
MEMBER_FILES = (MEMBER_FILE,)
_LOCK = ".campaign.lock"
_UNSAFE = re.compile(r"[^\w.+-]+")
_LONGEST = 100


class CampaignComparison(Protocol):
    """What the plug-in ``campaign`` returns, as far as this room needs it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything it wrote, the comparison first."""
        ...

    @property
    def told(self) -> list[str]:
        """A title and one line per setting."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before believing it."""
        ...

    @property
    def document(self) -> dict[str, Any]:
        """The content of ``campaign.json``."""
        ...


@dataclass(frozen=True)
class Work:
    """What is done with each results folder.

    - ``open``: reads one. ``report``: exports and runs it into a folder, and with True analyses it too.
    - ``made_with``: everything chosen that decides what comes out; a folder that was made with other choices
      is not taken for finished. ``checkpoint``: the name of the file to take in each, None for the best.
    """

    open: Callable[[Path], ResultsFolder]
    report: Callable[[ResultsFolder, Path, bool], ReportResult]
    made_with: str
    checkpoint: str | None = None


@dataclass(frozen=True)
class CampaignOutcome:
    """What became of a campaign. ``comparison``: None while other processes' folders are not settled.

    ``failed``: why, by name, of this process's share.
    """

    output: Path
    comparison: CampaignComparison | None
    failed: dict[str, str]
    waiting: tuple[str, ...] = ()


@dataclass
class _Progress:
    """What is told, and how long it took."""

    tell: Callable[[str], None]
    total: int
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])

    def one(self, name: str, said: str) -> None:
        self.done += 1
        self.tell(f"{self.done}/{self.total} {name}: {said}")


def report_campaign(
    folders: Sequence[Path],
    output: str | Path,
    work: Work,
    *,
    only: tuple[int, int] | None = None,
    reports: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> CampaignOutcome:
    """Make the campaign of the results ``folders`` in ``output``.

    - ``only``: (I, N): this process takes every N-th folder from the I-th on, counted from 1, and writes the
      comparison only where all folders are settled then; other processes take the rest.
    - ``reports``: after the comparison, also draw every folder's own report.

    Raises :class:`~gatescope.runtime.errors.UsageError` where ``output`` is no campaign's folder, and what
    the comparison raises; what fails in one folder is in the outcome.
    """
    compare: Callable[[Path], CampaignComparison] = plugins.load(plugins.PLUGINS, "campaign")
    place = local(output)
    _refuse_output(place)
    names = member_names(folders, place)
    first, hashes = _first_of_checkpoint(names, work.checkpoint)
    share = {name: path for at, (name, path) in enumerate(names.items()) if _is_own(at, only)}
    order = {name: at for at, name in enumerate(names)}
    progress = _Progress(tell, len(share))
    for name, path in share.items():
        own = place / name
        try:
            kept = read_member(own)
        except GatescopeError:
            kept = None
        wanted = Member(str(path), "done", checkpoint_sha256=hashes[name], made_with=work.made_with)
        if kept is not None and kept.state == "done" and _same(kept, wanted):
            progress.one(name, "kept, done before")
        elif (other := first.get(hashes[name] or "")) not in (None, name):
            replace(wanted, state="same", same_as=other, place=order[name]).write(own)
            progress.one(name, f"the same checkpoint as {other}, which stands for both")
        else:
            _make(name, path, own, work, replace(wanted, place=order[name]), progress)
    waiting = tuple(name for name in names if not _settled(place / name))
    if waiting and only is not None:
        return CampaignOutcome(place, None, progress.failed, waiting)
    tell("comparing the runs")
    with FileLock(place / _LOCK):
        comparison = compare(place)
    if reports:
        _draw(share, place, work, progress)
    return CampaignOutcome(place, comparison, progress.failed)


def member_names(folders: Sequence[Path], output: Path) -> dict[str, Path]:
    """A name for each of ``folders``, in their order: its own where that is unique, else with its parent's.

    A folder that an earlier command gave a name in ``output`` keeps it. Raises
    :class:`~gatescope.runtime.errors.UsageError` for a folder that is given twice.
    """
    places = [folder.resolve() for folder in folders]
    if twice := [place for place in dict.fromkeys(places) if places.count(place) > 1]:
        raise UsageError("a results folder is given twice", received=str(twice[0]), expected="each once")
    plain = [_safe(place.name) for place in places]
    lowered = [name.lower() for name in plain]
    named: dict[str, Path] = {}
    for folder, place, name in zip(folders, places, plain, strict=True):
        if lowered.count(name.lower()) > 1:
            name = _safe(f"{place.parent.name}-{place.name}")
        if name.lower() in {one.lower() for one in named} or _is_others(output / name, place):
            name = f"{name}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
        named[name] = folder
    return named


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip(".-")[-_LONGEST:].lstrip(".-") or "results"


def _is_others(folder: Path, source: Path) -> bool:
    """Whether another results folder has this name in the campaign."""
    try:
        kept = read_member(folder)
    except GatescopeError:
        return False
    return kept is not None and local(kept.source).resolve() != source


def _refuse_output(place: Path) -> None:
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is a file", expected="a folder for the campaign")
    if (place / RUN_FILE).exists() or (place / "run" / RUN_FILE).exists():
        raise UsageError(
            f"{place} holds a run or one model's report; a campaign would mix with it",
            fix="choose another --output",
        )
    place.mkdir(parents=True, exist_ok=True)


def _is_own(place: int, only: tuple[int, int] | None) -> bool:
    return only is None or place % only[1] == only[0] - 1


def _first_of_checkpoint(
    names: Mapping[str, Path], wanted: str | None
) -> tuple[dict[str, str], dict[str, str | None]]:
    """By SHA-256 the first folder with that checkpoint; by name its checkpoint's SHA-256, None without."""
    first: dict[str, str] = {}
    hashes: dict[str, str | None] = {}
    for name, path in names.items():
        hashes[name] = _hash(path, wanted)
        if (found := hashes[name]) is not None:
            first.setdefault(found, name)
    return first, hashes


def _hash(folder: Path, wanted: str | None) -> str | None:
    """Of the checkpoint that would be taken; what is wrong with it is said when it is opened."""
    try:
        if folder.is_file():
            return file_sha256(folder)
        found = folder / wanted if wanted is not None else next(iter(checkpoints_in(folder)), None)
        return None if found is None else file_sha256(found)
    except (OSError, CheckpointError):
        return None


def _same(kept: Member, wanted: Member) -> bool:
    return (kept.checkpoint_sha256, kept.made_with) == (wanted.checkpoint_sha256, wanted.made_with)


def _settled(folder: Path) -> bool:
    try:
        return read_member(folder) is not None
    except GatescopeError:
        return True


def _make(name: str, path: Path, own: Path, work: Work, wanted: Member, progress: _Progress) -> None:
    """Export and run one results folder and record it; a failure is recorded too."""
    began = time.monotonic()
    try:
        results = work.open(path)
        made = work.report(results, own, False)
        done = replace(
            wanted,
            checkpoint=results.checkpoint.name,
            annotations=None if results.annotations is None else str(results.annotations.absolute()),
            training=trained_metrics(results),
            seconds=round(time.monotonic() - began, 1),
        )
        done.write(own)
        progress.one(name, f"{made.run.samples} samples, {done.seconds:.0f} s")
    except Exception as error:  # whatever is wrong with one folder, the others go on
        why = str(error) if isinstance(error, GatescopeError) else f"{type(error).__name__}: {error}"
        progress.failed[name] = why
        replace(wanted, state="failed", reason=why).write(own)
        progress.one(name, f"FAILED: {why.splitlines()[0] if why else type(error).__name__}")


def _draw(share: Mapping[str, Path], place: Path, work: Work, progress: _Progress) -> None:
    """The report of each folder of the share that is done and has none yet."""
    for name, path in share.items():
        kept = read_member(place / name)
        if kept is None or kept.state != "done" or (place / name / REPORT / "ANALYSIS_REPORT.md").exists():
            continue
        progress.tell(f"{name}: drawing its report")
        try:
            work.report(work.open(path), place / name, True)
        except Exception as error:
            progress.failed[name] = f"its report could not be drawn: {error}"
            progress.tell(f"{name}: FAILED: {progress.failed[name].splitlines()[0]}")


def trained_metrics(results: ResultsFolder) -> dict[str, float]:
    """The ``brief`` metrics that training left for the checkpoint taken; empty where there are none.

    TVSum's trainings leave no predictions, but one line in ``best_metric.jsonl`` or ``latest_metric.jsonl``.
    """
    stem = results.checkpoint.stem.lower()
    state = next((word for word in ("best", "latest") if word in stem), None)
    file = results.left.metrics
    if file is None and state is not None:
        file = results.checkpoint.with_name(f"{state}_metric.jsonl")
    if file is None:
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        found: Any = json.loads(text.splitlines()[0] if file.suffix == ".jsonl" else text)
    except (OSError, ValueError, IndexError):
        return {}
    brief: Any = cast(dict[str, Any], found).get("brief") if isinstance(found, dict) else None
    if not isinstance(brief, dict):
        return {}
    numbers = cast(dict[str, Any], brief).items()
    return {name: float(value) for name, value in numbers if isinstance(value, int | float)}
