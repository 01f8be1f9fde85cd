"""Which code trained a checkpoint: what lies next to it is parsed, and nothing of it is run.

Training leaves ``code.zip``, or at least ``model.py`` and ``transformer.py``, in its results folder. Where
everything in it that decides the model's numbers is that of a known branch, so is the forward pass; anything
else is unknown code, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...runtime.brief import counted
from ...runtime.files import local
from ...runtime.gates.vocabulary import Activation, Family, Gating
from .fingerprint import Fingerprint, fingerprint_code
from .known_branches import KnownBranch, known_branches
from .sources import UnreadableCodeError

CODE_FILE = "code.zip"
# What is to be done where no family of ours computes what a checkpoint was trained with.
OWN_CODE = "let the code that trained it build the model (--code, or --model package.module:factory)"
_MODULES = ("model.py", "transformer.py")
_NAMED = 3
# Below this share of equal parts it is another model altogether, and not a changed branch.
_ALIKE = 0.5


@dataclass(frozen=True)
class KnownCode:
    """What the code at ``path`` is.

    - ``branch``: the known branch whose forward pass it is; None for unknown code, whose ``reason`` says why.
    """

    path: Path
    branch: KnownBranch | None
    reason: str = ""

    @property
    def where(self) -> str:
        """What was read, for people."""
        return self.path.name if self.path.is_file() else "the modules next to the checkpoint"

    def family(self, weights: Family) -> Family | None:
        """The family of ours that this code computes with weights of the family ``weights``, or None."""
        return None if self.branch is None else self.branch.computes.get(weights)

    def is_other(self, weights: Family) -> bool:
        """Whether it is known that no family of ours computes what this code does with such weights."""
        return self.branch is not None and bool(self.branch.other) and self.family(weights) is None

    def attention(self, weights: Family, gating: Gating) -> Activation | None:
        """What bounds the attention gate of a model with such weights; None where the code does not say."""
        own = self.branch if self.family(weights) is not None else None
        return None if own is None else own.attention.get(gating)

    @property
    def in_words(self) -> str:
        """What it is, for people."""
        return f"unknown code, {self.reason}" if self.branch is None else f"branch {self.branch.name}"

    def doubt(self, weights: Family, rebuilt: Family) -> str | None:
        """Why it is not known that this code computes what the ``rebuilt`` model does, None where it is."""
        if self.branch is None:
            return (
                f"the code that trained it ({self.where}) is unknown, {self.reason}: its forward pass is "
                f"assumed to be that of {rebuilt}"
            )
        ours = self.family(weights)
        if ours == rebuilt:
            return None
        if ours is not None:
            return f"the code that trained it ({self.where}) has the forward pass of {ours}, not of {rebuilt}"
        if self.is_other(weights):
            return (
                f"the code that trained it ({self.where}) is branch {self.branch.name}, whose forward pass "
                f"is none of gatescope's: {self.branch.other}"
            )
        return (
            f"{self.where} is branch {self.branch.name}, whose weights have other names: it did not train "
            f"this checkpoint, and the forward pass of {rebuilt} is assumed"
        )


def find_code(folder: Path) -> Path | None:
    """The code that training left in ``folder``: ``code.zip``, or the folder itself where modules of the
    model lie in it; None for neither."""
    if (folder / CODE_FILE).is_file():
        return folder / CODE_FILE
    return folder if any((folder / name).is_file() for name in _MODULES) else None


def code_of(checkpoint: Path) -> KnownCode | None:
    """What code trained ``checkpoint``, by what lies next to it; None where no code lies there."""
    path = find_code(checkpoint.parent)
    return None if path is None else recognise_code(path)


def recognise_code(path: str | Path, branches: Sequence[KnownBranch] | None = None) -> KnownCode:
    """What the code at ``path`` is: a ``code.zip``, or a folder with one or with modules in it.

    ``branches``: those to know; all that are recorded by default. Never fails: what cannot be read is
    unknown code.
    """
    place = local(path)
    if (place / CODE_FILE).is_file():
        place = place / CODE_FILE
    try:
        found = _fingerprint(place, _state(place))
    except (UnreadableCodeError, OSError) as error:
        return KnownCode(place, None, str(error))
    return _compared(place, found, known_branches() if branches is None else branches)


def record_of(path: str | Path) -> str:
    """The hashes of the code at ``path`` as ``known_branches.json`` keeps them, for a branch to be known."""
    return json.dumps(sorted(set(fingerprint_code(local(path)).parts.values())))


def _state(path: Path) -> tuple[object, ...]:
    """What changes when the code does, as far as that can be seen without reading it."""
    watched = [path] if path.is_file() else sorted(path.glob("*.py"))
    return tuple((one.name, (about := one.stat()).st_size, about.st_mtime_ns) for one in watched)


@lru_cache(maxsize=32)
def _fingerprint(path: Path, state: tuple[object, ...]) -> Fingerprint:
    return fingerprint_code(path)


def _compared(path: Path, found: Fingerprint, branches: Sequence[KnownBranch]) -> KnownCode:
    own = frozenset(found.parts.values())
    for branch in branches:
        if own == branch.parts:
            return KnownCode(path, branch)
    # Parts name what they import: a true subset is code of which files are missing.
    holding = [branch for branch in branches if own < branch.parts]
    if holding:
        names = " or ".join(branch.name for branch in holding)
        if all(branch.other and not branch.computes for branch in holding):
            return KnownCode(path, holding[0])
        return KnownCode(path, None, f"what lies here is that of {names}, but the fusion's file is missing")
    nearest = max(branches, key=lambda branch: len(own & branch.parts), default=None)
    if nearest is None or len(own & nearest.parts) < _ALIKE * len(own):
        return KnownCode(path, None, "no branch that is known is like it")
    differing = [name for name, value in found.parts.items() if value not in nearest.parts]
    named = ", ".join(differing[:_NAMED]) + (
        f" and {counted(len(differing) - _NAMED, 'other part')}" if differing[_NAMED:] else ""
    )
    return KnownCode(path, None, f"nearest is {nearest.name}, other in {named or 'what it leaves out'}")
