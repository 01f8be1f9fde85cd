"""The options of commands that read a training's results folder: RESULTS, ``--checkpoint`` and ``--root``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.cli.options import FeatureGroup, file_path
from ...runtime.errors import UsageError

if TYPE_CHECKING:
    from ...runtime.data.dataset import Dataset
    from ..proof.verify import VerifyRequest
    from ..reading.results import ResultsFolder


class ResultsGroup:
    """A results folder, or a checkpoint file by itself."""

    @staticmethod
    def add(parser: ArgumentParser, *, several: bool = False) -> None:
        """Add the options; ``several``: the command takes more than one folder."""
        parser.add_argument(
            "results",
            nargs="*" if several else "?",
            type=file_path,
            metavar="RESULTS",
            help="the folder training wrote, or a checkpoint in it; annotations, features and predictions "
            "are found from there"
            + ("; several are one campaign, whose settings are compared" if several else ""),
        )
        parser.add_argument(
            "--checkpoint",
            type=file_path,
            metavar="FILE|NAME",
            help="the file training saved (.ckpt, .pth), by itself; with RESULTS the name of one in it "
            "(default: the best)",
        )
        parser.add_argument(
            "--root",
            type=file_path,
            metavar="DIR",
            help="with RESULTS: a folder under which the paths that training recorded are looked for, by "
            "their last parts",
        )

    @staticmethod
    def build(args: Namespace, folder: Path | None) -> ResultsFolder | None:
        """The results folder ``folder`` as the options say; None where a checkpoint is named by itself.

        Raises :class:`UsageError` where neither is given.
        """
        from ..reading.results import open_results

        named: Path | None = args.checkpoint
        if folder is None and named is not None and named.is_dir():
            folder, named = named, None
        if folder is None:
            if named is None:
                raise UsageError(
                    "nothing says which model",
                    fix="give the results folder of its training, or --checkpoint FILE",
                )
            if args.root is not None:
                raise UsageError("--root without RESULTS", fix="give the results folder, or leave it out")
            return None
        return open_results(
            folder,
            checkpoint=None if named is None else str(named),
            annotations=args.annotations,
            sources=FeatureGroup.build(args),
            root=args.root,
        )


def data_of(args: Namespace, results: ResultsFolder) -> Dataset:
    """The data of ``results``, and which queries of it the options of :class:`DatasetGroup` take."""
    from ...runtime.data.dataset import Selection
    from ..from_results import dataset_of

    return dataset_of(results, Selection.of(args.max_samples, args.sample), skip_bad=args.skip_bad)


def verification_with(args: Namespace, results: ResultsFolder) -> VerifyRequest | None:
    """What to verify a model of ``results`` with; says why where training's predictions do not apply."""
    from ..from_results import verification_of

    if args.no_verify:
        if args.verify is not None:
            raise UsageError("--verify together with --no-verify", fix="leave one of them out")
        return None
    if args.verify is not None:
        from ..from_results import dataset_of
        from ..proof.verify import VerifyRequest

        data = dataset_of(results)
        return VerifyRequest(
            args.verify, data.annotations, batch_size=args.verify_batch_size, sources=data.sources
        )
    request, said = verification_of(results, args.verify_batch_size)
    if request is None:
        print(f"gatescope: {said}", file=sys.stderr, flush=True)
    return request


def show_results(results: ResultsFolder) -> None:
    """Say on standard error what was found in the folder and what is taken."""
    lines = [f"{results.folder}", *(f"  {line}" for line in results.said)]
    print("\n".join(lines), file=sys.stderr, flush=True)
