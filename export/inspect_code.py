"""What code trained a checkpoint, what training never moved, and what follows: a part of its inspection."""

from __future__ import annotations

from typing import Any

import torch

from ..runtime.errors import UnsupportedModelError
from ..runtime.gates.manifest import Forward
from ..runtime.inspection.inspection import InspectedRow, InspectedSection
from .families.qd_detr import GatedQDDETR
from .reading.checkpoint import Checkpoint
from .reading.facts import Description
from .reading.forward import refuse_other_forward
from .reading.testimony import in_groups, never_trained

_NO_CODE = "none next to the checkpoint (code.zip, or model.py and transformer.py)"


def trained_by(checkpoint: Checkpoint, description: Description | None) -> InspectedSection:
    """The code, the forward pass, what its gates depend on, and which parameters training never moved.

    ``description``: of the rebuilt model; None where there is none.
    """
    code, untouched = checkpoint.code, never_trained(checkpoint)
    rows = [InspectedRow("code", _NO_CODE if code is None else code.in_words, code.where if code else "")]
    if description is not None:
        rows.append(InspectedRow("forward pass", _forward(description.forward, description.family)))
    branch = None if code is None else code.branch
    if branch is not None and branch.other and description is None:
        rows.append(InspectedRow("forward pass", f"none of gatescope's: {branch.other}"))
    if branch is not None and branch.follows:
        rows.append(InspectedRow("what follows", branch.follows))
    if untouched is not None:
        rows.append(InspectedRow("never moved", in_groups(_in_order(checkpoint)) or "nothing", "optimizer"))
    return InspectedSection("Trained by", tuple(rows))


def trained_otherwise(checkpoint: Checkpoint, description: Description) -> UnsupportedModelError | None:
    """Why an export refuses the model for another forward pass that trained it; None where it does not."""
    with torch.device("meta"):
        used = GatedQDDETR(description.config).state_dict()
    try:
        refuse_other_forward(checkpoint, used, ())
    except UnsupportedModelError as error:
        return error
    return None


def code_details(checkpoint: Checkpoint, description: Description | None) -> dict[str, Any]:
    """The same for machines."""
    code, untouched = checkpoint.code, never_trained(checkpoint)
    return {
        "code": None
        if code is None
        else {
            "path": str(code.path),
            "branches": None if code.branch is None else list(code.branch.names),
            "reason": code.reason or None,
        },
        "forward": None if description is None else description.forward.source,
        "never_moved": None if untouched is None else _in_order(checkpoint),
    }


def _forward(forward: Forward, family: str) -> str:
    return f"that of {family}" if forward.source == "family" else f"assumed to be that of {family}"


def _in_order(checkpoint: Checkpoint) -> list[str]:
    untouched = never_trained(checkpoint) or frozenset[str]()
    return [name for name in checkpoint.weights if name in untouched]
