"""How sure one can be, from parameters alone, that a module computes an attention and an FFN gate.

A gating function is two or more perceptrons that read the same features and end in one channel, or in as many
as the stream has. Names say nothing: each code has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from torch import nn

_MOST_PACKED = 3


class Sureness(IntEnum):
    """How unlike anything else the structure is; less is surer.

    - ``ONE_CHANNEL``: two perceptrons from the same features to one channel.
    - ``JOINT``: two perceptrons that halve their input, as from [video; audio] (2d) to d channels.
    - ``JOINT_LINEAR``: the same with single linear maps, which an attention's keys and values may also be.
    - ``PERCEPTRONS``: two equal perceptrons of any width, which experts of a feed-forward layer may also be.
    - ``PACKED``: one perceptron to two or three channels, to be split.
    """

    ONE_CHANNEL = 0
    JOINT = 1
    JOINT_LINEAR = 2
    PERCEPTRONS = 3
    PACKED = 4


@dataclass(frozen=True)
class Branch:
    """A chain of linear maps (or convolutions over time): its name inside the module, widths and depth."""

    name: str
    inputs: int
    outputs: int
    depth: int


@dataclass(frozen=True)
class Branches:
    """The branches of one module that may be its gates, in the order they were registered.

    ``alone``: whether the module computes nothing else: no other perceptrons, no attention.
    """

    sureness: Sureness
    gates: tuple[Branch, ...]
    alone: bool


def gate_branches(module: nn.Module) -> Branches | None:
    """The branches of ``module`` that look like gates; None where there are none."""
    if isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.MultiheadAttention)):
        return None
    found = list(_branches(module))
    attends = any(isinstance(part, nn.MultiheadAttention) for part in module.modules())
    candidates: list[tuple[Sureness, list[Branch]]] = []
    for inputs in dict.fromkeys(branch.inputs for branch in found):
        same = [branch for branch in found if branch.inputs == inputs]
        narrow = [branch for branch in same if branch.outputs == 1]
        joint = [branch for branch in same if 1 < branch.outputs == inputs / 2]
        heads = [
            branch
            for branch in same
            if any(trunk.outputs == inputs and trunk.inputs == 2 * branch.outputs > 2 for trunk in found)
        ]
        deep = [branch for branch in same if branch.depth > 1]
        if len(narrow) + len(joint) > 1 and narrow:
            candidates.append((Sureness.ONE_CHANNEL, [b for b in same if b in narrow + joint]))
        elif len(joint) > 1 and all(branch.depth > 1 for branch in joint):
            candidates.append((Sureness.JOINT, joint))
        elif len(joint) > 1 or len(heads) > 1:
            candidates.append((Sureness.JOINT_LINEAR, joint if len(joint) > 1 else heads))
        elif len(deep) > 1 and len({branch.outputs for branch in deep}) == 1:
            candidates.append((Sureness.PERCEPTRONS, deep))
    if not candidates and len(found) == 1 and 1 < found[0].outputs <= _MOST_PACKED < found[0].inputs:
        candidates.append((Sureness.PACKED, found))
    if not candidates:
        return None
    sureness, gates = min(candidates, key=lambda candidate: candidate[0])
    return Branches(sureness, tuple(gates), alone=len(gates) == len(found) and not attends)


def _branches(module: nn.Module, prefix: str = "") -> Iterator[Branch]:
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _branches(child, f"{prefix}{name}.")
        elif (branch := _chain(f"{prefix}{name}", child)) is not None:
            yield branch


def _chain(name: str, module: nn.Module) -> Branch | None:
    widths: list[tuple[int, int]] = []
    for part in module.modules():
        if isinstance(part, nn.MultiheadAttention):
            return None
        if isinstance(part, nn.Linear):
            widths.append((part.in_features, part.out_features))
        elif isinstance(part, nn.Conv1d):
            widths.append((part.in_channels, part.out_channels))
    if not widths or any(before[1] != after[0] for before, after in pairwise(widths)):
        return None
    return Branch(name, widths[0][0], widths[-1][1], len(widths))
