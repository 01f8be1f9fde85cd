"""When a gate opens and when it shuts, as training goes on.

A gate multiplies its branch by m: by its value g, or by 1 + g where it acts so (FiLM). At an epoch it is
*shut* where at least 90% of its values have |m| < 0.05: hardly anything of the branch comes through. It is
*open* where at most half have. In between it stays what it was, so that a share that sways around one
threshold does not open and shut it again and again. A gate that begins in between is neither, until it
crosses one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SHUT_FROM = 0.9
OPEN_TO = 0.5

GateState = Literal["open", "shut", "between"]


@dataclass(frozen=True)
class Turn:
    """A gate that opened or shut between two epochs that have checkpoints, ``before`` and ``at``.

    ``share_before``, ``share_at``: the share of its values with |m| < 0.05 at either.
    """

    layer: int
    gate: str
    becomes: GateState
    before: int
    at: int
    share_before: float
    share_at: float


def states_of(shares: Iterable[float]) -> list[GateState]:
    """The state of a gate at each of the epochs in order, from its ``shares`` of values with |m| < 0.05."""
    found: list[GateState] = []
    state: GateState = "between"
    for share in shares:
        if share >= SHUT_FROM:
            state = "shut"
        elif share <= OPEN_TO:
            state = "open"
        found.append(state)
    return found


def turns_of(layer: int, gate: str, epochs: list[int], shares: list[float]) -> list[Turn]:
    """Every opening and shutting of one gate over ``epochs`` in order."""
    states = states_of(shares)
    return [
        Turn(layer, gate, states[i], epochs[i - 1], epochs[i], shares[i - 1], shares[i])
        for i in range(1, len(states))
        if states[i] != states[i - 1]
    ]
