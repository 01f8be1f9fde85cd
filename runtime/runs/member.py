"""A campaign's folder: one folder for each results folder, and in it a record of what became of it.

    campaign/
      NAME/             model.onnx, run/ and, where it was asked for, report/ of one results folder
        member.json     where it is from, and whether it is done
      COMPARISON.md, campaign.html, campaign.json, cells.csv, …   written by the analysis

Several processes may write into one campaign: each member's folder belongs to one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from ..errors import RunFolderError
from ..gates.documents import DocumentFormat
from .atomic import write_atomically
from .schema import RUN_FILE

MEMBER_FILE = "member.json"
CAMPAIGN_FILE = "campaign.json"
#: Where a member's run lies in its folder.
MEMBER_RUN = "run"
_DOCUMENT = DocumentFormat(
    "campaign format", 1, RunFolderError, fix="remove this file and run the same command again"
)


@dataclass(frozen=True)
class Member:
    """What became of one results folder.

    - ``source``: the results folder. ``checkpoint``: the file taken of it; None where none could be.
    - ``state``: ``done``, ``failed`` (then ``reason`` says why), or ``same``: its checkpoint is that of the
      member ``same_as``, which stands for it.
    - ``annotations``: the queries that were run. ``training``: the ``brief`` metrics that training itself
      left for this checkpoint, as it wrote them.
    - ``made_with``: what was chosen in making it; other choices make another.
    - ``place``: its place among the results folders that were given. ``seconds``: how long it took.
    """

    source: str
    state: Literal["done", "failed", "same"]
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    reason: str | None = None
    same_as: str | None = None
    annotations: str | None = None
    training: dict[str, float] = field(default_factory=dict[str, float])
    made_with: str = ""
    place: int = 0
    seconds: float = 0.0
    format_version: int = _DOCUMENT.version

    def write(self, folder: Path) -> None:
        """Put the record into the member's ``folder``, which is made where it is missing."""
        write_atomically(folder / MEMBER_FILE, msgspec.json.format(msgspec.json.encode(self)) + b"\n")


def read_member(folder: Path) -> Member | None:
    """The record in a member's ``folder``; None where there is none.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` for one that is damaged or newer.
    """
    path = folder / MEMBER_FILE
    try:
        raw = _DOCUMENT.decode(path.read_bytes(), path)
        return msgspec.convert(raw, Member)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read", received=error.strerror or str(error)) from error
    except msgspec.ValidationError as error:
        raise _DOCUMENT.damaged(path, error) from error


def member_folders(folder: Path) -> Sequence[Path]:
    """The folders of a campaign's members, by name; those that a member's record or a run is in."""
    try:
        found = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be read", received=error.strerror or str(error)) from error
    return sorted(
        path for path in found if (path / MEMBER_FILE).is_file() or (path / MEMBER_RUN / RUN_FILE).is_file()
    )


def is_campaign(folder: Path) -> bool:
    """Whether ``folder`` holds several runs of one campaign, and is not a run itself."""
    if not folder.is_dir() or (folder / RUN_FILE).is_file():
        return False
    return (folder / CAMPAIGN_FILE).is_file() or any(True for _ in member_folders(folder))
