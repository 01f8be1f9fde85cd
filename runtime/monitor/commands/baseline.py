"""``gatescope monitor baseline``: the reference that production is held against."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...cli.command import Command
from ...cli.options import file_path, positive
from ...errors import BaselineError, MonitorError, UsageError
from .options import add_thresholds

if TYPE_CHECKING:
    from ...runs.reader import Run
    from ..baseline.baseline import Baseline, BaselineSource
    from ..baseline.videos import BaselineVideos
    from ..diagnosis.signatures import Signatures
    from ..model import WatchedModel


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        type=file_path,
        nargs="+",
        metavar="SOURCE",
        help="run folders, gate logs or other baselines of one model; their videos are merged, each once",
    )
    parser.add_argument(
        "-o", "--output", type=file_path, required=True, metavar="FILE", help="the baseline to write"
    )
    add_thresholds(parser, "default: 25, 50 and 200", "default: 0.01")
    parser.add_argument(
        "--insist",
        action="store_true",
        help="make it of fewer than 100 videos, whose thresholds are guesses, and without those whose gates"
        " are not finite numbers",
    )
    faults = parser.add_argument_group(
        "what faults look like",
        "Where a run's model, annotations and features are still there, the model runs again over some of\n"
        "its videos, broken on purpose, so that alarms can name what broke.",
    )
    faults.add_argument("--no-faults", action="store_true", help="leave that out")
    faults.add_argument(
        "--fault-videos", type=positive, metavar="N", help="videos that are broken (default: 200)"
    )
    faults.add_argument(
        "--silence",
        type=file_path,
        metavar="FILE",
        help="an .npy file with the raw audio features of a silent clip (default: the quietest clips)",
    )
    faults.add_argument("--model", type=file_path, metavar="FILE", help="the model, if it has moved")
    faults.add_argument(
        "--annotations", type=file_path, metavar="FILE", help="the annotations, if they have moved"
    )
    faults.add_argument("--features", type=file_path, metavar="ROOT", help="the features, if they have moved")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _run(args: Namespace) -> int:
    from ..baseline.baseline import FALSE_ALARMS, WINDOWS, make_baseline
    from ..baseline.stored import save_baseline

    model, parts, sources, runs, known = _read(args.sources)
    baseline = make_baseline(
        model,
        parts,
        sources=sources,
        windows=args.window or WINDOWS,
        false_alarms=args.false_alarms or FALSE_ALARMS,
        insist=args.insist,
    )
    signatures, note = _learn(args, baseline, runs, known)
    baseline = replace(baseline, signatures=signatures, signatures_note=note)
    save_baseline(baseline, args.output)
    if args.json:
        print(json.dumps(_summary(args.output, baseline)))
    else:
        print(_text(args.output, baseline))
    return 0


def _read(
    paths: list[Path],
) -> tuple[WatchedModel, list[BaselineVideos], list[BaselineSource], list[Run], Signatures | None]:
    """The model, the videos of each source, the runs among them, and signatures that a baseline had."""
    from ...runs.reader import open_run
    from ..baseline.baseline import BaselineSource
    from ..baseline.sources import folder_kind, model_of_run, videos_of_log, videos_of_run
    from ..baseline.stored import load_baseline
    from ..log.folder import open_folder
    from ..log.reader import read_log

    first: tuple[Path, WatchedModel] | None = None
    parts: list[BaselineVideos] = []
    sources: list[BaselineSource] = []
    runs: list[Run] = []
    known: Signatures | None = None
    for path in paths:
        kind = folder_kind(path)
        if kind == "run":
            run = open_run(path)
            runs.append(run)
            model, videos = model_of_run(run), videos_of_run(run)
        elif kind == "log":
            model = open_folder(path).model
            videos = videos_of_log(model.layout, (one.video for one in read_log(path)))
        else:
            earlier = load_baseline(path)
            model, videos, known = earlier.model, earlier.videos, known or earlier.signatures
        if first is None:
            first = path, model
        elif different := first[1].differences(model):
            raise BaselineError(
                f"{path} is of another model than {first[0]}",
                received="; ".join(different),
                expected="sources of one model",
                fix="make a baseline for each model",
            )
        parts.append(videos)
        sources.append(BaselineSource(kind, str(path), len(videos)))
    assert first is not None
    return first[1], parts, sources, runs, known


def _learn(
    args: Namespace, baseline: Baseline, runs: list[Run], known: Signatures | None
) -> tuple[Signatures | None, str]:
    """What faults look like, or None and why."""
    told = [args.fault_videos, args.silence, args.model, args.annotations, args.features]
    if args.no_faults:
        if any(option is not None for option in told):
            raise UsageError("--no-faults leaves faults out", received="options that say how to make them")
        return None, "left out by --no-faults"
    if known is not None and not any(option is not None for option in told):
        return known, ""
    if not runs:
        return known, "" if known else "faults are learned from a run folder, whose model can run again"
    from ...progress import progress
    from ..learning.learn import LEARNED_VIDEOS, VARIANTS, learn_signatures

    wanted = args.fault_videos or LEARNED_VIDEOS
    try:
        # Each video runs as it is, and once for every variant of a fault.
        videos = min(wanted, *(source.videos for source in baseline.sources if source.kind == "run"))
        with progress("learning faults", (1 + VARIANTS) * videos) as advance:
            found = learn_signatures(
                runs[0],
                baseline,
                videos=wanted,
                silence=args.silence,
                model=args.model,
                annotations=args.annotations,
                features=args.features,
                advance=advance,
            )
    except MonitorError as error:
        if any(option is not None for option in told):
            raise
        print(f"gatescope: alarms will not name faults: {error}", file=sys.stderr)
        return None, str(error).replace("\n", " ")
    return found, ""


def _summary(path: Path, baseline: Baseline) -> dict[str, object]:
    found = baseline.signatures
    return {
        "output": str(path),
        "model": baseline.model.version,
        "videos": len(baseline.videos),
        "slices": baseline.videos.slice_sizes,
        "windows": baseline.windows,
        "false_alarms": baseline.false_alarms,
        "faults": [
            {"label": one.label, "variant": one.variant, "beyond": one.beyond, "visible": one.visible}
            for one in (found.faults if found else ())
        ],
        "faults_note": baseline.signatures_note,
    }


def _text(path: Path, baseline: Baseline) -> str:
    windows = ", ".join(map(str, baseline.windows))
    lines = [
        f"wrote {path}: {len(baseline.videos)} videos of model {baseline.model.version}",
        f"  windows of {windows} videos, false alarms in {baseline.false_alarms:.3g} of them at most",
    ]
    small = [name for name in baseline.videos.slice_sizes if name not in baseline.slices]
    if baseline.slices:
        lines.append(f"  slices watched by themselves: {', '.join(baseline.slices)}")
    if small:
        lines.append(f"  slices with too few videos for that: {', '.join(small)}")
    if baseline.signatures is None:
        return "\n".join([*lines, f"  alarms will not name faults: {baseline.signatures_note}"])
    labels = dict.fromkeys(one.label for one in baseline.signatures.faults)
    invisible = baseline.signatures.invisible
    shown = [label for label in labels if label not in invisible]
    lines.append(f"  faults that these gates show: {', '.join(shown) or 'none'}")
    if invisible:
        lines.append(f"  faults that these gates do not show within 100 videos: {', '.join(invisible)}")
    return "\n".join(lines)


command = Command(
    summary="make the reference that production is held against",
    example="gatescope monitor baseline run/ --output baseline.json",
    configure=_configure,
    run=_run,
)
