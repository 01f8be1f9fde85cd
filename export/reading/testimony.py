"""What the optimizer's state in a checkpoint testifies: which parameters training never moved.

Adam and its kind keep a state for each parameter from its first gradient on: one without any was there, and
the forward pass that trained did not use it. So a forward pass that uses it is another one, unless the
parameter was frozen on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, cast

from torch import Tensor

from ...runtime.brief import counted
from ...runtime.errors import UnsupportedModelError
from .checkpoint import Checkpoint
from .code import OWN_CODE

# What is as large as its parameter in the states of PyTorch's optimizers.
_AVERAGES = ("exp_avg", "momentum_buffer", "square_avg")
# What predicts moments. Training on highlights alone (TVSum) gives none of it a gradient.
_MOMENTS = ("transformer.decoder.", "span_embed.", "class_embed.", "query_embed.")
_SHOWN = 6


def never_trained(checkpoint: Checkpoint) -> frozenset[str] | None:
    """Names of the parameters that never got a gradient; None where the checkpoint cannot say.

    The optimizer counts parameters and may not name them. Their order is that of the weights, group by group;
    an order is believed only where there are as many numbers and every state has the shape of its parameter,
    and where several orders would do, only what they agree in.
    """
    saved = checkpoint.content.get("optimizer")
    if not isinstance(saved, Mapping):
        return None
    optimizer = cast(Mapping[str, Any], saved)
    state, groups = optimizer.get("state"), optimizer.get("param_groups")
    if not isinstance(state, Mapping) or not state or not isinstance(groups, list):
        return None
    states = cast(Mapping[Any, Any], state)
    weights = {name: value for name, value in checkpoint.weights.items() if value.is_floating_point()}
    found = {
        frozenset(name for number, name in enumerate(order) if number not in states)
        for order in _orders(cast(list[Any], groups), weights, checkpoint.wrappers)
        if all(_fits(states.get(number), weights[name]) for number, name in enumerate(order))
    }
    return found.pop() if len(found) == 1 else None


def unmoved(checkpoint: Checkpoint, used: Collection[str], frozen: Sequence[str] = ()) -> tuple[str, ...]:
    """Parameters among ``used`` that training never moved, in their order.

    Left out are those whose names begin with one of ``frozen``, and all that predicts moments where training
    moved nothing of it.
    """
    untouched = never_trained(checkpoint) or frozenset[str]()
    moments = [name for name in used if name.startswith(_MOMENTS)]
    left_out = (*frozen, *_MOMENTS) if untouched.issuperset(moments) else tuple(frozen)
    return tuple(name for name in used if name in untouched and not name.startswith(left_out))


def highlights_alone(checkpoint: Checkpoint) -> bool:
    """Whether training never moved anything of what predicts moments, as on datasets of highlights alone."""
    moments = [name for name in checkpoint.weights if name.startswith(_MOMENTS)]
    untouched = never_trained(checkpoint)
    return bool(moments) and untouched is not None and untouched.issuperset(moments)


def refuse_unmoved(checkpoint: Checkpoint, used: Collection[str], frozen: Sequence[str]) -> None:
    """Raise :class:`UnsupportedModelError` where a model uses parameters that training never moved."""
    names = unmoved(checkpoint, used, frozen)
    if not names:
        return
    flags = " ".join(f"--frozen {prefix}" for prefix in _prefixes(names))
    raise UnsupportedModelError(
        f"{checkpoint.path} was trained with another forward pass: training never moved "
        f"{counted(len(names), 'parameter')} that this one uses",
        received=f"an optimizer's state without any for {in_groups(names)}",
        expected="a gradient for every parameter that takes part in a prediction",
        fix=f"{OWN_CODE}; or give --verify PREDICTIONS, which decides; or say that these were frozen on "
        f"purpose: {flags}",
    )


def in_groups(names: Collection[str]) -> str:
    """Parameters by the module they belong to, as ``transformer.encoder.* (26)``."""
    groups = {prefix: sum(name.startswith(prefix) for name in names) for prefix in _prefixes(names)}
    told = [f"{prefix}* ({count})" if prefix.endswith(".") else prefix for prefix, count in groups.items()]
    return ", ".join(told[:_SHOWN]) + (f" and {len(told) - _SHOWN} more groups" if told[_SHOWN:] else "")


def _prefixes(names: Collection[str]) -> tuple[str, ...]:
    """How the names begin: with their module's first two parts, or its only one."""
    return tuple(
        dict.fromkeys(".".join([*name.split(".")[:-1][:2], ""]) if "." in name else name for name in names)
    )


def _fits(kept: object, weight: Tensor) -> bool:
    """Whether an optimizer's state may be that of ``weight``; none fits every parameter."""
    if kept is None:
        return True
    own = cast(Mapping[str, Any], kept) if isinstance(kept, Mapping) else {}
    average = next((own[name] for name in _AVERAGES if name in own), None)
    return isinstance(average, Tensor) and average.shape == weight.shape


def _orders(
    groups: Sequence[Any], weights: Mapping[str, Tensor], wrappers: Sequence[str]
) -> Iterator[Sequence[str]]:
    """The orders in which the optimizer may have counted all of ``weights``."""
    counts: list[int] = []
    named: list[str] = []
    numbers: list[Any] = []
    for group in groups:
        held = cast(Mapping[str, Any], group) if isinstance(group, Mapping) else {}
        own = held.get("params")
        if not isinstance(own, list):
            return
        numbers += cast(list[Any], own)
        counts.append(len(cast(list[Any], own)))
        named += [str(name) for name in cast(list[Any], held.get("param_names") or [])]
    if numbers != list(range(len(weights))):
        return
    front = "".join(wrappers)
    plain = [name.removeprefix(front) for name in named]
    if set(plain) == set(weights) and len(plain) == len(weights):
        yield plain
    elif len(counts) == 1:
        yield list(weights)
    elif len(counts) == 2:
        for rule in _rules(weights):
            parts = [name for name in weights if rule(name)], [name for name in weights if not rule(name)]
            for one, other in permutations(parts):
                if [len(one), len(other)] == counts:
                    yield [*one, *other]


def _rules(weights: Mapping[str, Tensor]) -> Iterator[Callable[[str], bool]]:
    """The usual ways to part parameters in two groups: what decays and what does not, or one module apart."""
    yield lambda name: weights[name].ndim <= 1
    yield lambda name: "bias" in name
    yield lambda name: "bias" in name or "norm" in name.lower()
    for top in {name.partition(".")[0] for name in weights}:
        yield lambda name, top=top: name.partition(".")[0] == top
