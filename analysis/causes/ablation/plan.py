"""The folder of an ablation while it grows: what it is of, how far it got, and whether it can be continued.

DIR/
  interventions.json              what is computed, and the mean of every gate once it is known
  predictions/part-00000.parquet  every intervention's predictions for some queries, in their order
  queries/00-unchanged.parquet …  each intervention's per-query metrics
  ablation.json, ablation.png, ABLATION.md
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ....runtime.errors import OutputTakenError, RunFolderError, RunMismatchError
from ....runtime.gates.documents import DocumentFormat
from ....runtime.runs import folder as run_folder
from ....runtime.runs.atomic import leftovers, write_atomically
from ....runtime.runs.info import RunInfo
from ....runtime.runs.lock import lock_run
from ....runtime.runs.schema import HOLDER_FILE, LOCK_FILE, RUN_FILE
from ...report.again import short_path

REPORT, DOCUMENT = "ABLATION.md", "ablation.json"
PLAN_FILE = "interventions.json"
# What it was called before runs had a plan of their own; such folders are read and continued.
_EARLIER_FILE = "plan.json"
PARTS_FOLDER = "predictions"
QUERIES_FOLDER = "queries"
# In format 1 gates were set to 0 to shut them, which is right only where they act as g.
_DOCUMENT = DocumentFormat("plan format", 2, RunFolderError, fix="ablate again into another folder")
# So many queries are computed again after a kill, at most.
MOST_QUERIES_PER_PART = 64


@dataclass(frozen=True)
class AblationPlan:
    """The content of ``interventions.json``.

    - ``run``: model, dataset and settings, as a run has them; its ``finished`` says that every part is there.
    - ``interventions``: their names, in order. ``gate_means``: by kind, (layers, 1, channels | 1); None
      before they are known. ``donor_seed``: which order of the videos the donors follow.
    """

    run: RunInfo
    interventions: tuple[str, ...]
    donor_seed: int
    gate_means: dict[str, list[list[list[float]]]] | None = None
    format_version: int = _DOCUMENT.version


def queries_per_part(batch_size: int) -> int:
    """A multiple of the batch size, so that a continued ablation has the batches of an undisturbed one."""
    return max(MOST_QUERIES_PER_PART // batch_size, 1) * batch_size


def ablation_words(run: RunInfo, output: Path, subsets: Sequence[str] = ()) -> list[str]:
    """``gatescope ablate`` on the model, the dataset and the folders of features of ``run``."""
    there = run.features
    words = ["gatescope", "ablate", short_path(run.model.path)]
    words += ["--annotations", short_path(run.annotations.path)]
    for folder in there.video:
        words += ["--video-features", short_path(folder)]
    words += ["--audio-features", short_path(there.audio)]
    words += ["--text-features", short_path(there.text)] if there.text else []
    words += ["--batch-size", str(run.batch_size)] if run.manifest.batching == "reference" else []
    most = run.selection.max_samples
    words += [] if most is None else ["--max-samples", str(most)]
    words += ["--skip-bad"] if run.skipped else []
    for spec in subsets:
        name, _, file = spec.partition("=")
        words += ["--subset", f"{name}={short_path(file)}"]
    return [*words, "--output", short_path(output)]


def write_plan(folder: Path, plan: AblationPlan) -> None:
    """Put ``interventions.json`` into the folder, in place of the file of an earlier gatescope."""
    write_atomically(folder / PLAN_FILE, msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")
    (folder / _EARLIER_FILE).unlink(missing_ok=True)


def earlier_plan(folder: Path, stack: ExitStack, *, resume: bool) -> AblationPlan | None:
    """The ablation that ``folder`` holds; None where a new one may be written. Its lock is then held by
    ``stack``.

    Raises :class:`~gatescope.runtime.errors.RunLockedError` where another process writes the folder, and
    :class:`~gatescope.runtime.errors.OutputTakenError` where it holds an ablation that was not to be resumed,
    or anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputTakenError(f"{folder} is a file", expected="a folder to write the ablation to")
    if not folder.exists():
        return None
    found = _stored(folder)
    if found is None:
        others = sorted(path.name for path in folder.iterdir() if not _left_by_a_start(path))
        if others:
            raise OutputTakenError(
                f"{folder} is not empty and holds no ablation",
                received=", ".join(others[:10]) + (f" and {len(others) - 10} more" if others[10:] else ""),
                expected="a new or empty folder",
                fix="choose another --output",
            )
        return None
    if not resume:
        raise OutputTakenError(
            f"{folder} holds an ablation",
            fix="run the same command with --resume to go on with it, or to judge it again with other "
            "subsets; or choose another --output",
        )
    claim(folder, stack)
    return _read(found)


def _stored(folder: Path) -> Path | None:
    """The file that says what the folder's ablation is; None where it holds none, or a run with its plan."""
    if (folder / PLAN_FILE).is_file():
        return folder / PLAN_FILE
    earlier = folder / _EARLIER_FILE
    return earlier if earlier.is_file() and not (folder / RUN_FILE).exists() else None


def claim(folder: Path, stack: ExitStack) -> None:
    """Make the folder and hold its lock until ``stack`` closes."""
    folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(lock_run(folder))
    for place in (folder, folder / PARTS_FOLDER, folder / QUERIES_FOLDER):
        for path in leftovers(place):
            path.unlink(missing_ok=True)


def check_continues(plan: AblationPlan, earlier: AblationPlan, folder: Path) -> None:
    """See that ``earlier`` is of the same model, dataset, settings and interventions.

    Raises :class:`~gatescope.runtime.errors.RunMismatchError` that says what differs.
    """
    plan.run.check_continues(earlier.run, folder)
    if (plan.interventions, plan.donor_seed) != (earlier.interventions, earlier.donor_seed):
        raise RunMismatchError(
            f"{folder} holds an ablation with other interventions",
            received=", ".join(earlier.interventions),
            expected=", ".join(plan.interventions),
            fix="choose another --output",
        )


def ablation_folder(folder: Path) -> AbstractContextManager[None]:
    """What the system refuses while the folder is written, as an error that says what to do."""
    return run_folder.writing(folder, "folder", PLAN_FILE)


def _read(path: Path) -> AblationPlan:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read", received=error.strerror or str(error)) from error
    plain = _DOCUMENT.decode(content, path)
    if plain["format_version"] < _DOCUMENT.version:
        raise RunFolderError(
            f"{path} is the plan of an earlier gatescope, which set every gate to 0 to shut it",
            received=f"format {plain['format_version']}",
            expected=f"format {_DOCUMENT.version}: gates that act as 1 + g (FiLM) are set to −1",
            fix=_DOCUMENT.fix,
        )
    try:
        return msgspec.convert(plain, AblationPlan)
    except msgspec.ValidationError as error:
        raise _DOCUMENT.damaged(path, error) from error


def _left_by_a_start(path: Path) -> bool:
    """Whether an ablation that was killed before its interventions existed may have left ``path``."""
    return path.name in (LOCK_FILE, HOLDER_FILE) or (path.name.startswith(".") and path.suffix == ".partial")
