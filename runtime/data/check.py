"""The pass over a dataset before a run: reads every feature file once and finds the samples that cannot run.

It has to read the data and not only the headers, since NaN and Inf hide there; what it reads stays in the
system's file cache for the run that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import DatasetError
from .annotations import Annotation
from .features import read_audio, read_text, read_video
from .folders import FeatureFolders

# Reading, checksums and numpy release the interpreter's lock, so a few threads read at the disk's speed.
_THREADS = 4
# Videos handed to the threads at a time: bounds what waits, and lets an interruption take effect.
_CHUNK = 64


@dataclass(frozen=True)
class CheckedSamples:
    """What the pass found.

    - ``good``: the annotations that can run, in their order. ``clips``: L of each, the model's clips.
    - ``bad``: (qid, reason) of the others, in their order.
    """

    good: list[Annotation]
    clips: list[int]
    bad: list[tuple[str, str]]


def check_samples(
    folders: FeatureFolders,
    annotations: Sequence[Annotation],
    *,
    advance: Callable[[int], None] | None = None,
) -> CheckedSamples:
    """Read the features of every annotation; each video's files once, however many queries it has.

    ``advance`` is told how many more samples were checked. Raises nothing for bad samples: they are listed.
    """
    queries: dict[str, list[int]] = {}
    for place, annotation in enumerate(annotations):
        queries.setdefault(annotation.vid, []).append(place)
    clips = [0] * len(annotations)
    reasons: dict[int, str] = {}

    def check_video(vid: str) -> int:
        try:
            length, problem = _clips_of(folders, vid), None
        except DatasetError as error:
            length, problem = 0, error.problem
        for place in queries[vid]:
            clips[place] = length
            both = [problem, _text_problem(folders, annotations[place].qid)]
            if told := "; ".join(text for text in both if text is not None):
                reasons[place] = told
        return len(queries[vid])

    vids = list(queries)
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(vids), _CHUNK):
            for checked in pool.map(check_video, vids[start : start + _CHUNK]):
                if advance is not None:
                    advance(checked)
    good = [place for place in range(len(annotations)) if place not in reasons]
    return CheckedSamples(
        good=[annotations[place] for place in good],
        clips=[clips[place] for place in good],
        bad=[(annotations[place].qid, reasons[place]) for place in sorted(reasons)],
    )


def _clips_of(folders: FeatureFolders, vid: str) -> int:
    """L: the shortest of the sources, the audio and max_v_l. Raises on what is wrong with any of them."""
    problems: list[str] = []
    lengths = [folders.preprocessing.max_v_l]
    try:
        lengths += [len(array) for array in read_video(folders, vid)]
    except DatasetError as error:
        problems.append(error.problem)
    try:
        lengths.append(len(read_audio(folders, vid)))
    except DatasetError as error:
        problems.append(error.problem)
    if problems:
        raise DatasetError("; ".join(problems))
    return min(lengths)


def _text_problem(folders: FeatureFolders, qid: str) -> str | None:
    try:
        read_text(folders, qid)
    except DatasetError as error:
        return error.problem
    return None
