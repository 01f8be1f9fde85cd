"""The runs of a campaign, and what became of results folders that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....runtime.errors import GatescopeError, RunFolderError
from ....runtime.files import local
from ....runtime.gates.manifest import Training
from ....runtime.runs.member import MEMBER_RUN, Member, member_folders, read_member
from ....runtime.runs.reader import Run, open_run

_UNKNOWN = "an unknown dataset"


@dataclass(frozen=True)
class CampaignRun:
    """One run of a campaign. ``member``: its record; None for a run that was made by itself."""

    name: str
    run: Run
    member: Member | None

    @property
    def training(self) -> Training:
        """How its model was trained, as far as that was recorded."""
        return self.run.manifest.training or Training()

    @property
    def dataset(self) -> str:
        """What training called the data."""
        return (self.training.dset_name or _UNKNOWN).lower()

    @property
    def domain(self) -> str | None:
        """The part of the dataset that the model is for, as each of TVSum's has its own."""
        found = self.training.dset_domain
        return None if found in (None, "", "None") else found

    @property
    def annotations(self) -> Path:
        """The queries that were run, where they were then."""
        recorded = None if self.member is None else self.member.annotations
        return local(recorded or self.run.record.annotations.path)

    @property
    def trained_metrics(self) -> dict[str, float]:
        """The ``brief`` metrics that training left for this checkpoint, as it wrote them."""
        return {} if self.member is None else self.member.training


@dataclass(frozen=True)
class CampaignFolder:
    """A campaign: its ``runs`` in the order of the results folders, and what has none.

    - ``failed``: why, by name. ``same``: by name, the run with the same checkpoint that stands for it.
    """

    folder: Path
    runs: tuple[CampaignRun, ...]
    failed: dict[str, str]
    same: dict[str, str]

    @property
    def names(self) -> Sequence[str]:
        """The names of the runs."""
        return [one.name for one in self.runs]


def open_campaign(folder: Path) -> CampaignFolder:
    """Read the records and open the runs of the campaign ``folder``.

    A run that cannot be opened is a failure like any other: the rest is compared. One checkpoint counts once,
    however many folders hold it. Raises :class:`~gatescope.runtime.errors.RunFolderError` for a folder that
    is no campaign.
    """
    found: list[tuple[int, CampaignRun]] = []
    failed: dict[str, str] = {}
    same: dict[str, str] = {}
    folders = member_folders(folder)
    if not folders:
        raise RunFolderError(
            f"{folder} holds no campaign",
            expected="a folder that `gatescope report RESULTS RESULTS … --output DIR` wrote",
        )
    for path in folders:
        try:
            member = read_member(path)
            if member is not None and member.state == "failed":
                failed[path.name] = member.reason or "no reason was recorded"
            elif member is not None and member.state == "same":
                same[path.name] = member.same_as or "another"
            else:
                own = CampaignRun(path.name, open_run(path / MEMBER_RUN), member)
                found.append((0 if member is None else member.place, own))
        except GatescopeError as error:
            failed[path.name] = str(error)
    runs: list[CampaignRun] = []
    first: dict[str, str] = {}
    for _, one in sorted(found, key=lambda each: each[0]):  # stable: by name where places are alike
        checkpoint = one.run.manifest.checkpoint_sha256
        if checkpoint and checkpoint in first:
            same[one.name] = first[checkpoint]
            continue
        first[checkpoint] = one.name
        runs.append(one)
    return CampaignFolder(folder, tuple(runs), failed, same)
