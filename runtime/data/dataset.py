"""Which dataset: annotations, where the features lie, and which of the queries are taken."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from ..errors import UnknownSampleError, UsageError
from ..files import local
from ..gates.manifest import Manifest
from ..gates.preprocessing import Preprocessing
from .annotations import Annotation, read_annotations
from .folders import FeatureFolders

#: Samples in a batch where neither the caller nor the model says otherwise.
BATCH_SIZE = 32
_SHOWN = 20

AnyPath = str | Path


class SourceOptions(TypedDict, total=False):
    """Keywords of a function that takes folders of features one by one; see :class:`FeatureSources`."""

    video_features: Sequence[AnyPath] | None
    audio_features: AnyPath | None
    text_features: AnyPath | None


class DatasetOptions(SourceOptions, total=False):
    """Keywords of a function that takes a dataset without an object; see :class:`Dataset`."""

    max_samples: int | None
    sample_ids: Sequence[str] | None
    skip_bad: bool


@dataclass(frozen=True)
class FeatureSources:
    """Where the user says the features lie.

    - ``root``: a folder that holds one folder per source.
    - ``video`` (in the model's order, or empty), ``audio``, ``text``: folders that override it.
    """

    root: Path | None = None
    video: tuple[Path, ...] = ()
    audio: Path | None = None
    text: Path | None = None

    @classmethod
    def of(cls, features: AnyPath | None, **folders: Unpack[SourceOptions]) -> FeatureSources:
        """From paths as people write them."""
        return cls(
            _local(features),
            tuple(map(local, folders.get("video_features") or ())),
            _local(folders.get("audio_features")),
            _local(folders.get("text_features")),
        )

    def find(self, manifest: Manifest) -> FeatureFolders:
        """The folder of every source ``manifest`` needs; raises what :meth:`FeatureFolders.find` raises."""
        return FeatureFolders.find(manifest, self.root, video=self.video, audio=self.audio, text=self.text)

    def locate(self, recipe: Preprocessing) -> FeatureFolders:
        """:meth:`find` for a model that takes text and is not exported yet."""
        return FeatureFolders.locate(recipe, self.root, video=self.video, audio=self.audio, text=self.text)

    @property
    def complete(self) -> bool:
        """Whether every source has a folder of its own."""
        return bool(self.video) and self.audio is not None and self.text is not None

    def words(self) -> list[str]:
        """As options of a command."""
        flags = {"--features": self.root, "--audio-features": self.audio, "--text-features": self.text}
        found = [word for flag, path in flags.items() if path is not None for word in (flag, str(path))]
        return found + [word for path in self.video for word in ("--video-features", str(path))]


@dataclass(frozen=True)
class Selection:
    """Which queries of the annotation file are asked for: those with a qid in ``samples`` (None: all), of
    them the first ``max_samples`` (None: all).
    """

    max_samples: int | None = None
    samples: tuple[str, ...] | None = None

    @classmethod
    def of(cls, max_samples: int | None = None, sample_ids: Sequence[str] | None = None) -> Selection:
        """``sample_ids`` in any order, each any number of times."""
        return cls(max_samples, None if sample_ids is None else tuple(sorted(set(sample_ids))))

    def flags(self) -> dict[str, int | tuple[str, ...] | None]:
        """What was chosen, by the option that chooses it."""
        return {"--max-samples": self.max_samples, "--sample": self.samples}

    def words(self) -> list[str]:
        """As options of a command."""
        given = ((flag, value) for flag, value in self.flags().items() if value is not None)
        return [
            word
            for flag, value in given
            for one in (value if isinstance(value, tuple) else (value,))
            for word in (flag, str(one))
        ]

    def of_queries(self, annotations: Sequence[Annotation]) -> list[Annotation]:
        """The queries chosen, in the order of ``annotations``.

        Raises :class:`~gatescope.runtime.errors.UsageError` for a ``max_samples`` below 1 and
        :class:`~gatescope.runtime.errors.UnknownSampleError` that lists the ids no query has.
        """
        if self.max_samples is not None and self.max_samples < 1:
            raise UsageError("--max-samples must be at least 1", received=str(self.max_samples))
        chosen = list(annotations)
        if self.samples is not None:
            wanted = set(self.samples)
            chosen = [annotation for annotation in annotations if annotation.qid in wanted]
            unknown = sorted(wanted - {annotation.qid for annotation in chosen})
            if unknown:
                raise _unknown(unknown, [annotation.qid for annotation in annotations])
        return chosen[: self.max_samples]


@dataclass(frozen=True)
class Dataset:
    """The data of a run: queries of an annotation file and their features.

    - ``skip_bad``: leave out samples whose features cannot be used, instead of stopping before anything is
      written.
    """

    annotations: Path
    sources: FeatureSources
    selection: Selection = Selection()
    skip_bad: bool = False

    @classmethod
    def of(cls, annotations: AnyPath, features: AnyPath | None, **options: Unpack[DatasetOptions]) -> Dataset:
        """From paths and keywords, as people write them."""
        return cls(
            local(annotations),
            FeatureSources.of(
                features,
                video_features=options.get("video_features"),
                audio_features=options.get("audio_features"),
                text_features=options.get("text_features"),
            ),
            Selection.of(options.get("max_samples"), options.get("sample_ids")),
            options.get("skip_bad", False),
        )

    def queries(self) -> list[Annotation]:
        """The queries chosen, in file order; raises what reading them and :class:`Selection` raise."""
        return self.selection.of_queries(read_annotations(self.annotations))

    def words(self) -> list[str]:
        """As options of a command: what decides which numbers it gives."""
        return [
            "--annotations",
            str(self.annotations),
            *self.sources.words(),
            *self.selection.words(),
        ]


def _local(path: AnyPath | None) -> Path | None:
    return None if path is None else local(path)


def _unknown(unknown: list[str], known: list[str]) -> UnknownSampleError:
    shown = ", ".join(unknown[:_SHOWN]) + (
        f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    )
    near = list(
        dict.fromkeys(match for name in unknown for match in difflib.get_close_matches(name, known, 2))
    )
    return UnknownSampleError(
        "the annotation file has no such sample",
        received=shown,
        expected=f"a qid of the file, such as {', '.join((near or known)[:5])}",
        fix="check the ids given to --sample",
    )
