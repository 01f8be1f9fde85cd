"""What the optimizer's state says of training: a parameter without any never got a gradient.

Adam and its kind keep a state for each parameter from its first gradient on. A parameter of the model without
one was there, and was not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from .checkpoint import Checkpoint


def never_trained(checkpoint: Checkpoint) -> frozenset[str] | None:
    """Names of the parameters that never got a gradient; None where the checkpoint cannot say.

    The optimizer counts parameters and does not name them: their order is taken for that of the weights only
    where there are as many, and every state has the shape of its parameter.
    """
    saved = checkpoint.content.get("optimizer")
    if not isinstance(saved, Mapping):
        return None
    optimizer = cast(Mapping[str, Any], saved)
    state, groups = optimizer.get("state"), optimizer.get("param_groups")
    if not isinstance(state, Mapping) or not state or not isinstance(groups, list):
        return None
    states = cast(Mapping[Any, Any], state)
    numbers = [
        number
        for group in cast(list[Any], groups)
        if isinstance(group, Mapping)
        for number in cast(list[Any], cast(Mapping[str, Any], group).get("params") or [])
    ]
    if numbers != list(range(len(checkpoint.weights))):
        return None
    untouched: set[str] = set()
    for number, (name, weight) in enumerate(checkpoint.weights.items()):
        kept = states.get(number)
        if kept is None:
            untouched.add(name)
            continue
        average = cast(Mapping[str, Any], kept).get("exp_avg") if isinstance(kept, Mapping) else None
        if not isinstance(average, Tensor) or average.shape != weight.shape:
            return None
    return frozenset(untouched)
