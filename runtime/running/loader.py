"""Reads the samples of one video into their rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.features import read_audio, read_text, read_video
from ..data.folders import FeatureFolders
from ..data.padded import PaddedBatch
from ..data.prepare import write_clips, write_words
from ..data.scratch import Scratch
from ..errors import DatasetError, InputError
from .plan import RunPlan


class SampleLoader:
    """Loads samples of a plan, whose files must be as they were when the plan was made; for any thread."""

    def __init__(self, plan: RunPlan, folders: FeatureFolders) -> None:
        self._plan = plan
        self._folders = folders

    @property
    def text(self) -> bool:
        """Whether the model takes text."""
        return self._folders.text is not None

    def load(self, batch: PaddedBatch, rows: Sequence[int], places: Sequence[int], scratch: Scratch) -> None:
        """Fill ``rows`` of ``batch`` with the samples at ``places`` of the plan, all of one video.

        ``scratch`` is the calling thread's own, and is reset.
        Raises :class:`~gatescope.runtime.errors.DatasetError` where a file cannot be read any more or is not
        the one that was checked.
        """
        sample = self._plan.samples[places[0]]
        scratch.reset()
        try:
            self._load_clips(batch, rows, places, scratch)
            for row, place in zip(rows, places, strict=True):
                sample = self._plan.samples[place]
                if self.text:
                    self._load_words(batch, row, place, scratch)
        except (DatasetError, InputError) as error:
            raise DatasetError(
                error.problem,
                received=", ".join(filter(None, [f"query {sample.qid} of {sample.vid}", error.received])),
                expected=error.expected or "features that stay as they were when the run began",
                fix="see that nothing writes to these files, then run the same command with --resume",
            ) from error

    def _load_clips(
        self, batch: PaddedBatch, rows: Sequence[int], places: Sequence[int], scratch: Scratch
    ) -> None:
        plan, recipe = self._plan, self._folders.preprocessing
        vid = plan.samples[places[0]].vid
        video = read_video(self._folders, vid, verify=False, scratch=scratch)
        audio = read_audio(self._folders, vid, verify=False, scratch=scratch)
        length = min(recipe.max_v_l, len(audio.values), *map(len, video.sources))
        state = hash((video.state, audio.state))
        for row, place in zip(rows, places, strict=True):
            if length != batch.clips[row]:
                raise _changed(f"the features of {vid}", f"{length} clips", f"{batch.clips[row]} clips")
            if state != plan.states[place, 0]:
                raise _changed(f"the features of {vid}")
        first = batch.clip_rows(rows[0])
        write_clips(recipe, video.sources, audio.values, *first)
        for row in rows[1:]:
            for target, source in zip(batch.clip_rows(row), first, strict=True):
                target[:] = source

    def _load_words(self, batch: PaddedBatch, row: int, place: int, scratch: Scratch) -> None:
        qid = self._plan.samples[place].qid
        text = read_text(self._folders, qid, verify=False, scratch=scratch)
        if text is None or text.state != self._plan.states[place, 1]:
            raise _changed(f"the text features of query {qid}")
        write_words(self._folders.preprocessing, text.values, batch.word_rows(row))


def _changed(what: str, found: str | None = None, planned: str | None = None) -> DatasetError:
    return DatasetError(
        f"{what} changed while the run was going on",
        received=found or "another size or modification time",
        expected=planned and f"{planned}, as when they were checked",
    )
