"""``run.json``: what ran, on what, and how far it got."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ..causes import told_causes
from ..data.dataset import FeatureSources, Selection
from ..errors import ManifestError, RunFolderError, RunMismatchError
from ..gates.documents import DocumentFormat
from ..gates.manifest import Manifest
from .coverage import Shortfall
from .schema import RUN_FILE

_DOCUMENT = DocumentFormat(
    "run format",
    1,
    RunFolderError,
    fix="run again into another folder",
    expected=f"the {RUN_FILE} that 'gatescope run' writes",
)


@dataclass(frozen=True)
class FileRef:
    """A file that went into the run: where it was, and the SHA-256 of its content."""

    path: str
    sha256: str


@dataclass(frozen=True)
class FeatureRef:
    """The folders the features came from; ``text`` is None where the model takes none."""

    video: tuple[str, ...]
    audio: str
    text: str | None

    @property
    def sources(self) -> FeatureSources:
        """The same folders, for another run on them."""
        return FeatureSources.of(
            None, video_features=self.video, audio_features=self.audio, text_features=self.text
        )


@dataclass(frozen=True)
class Skipped:
    """A sample that was left out, and why."""

    sample_id: str
    reason: str


def told_skipped(skipped: Sequence[Skipped]) -> list[str]:
    """Why samples were left out, one line per cause."""
    return told_causes([(sample.sample_id, sample.reason) for sample in skipped], "sample")


@dataclass(frozen=True)
class Timings:
    """Seconds spent so far, resumed runs included.

    - ``seconds``: by the clock on the wall, the pass that checks the features included.
    - ``checking_seconds``: the pass over all features before anything is written.
    - ``reading_seconds``, ``computing_seconds``, ``writing_seconds``: during which at least one thread read
      features, ran the model or wrote results. The three overlap.
    - ``samples_per_second``: samples run, divided by ``seconds``.
    """

    reading_seconds: float = 0.0
    computing_seconds: float = 0.0
    writing_seconds: float = 0.0
    samples_per_second: float = 0.0
    checking_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class RunInfo:
    """The content of ``run.json``.

    - ``samples``: how many the whole run computes. ``samples_per_part``: how many a part holds, all but the
      last, which may hold fewer.
    - ``predictions``, ``gates``, ``summaries``: what the model gives, and so what is stored.
    - ``per_video``: a sample is a video, computed once for all its queries; else it is a query.
    - ``queries``: how many queries the samples answer; None in a run that has one query per sample.
    - ``coverage``: samples whose features or windows do not cover their video, by kind.
    - ``device``: ``cpu`` or ``cuda``. ``tf32``: whether CUDA might round products' inputs to 10 bits.
    - ``versions``: of gatescope and of what computed and wrote the numbers.
    """

    model: FileRef
    manifest: Manifest
    annotations: FileRef
    features: FeatureRef
    selection: Selection
    batch_size: int
    device: str
    samples: int
    samples_per_part: int
    predictions: bool
    versions: dict[str, str]
    gates: bool = True
    summaries: bool = False
    per_video: bool = False
    queries: int | None = None
    tf32: bool = False
    skipped: tuple[Skipped, ...] = ()
    coverage: tuple[Shortfall, ...] = ()
    timings: Timings = field(default_factory=Timings)
    finished: bool = False
    format_version: int = _DOCUMENT.version

    @property
    def parts(self) -> int:
        """How many parts the finished run has."""
        return math.ceil(self.samples / self.samples_per_part)

    def samples_in(self, parts: int) -> int:
        """How many samples the first ``parts`` parts hold."""
        return min(parts * self.samples_per_part, self.samples)

    def to_json(self) -> bytes:
        """The document, indented for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def to_dict(self) -> dict[str, Any]:
        """The document as plain Python objects."""
        return msgspec.json.decode(self.to_json(), type=dict[str, Any])

    def check_continues(self, earlier: RunInfo, folder: Path) -> None:
        """See that everything that decides the numbers, or their grouping into parts, is as in ``earlier``.

        Raises :class:`~gatescope.runtime.errors.RunMismatchError` that says what differs.
        """
        pairs: list[tuple[str, object, object]] = [
            ("model (SHA-256)", earlier.model.sha256, self.model.sha256),
            ("annotations (SHA-256)", earlier.annotations.sha256, self.annotations.sha256),
            ("feature folders", _folders(earlier), _folders(self)),
            *((flag, was, self.selection.flags()[flag]) for flag, was in earlier.selection.flags().items()),
            ("--batch-size", earlier.batch_size, self.batch_size),
            ("device", earlier.device, self.device),
            ("TF32", earlier.tf32, self.tf32),
        ]
        different = [(name, was, now) for name, was, now in pairs if was != now]
        if different:
            raise RunMismatchError(
                f"{folder} holds a different run",
                received="; ".join(f"{name} {now}" for name, _, now in different),
                expected="; ".join(f"{name} {was}" for name, was, _ in different),
                fix="resume with what that run began with, or choose another --output",
            )


def read_info(folder: Path) -> RunInfo:
    """Read ``run.json`` of the run ``folder``.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` where it is missing, damaged or newer.
    """
    path = folder / RUN_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise RunFolderError(f"{folder} is not a run folder: it has no {RUN_FILE}") from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read", received=error.strerror or str(error)) from error
    try:
        info = _with_wall_clock(msgspec.convert(_DOCUMENT.decode(content, path), RunInfo))
    except (msgspec.ValidationError, ManifestError) as error:
        raise _DOCUMENT.damaged(path, error) from error
    if info.samples < 1 or info.samples_per_part < 1:
        raise _DOCUMENT.damaged(path, f"{info.samples} samples, {info.samples_per_part} per part")
    return info


def _with_wall_clock(info: RunInfo) -> RunInfo:
    """In runs of earlier versions one stage followed the other, and their sum was not written down."""
    told = info.timings
    if told.seconds:
        return info
    seconds = told.reading_seconds + told.computing_seconds + told.writing_seconds
    return replace(info, timings=replace(told, seconds=seconds))


def _folders(info: RunInfo) -> str:
    return ", ".join([*info.features.video, info.features.audio, info.features.text or "no text"])
