"""The pass over a dataset before a run: reads every feature file once and finds the samples that cannot run.

It has to read the data and not only the headers, since NaN and Inf hide there; what it reads stays in the
system's file cache for the run that follows. The run need not verify again what has not changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from .annotations import Annotation
from .crew import Crew, reading_threads
from .features import read_audio, read_text, read_video
from .folders import FeatureFolders
from .scratch import Scratch

# Videos whose progress is told together.
_TOLD_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class CheckedSamples:
    """What the pass found.

    - ``good``: the annotations that can run, in their order.
    - ``clips``, ``words``: L and T of each, as the model gets them; T is 0 where it takes no text.
    - ``stored``: clips that the video (the shortest of its sources) and the audio of each have.
    - ``states``: int64 (good, 2), the state of each one's video and text files, another number once they
      change.
    - ``bad``: (qid, reason) of the others, in their order.
    """

    good: list[Annotation]
    clips: list[int]
    words: list[int]
    stored: list[tuple[int, int]]
    states: NDArray[np.int64]
    bad: list[tuple[str, str]]


def check_samples(
    folders: FeatureFolders,
    annotations: Sequence[Annotation],
    *,
    advance: Callable[[int], None] | None = None,
    beside: Sequence[Callable[[], None]] = (),
) -> CheckedSamples:
    """Read the features of every annotation; each video's files once, however many queries it has.

    ``advance`` is told how many more samples were checked. Other work goes on ``beside``, each in a thread of
    its own, and is done when this returns. Raises nothing for bad samples, which are listed, but at once what
    the other work fails with.
    """
    queries: dict[str, list[int]] = {}
    for place, annotation in enumerate(annotations):
        queries.setdefault(annotation.vid, []).append(place)
    clips = [0] * len(annotations)
    words = [0] * len(annotations)
    stored = [(0, 0)] * len(annotations)
    states = np.zeros((len(annotations), 2), np.int64)
    reasons: dict[int, str] = {}

    def check_video(vid: str, scratch: Scratch) -> int:
        scratch.reset()
        try:
            (has, state), problem = _video(folders, vid, scratch), None
        except DatasetError as error:
            has, state, problem = (0, 0), 0, error.problem
        length = min(*has, folders.preprocessing.max_v_l)
        for place in queries[vid]:
            clips[place], stored[place], states[place, 0] = length, has, state
            problems = [] if problem is None else [problem]
            try:
                words[place], states[place, 1] = _text(folders, annotations[place].qid, scratch)
            except DatasetError as error:
                problems.append(error.problem)
            if problems:
                reasons[place] = "; ".join(problems)
        return len(queries[vid])

    with Crew() as crew:
        vids = iter(queries)

        def check() -> None:
            scratch = Scratch()
            while not crew.stopping:
                with crew.changed:
                    some = list(islice(vids, _TOLD_TOGETHER))
                if not some:
                    return
                crew.tell(sum(0 if crew.stopping else check_video(vid, scratch) for vid in some))

        crew.start(beside, abandonable=[check] * reading_threads())
        for checked in crew.listen():
            if advance is not None:
                advance(checked)
    good = [place for place in range(len(annotations)) if place not in reasons]
    return CheckedSamples(
        good=[annotations[place] for place in good],
        clips=[clips[place] for place in good],
        words=[words[place] for place in good],
        stored=[stored[place] for place in good],
        states=states[good],
        bad=[(annotations[place].qid, reasons[place]) for place in sorted(reasons)],
    )


def _video(folders: FeatureFolders, vid: str, scratch: Scratch) -> tuple[tuple[int, int], int]:
    """Clips of the video, which is the shortest of its sources, and of the audio, and the state of the files.

    Raises what is wrong with any of them.
    """
    problems: list[str] = []
    of_video, of_audio, states = 0, 0, [0, 0]
    try:
        video = read_video(folders, vid, scratch=scratch)
        of_video = min(map(len, video.sources))
        states[0] = video.state
    except DatasetError as error:
        problems.append(error.problem)
    try:
        audio = read_audio(folders, vid, scratch=scratch)
        of_audio = len(audio.values)
        states[1] = audio.state
    except DatasetError as error:
        problems.append(error.problem)
    if problems:
        raise DatasetError("; ".join(problems))
    return (of_video, of_audio), hash(tuple(states))


def _text(folders: FeatureFolders, qid: str, scratch: Scratch) -> tuple[int, int]:
    """T, at most max_q_l, and the state of the file; zeros where the model takes no text."""
    text = read_text(folders, qid, scratch=scratch)
    return (0, 0) if text is None else (min(len(text.values), folders.preprocessing.max_q_l), text.state)
