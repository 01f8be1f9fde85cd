"""A run folder: what ran, how far it got, what was left out and what is missing."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..brief import counted
from ..causes import brief_names, find_causes
from ..data.dataset import Dataset
from ..errors import RunFolderError
from ..running.settings import RunSettings
from ..runs.info import FileRef, RunInfo, Timings, read_info
from ..runs.reader import open_run
from ..runs.writer import finished_gate_parts
from ..session.device import DeviceOptions
from ..session.model_file import file_sha256
from .inspection import InspectedRow, InspectedSection, Inspection

_SHOWN = 5


def inspect_run(path: Path) -> Inspection:
    """What the run folder at ``path`` holds; a damaged one comes back with the reason as a problem."""
    try:
        info = read_info(path)
    except RunFolderError as error:
        return Inspection(path, "run", "cannot be read", problems=(str(error),))
    problems: tuple[str, ...] = ()
    try:
        parts = open_run(path).parts
    except RunFolderError as error:
        problems, parts = (str(error),), finished_gate_parts(path, info)
    done = info.samples_in(parts)
    manifest = info.manifest
    model, annotations = _state(info.model), _state(info.annotations)
    noun = "video" if info.per_video else "sample"
    state = "finished" if info.finished else f"not finished, {done} of {counted(info.samples, noun)} done"
    return Inspection(
        path,
        "run",
        f"{state}; {manifest.family}, {manifest.gating} gating, {counted(manifest.layers, 'fusion layer')}",
        sections=(
            InspectedSection("Run", _run(info, done, parts, noun)),
            InspectedSection(
                "Made from",
                (
                    InspectedRow("model", info.model.path, model),
                    InspectedRow("annotations", info.annotations.path, annotations),
                    *(InspectedRow("video", folder) for folder in info.features.video),
                    InspectedRow("audio", info.features.audio),
                    *([InspectedRow("text", info.features.text)] if info.features.text else []),
                ),
            ),
            InspectedSection("Left out", _left_out(info)),
        ),
        problems=problems,
        warnings=(*manifest.warnings, *manifest.doubts),
        commands=() if problems else _next(path, info),
        details={
            "finished": info.finished,
            "samples": {"planned": info.samples, "done": done, "skipped": len(info.skipped)},
            "parts": {"planned": info.parts, "done": parts},
            "stored": _stored(info),
            "model_file": model,
            "annotation_file": annotations,
            "run": info.to_dict(),
        },
    )


def _left_out(info: RunInfo) -> tuple[InspectedRow, ...]:
    """A row per cause, with the samples it befell."""
    causes = find_causes((sample.sample_id, sample.reason) for sample in info.skipped)
    rows = [
        InspectedRow(
            counted(len(cause.names), "sample") if cause.names[1:] else cause.names[0],
            cause.reason,
            brief_names(cause.names) if cause.names[1:] else "",
        )
        for cause in causes[:_SHOWN]
    ]
    if len(causes) > _SHOWN:
        rows.append(InspectedRow("…", f"and {len(causes) - _SHOWN} more causes"))
    return tuple(rows)


def _run(info: RunInfo, done: int, parts: int, noun: str) -> tuple[InspectedRow, ...]:
    queries = info.samples if info.queries is None else info.queries
    told = info.timings
    return (
        InspectedRow("holds", ", ".join(_stored(info)) or "nothing"),
        InspectedRow(f"{noun}s", f"{done} of {info.samples}" if done < info.samples else str(info.samples)),
        *([InspectedRow("queries", str(queries))] if info.per_video else []),
        InspectedRow("parts", f"{parts} of {info.parts}" if parts < info.parts else str(info.parts)),
        *([InspectedRow("left out", str(len(info.skipped)))] if info.skipped else []),
        InspectedRow("model SHA-256", f"{info.model.sha256[:16]}…"),
        InspectedRow("device", f"{info.device}, batches of {info.batch_size}"),
        InspectedRow("took", f"{told.seconds:.1f} s, {told.samples_per_second:.1f} {noun}s/s"),
        *([InspectedRow("at work", _stages(told))] if told.seconds else []),
        InspectedRow("versions", ", ".join(f"{name} {number}" for name, number in info.versions.items())),
    )


def _stages(told: Timings) -> str:
    """How long each stage went on. Runs of earlier versions did not time the check, nor anything at once."""
    stages = (
        f"reading {told.reading_seconds:.1f} s, computing {told.computing_seconds:.1f} s, "
        f"writing {told.writing_seconds:.1f} s"
    )
    return (
        f"checking {told.checking_seconds:.1f} s, then at once {stages}" if told.checking_seconds else stages
    )


def _stored(info: RunInfo) -> list[str]:
    there = (("predictions", info.predictions), ("gates", info.gates), ("gate statistics", info.summaries))
    return [name for name, stored in there if stored]


def _state(file: FileRef) -> str:
    """Whether the file a run was made from is still what it was."""
    path = Path(file.path)
    try:
        return "unchanged" if file_sha256(path) == file.sha256 else "changed since"
    except OSError:
        return "no longer there"


def _next(path: Path, info: RunInfo) -> tuple[str, ...]:
    if not info.finished:
        return (_resume(path, info),)
    return (f"gatescope analyze {path} --output report/",) if info.gates else ()


def _resume(path: Path, info: RunInfo) -> str:
    dataset = Dataset(Path(info.annotations.path), info.features.sources, info.selection)
    settings = RunSettings(DeviceOptions(info.device, tf32=info.tf32), info.batch_size)
    words = ["gatescope", "run", info.model.path, *dataset.words(), "--output", str(path), *settings.words()]
    return shlex.join([*words, "--resume"])
