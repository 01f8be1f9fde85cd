"""A gate log of an earlier tool becomes a finished run folder, which every analysis reads."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import polars as pl

from ..data.dataset import Selection
from ..files import local
from ..gates.gatings import has_channels, is_plain_global
from ..gates.manifest import Fact, Manifest
from ..gates.preprocessing import Preprocessing
from ..gates.shape import rows_of
from ..progress import progress
from .folder import claim_new, earlier_run, writing
from .gate_log import LogFacts, check_log, read_gate_log
from .info import FeatureRef, FileRef, RunInfo
from .provenance import run_versions
from .reader import Run, open_run
from .schema import SAMPLES_SCHEMA
from .stopwatch import RunClock
from .table import SampleGates
from .writer import RunWriter, samples_per_part

_UNKNOWN = "(unknown: the gates come from a log)"


def import_log(log: str | Path, folder: str | Path, *, resume: bool = False) -> Run:
    """Write the gates of ``log`` (:mod:`gatescope.runtime.runs.gate_log`) as the run ``folder``.

    The log is read twice, a line at a time: once to see that all of it can be used, once to write. What it
    does not tell is marked as unknown; durations are null, and where gates are one number a video, so is
    ``clips``. NaN and Inf are kept: the analysis counts them. Raises
    :class:`~gatescope.runtime.errors.DatasetError` that lists the bad lines,
    :class:`~gatescope.runtime.errors.RunFolderError` where the folder cannot be written or holds something,
    and :class:`~gatescope.runtime.errors.RunMismatchError` where ``resume`` finds another run.
    """
    log, folder, clock = local(log), local(folder), RunClock()
    with ExitStack() as stack:
        with writing(folder):
            earlier = earlier_run(folder, stack, resume=resume)
        with clock.checking:
            facts = check_log(log)
        info = _info(log, facts)
        if earlier is not None:
            info.check_continues(earlier, folder)
            if earlier.finished:
                return open_run(folder)
            clock.continue_from(earlier.timings)
        with writing(folder):
            if earlier is None:
                claim_new(folder, stack)
                writer = RunWriter.begin(folder, info, _samples(facts))
            else:
                writer = RunWriter.resume(folder, earlier)
            _write_parts(writer, log, facts, clock)
    return open_run(folder)


def _write_parts(writer: RunWriter, log: Path, facts: LogFacts, clock: RunClock) -> None:
    lines = read_gate_log(log, facts)
    done, size = writer.next_part * writer.info.samples_per_part, writer.info.samples_per_part
    with progress("importing", len(facts.qids), done=done) as advance:
        for _ in islice(lines, done):
            pass
        while part := [SampleGates(one.qid, one.gates) for one in islice(lines, size)]:
            with clock.writing:
                writer.write_part(part, [], clock.timings(done))
            done += len(part)
            advance(len(part))
    writer.finish(clock.timings(done))


def _samples(facts: LogFacts) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sample_id": facts.qids,
            "qid": facts.qids,
            "vid": facts.vids,
            "clips": facts.clips,
            "duration": [None] * len(facts.qids),
        },
        schema=SAMPLES_SCHEMA,
    )


def _info(log: Path, facts: LogFacts) -> RunInfo:
    manifest = log_manifest(facts)
    return RunInfo(
        model=FileRef(_UNKNOWN, ""),
        manifest=manifest,
        annotations=FileRef(str(log.resolve()), facts.sha256),
        features=FeatureRef((_UNKNOWN,), _UNKNOWN, None),
        selection=Selection(),
        batch_size=1,
        device="unknown",
        samples=len(facts.qids),
        samples_per_part=samples_per_part(manifest, 1),
        predictions=False,
        versions=run_versions({}),
    )


def log_manifest(facts: LogFacts) -> Manifest:
    """What a log says about the model behind it, and no more."""
    shapes = [seen.shape(seen.assumed_range) for seen in facts.seen.values()]
    widths = {shape.channels for shape in shapes if shape.channels > 1}
    return Manifest(
        family="unknown (imported from a gate log)",
        gating=facts.gating,
        gates=rows_of(shapes),
        inputs=(),
        outputs=tuple(shape.tensor() for shape in shapes),
        preprocessing=Preprocessing.unknown(_UNKNOWN, max(facts.clips)),
        facts={
            "fusion_layers": Fact(facts.layers, "log"),
            **({"hidden_dim": Fact(widths.pop(), "log")} if len(widths) == 1 else {}),
        },
        checkpoint_sha256="",
        versions={"gatescope": version("gatescope")},
        opset=None,
        precision="unknown",
        batching="reference",
        outputs_kind="tracked",
        # Nobody knows, so the gates of a video are not taken for those of all its queries.
        depends_on_text=True,
        format="live",
        warnings=tuple(_warnings(facts)),
    )


def _warnings(facts: LogFacts) -> list[str]:
    told = [
        "These gates were imported from a log of an earlier tool: which model gave them, from which features "
        "and in which batches, is not known, and nothing here was compared with it."
    ]
    for kind, seen in facts.seen.items():
        low, high = seen.assumed_range
        if high > 1:
            told.append(
                f"The log does not say the range of the {kind} gate, and it holds values beyond −1 to 1: "
                f"{low:.4g} to {high:.4g} is the largest that was seen. "
                "What counts as saturated is relative to it."
            )
        else:
            sigmoid = ", though none is below 0, as of a sigmoid" if seen.lowest >= 0 else ""
            told.append(
                f"The log does not say the range of the {kind} gate: −1 to 1 is assumed{sigmoid}. "
                "What counts as saturated is relative to it."
            )
        single = not seen.per_clip and seen.channels == 1
        if not is_plain_global(facts.gating) and single and max(facts.clips) == 1:
            told.append(
                f"The log holds one number for the {kind} gate of a layer, though the gating is "
                f"{facts.gating}: most likely means over clips. The statistics are of these means."
            )
        if has_channels(facts.gating) and seen.per_clip and seen.channels == 1:
            told.append(
                f"The log holds one number per clip for the {kind} gate, though gating is {facts.gating}: "
                "most likely means over channels. The statistics are of these means."
            )
    return told
