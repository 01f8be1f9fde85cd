"""Options that several commands share: their values, and groups that add them and build what they say.

A group is one class: ``add`` puts its options into a parser, ``build`` checks them and gives the object that
they describe. An option added to a group reaches every command that has the group.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..errors import UsageError
from ..files import local

if TYPE_CHECKING:
    from argparse import _ArgumentGroup  # pyright: ignore[reportPrivateUsage]

    from ..data.dataset import Dataset, FeatureSources
    from ..running.settings import RunSettings
    from ..session.device import DeviceOptions

    ArgumentGroup: TypeAlias = ArgumentParser | _ArgumentGroup


def positive(text: str) -> int:
    """A whole number from 1; anything else is bad usage."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return value


def file_path(text: str) -> Path:
    """A file or folder; ``~`` is the user's home, also behind ``=``, where no shell expands it."""
    return local(text)


def expanded(text: str) -> str:
    """The same where the text itself counts, as training knew it: only ``~`` is replaced."""
    return str(local(text)) if text.startswith("~") else text


class FeatureGroup:
    """Where a dataset's features lie: ``--features`` and one option per source."""

    @staticmethod
    def add(parser: ArgumentGroup) -> None:
        """Add the options."""
        parser.add_argument(
            "--features", type=file_path, metavar="ROOT", help="folder that holds the features' folders"
        )
        parser.add_argument(
            "--video-features",
            type=expanded,
            action="append",
            metavar="DIR",
            help="a folder of video features; repeat it in the order training concatenated them",
        )
        for source in ("audio", "text"):
            parser.add_argument(
                f"--{source}-features",
                type=file_path,
                metavar="DIR",
                help=f"the folder of {source} features, where it is not found under --features",
            )

    @staticmethod
    def build(args: Namespace) -> FeatureSources:
        """What the options say."""
        from ..data.dataset import FeatureSources

        return FeatureSources.of(
            args.features,
            video_features=args.video_features,
            audio_features=args.audio_features,
            text_features=args.text_features,
        )


class DataGroup:
    """Annotations and features, all of them: ``--annotations`` and the options of :class:`FeatureGroup`."""

    @staticmethod
    def add(parser: ArgumentParser, *, required: bool = False) -> ArgumentGroup:
        """Add the options; gives their section of the help."""
        data = parser.add_argument_group("the data")
        data.add_argument(
            "--annotations",
            type=file_path,
            required=required,
            metavar="FILE",
            help="queries, one JSON object per line",
        )
        FeatureGroup.add(data)
        return data


class DatasetGroup:
    """A dataset and which of its queries: those of :class:`DataGroup`, and which samples are taken."""

    @staticmethod
    def add(parser: ArgumentParser, *, required: bool = False) -> None:
        """Add the options."""
        data = DataGroup.add(parser, required=required)
        data.add_argument("--max-samples", type=positive, metavar="N", help="only the first N queries")
        data.add_argument(
            "--sample", action="append", metavar="ID", help="only the query with this qid; may be repeated"
        )
        data.add_argument(
            "--skip-bad", action="store_true", help="leave out samples whose features cannot be used"
        )

    @staticmethod
    def build(args: Namespace) -> Dataset:
        """What the options say. Raises :class:`UsageError` where no annotations are given."""
        from ..data.dataset import Dataset, Selection

        if args.annotations is None:
            raise UsageError("nothing says which queries to run", fix="give --annotations FILE")
        chosen = Selection.of(args.max_samples, args.sample)
        return Dataset(args.annotations, FeatureGroup.build(args), chosen, args.skip_bad)


class DeviceGroup:
    """Where a model runs, and how CUDA is used."""

    @staticmethod
    def add(parser: ArgumentGroup) -> None:
        """Add the options; their values are None or False where the caller says nothing."""
        parser.add_argument(
            "--device", choices=("auto", "cpu", "cuda"), help="where the model runs (default: auto)"
        )
        parser.add_argument(
            "--tf32",
            action="store_true",
            help="let CUDA round the inputs of matrix products to 10 bits: faster, gates move by up to 1e-3",
        )
        parser.add_argument(
            "--cuda-graphs",
            action="store_true",
            help="record the work of each shape of batch once and replay it: for few shapes and "
            "small batches",
        )

    @staticmethod
    def build(args: Namespace) -> DeviceOptions:
        """What the options say. Raises :class:`UsageError` for options that exclude each other."""
        from ..session.device import DeviceOptions

        return DeviceOptions(args.device or "auto", tf32=args.tf32, cuda_graphs=args.cuda_graphs)


class RunGroup:
    """How a dataset is run: the options of :class:`DeviceGroup`, the size of a batch, and ``--resume``."""

    @staticmethod
    def add(parser: ArgumentParser, *, default_batch: str = "32", resume: str | None = None) -> None:
        """Add the options. ``default_batch``: what a batch holds without ``--batch-size``, in words;
        ``resume``: the help of ``--resume``; None for a command that always goes on.
        """
        how = parser.add_argument_group("how the model is run")
        DeviceGroup.add(how)
        how.add_argument(
            "--batch-size", type=positive, metavar="N", help=f"samples in a batch (default: {default_batch})"
        )
        if resume is not None:
            how.add_argument("--resume", action="store_true", help=resume)

    @staticmethod
    def build(args: Namespace) -> RunSettings:
        """What the options say; a command without ``--resume`` always goes on."""
        from ..running.settings import RunSettings

        return RunSettings(DeviceGroup.build(args), args.batch_size, getattr(args, "resume", True))


class SubsetGroup:
    """Which queries are compared with the rest: ``--subset NAME=FILE``."""

    @staticmethod
    def add(parser: ArgumentParser) -> None:
        """Add the option."""
        parser.add_argument(
            "--subset",
            action="append",
            default=[],
            metavar="NAME=FILE",
            help="compare these queries with the rest, such as audio=audio_val.jsonl: annotation lines, or a "
            "list of qids; may be repeated",
        )

    @staticmethod
    def build(args: Namespace, known: Iterable[str]) -> dict[str, frozenset[str]]:
        """The qids of every subset, of which ``known`` are at hand; see :func:`read_subsets`."""
        from ..data.subsets import read_subsets

        return read_subsets(args.subset, known)
