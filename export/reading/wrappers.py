"""The names of a model's parameters without what its wrappers put before them.

DataParallel and its kind name a wrapped model ``module``, torch.compile ``_orig_mod``, Lightning and many
scripts ``model``; they nest in any order. A wrapper is only taken off where all parameters carry it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...runtime.errors import CheckpointError

_AROUND = ("module.", "_orig_mod.", "model.", "ema_model.", "_fsdp_wrapped_module.")
# These stand in front of a part's parameters as well, and are not names of modules.
_ANYWHERE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# What wrappers count, and what training keeps next to the model: no parameter of it.
_COUNTERS = ("n_averaged", "initted", "step", "num_updates", "decay")
_TRAINING = ("criterion.", "loss_fn.", "online_model.")


@dataclass(frozen=True)
class Unwrapped:
    """Parameters by their own names.

    ``wrappers``: what stood before all of them, outermost first. ``notes``: what was taken off, for people.
    """

    weights: dict[str, Tensor]
    wrappers: tuple[str, ...]
    notes: tuple[str, ...]


def unwrap(weights: Mapping[str, Tensor], path: Path) -> Unwrapped:
    """``weights`` of the checkpoint at ``path`` under the names they have in the model itself.

    Raises :class:`~gatescope.runtime.errors.CheckpointError` where two parameters end up with one name.
    """
    found, wrappers, notes = dict(weights), list[str](), list[str]()
    while (wrapper := _wrapper(found)) is not None:
        others = [name for name in found if not name.startswith(wrapper)]
        if averaged := [name for name in others if name in _COUNTERS]:
            count = found[averaged[0]]
            notes.append(
                "the weights are averages that training kept"
                + (
                    f" (over {int(count)} states)"
                    if averaged == ["n_averaged"] and count.numel() == 1
                    else ""
                )
            )
        if dropped := sorted({f"{name.split('.')[0]}.*" for name in others if name.startswith(_TRAINING)}):
            notes.append(f"parameters that only training uses are left out: {', '.join(dropped)}")
        found = {
            name.removeprefix(wrapper): value for name, value in found.items() if name.startswith(wrapper)
        }
        wrappers.append(wrapper)
    names = {name: _without_inner(name) for name in found}
    inner = sorted({mark for name in found for mark in _ANYWHERE if f".{mark}" in name})
    if len(set(names.values())) < len(names):
        twice = next(name for name, own in names.items() if list(names.values()).count(own) > 1)
        raise CheckpointError(
            f"{path} holds two parameters of one name",
            received=f"{twice}, with and without {', '.join(inner)}",
            expected="every parameter once",
            fix="save the state dict of the model itself, not of its wrapper",
        )
    if [*wrappers, *inner] not in ([], ["module."]):
        chain = "".join(wrappers) + "".join(f", …{mark}" for mark in inner)
        notes.insert(0, f"'{chain.lstrip(', ')}' before the parameters' names is a wrapper's: taken off")
    return Unwrapped({names[name]: value for name, value in found.items()}, tuple(wrappers), tuple(notes))


def _wrapper(weights: Mapping[str, Tensor]) -> str | None:
    """The outermost wrapper of all parameters; counters and what only training uses do not count."""
    own = [name for name in weights if name not in _COUNTERS and not name.startswith(_TRAINING)]
    return next((mark for mark in _AROUND if own and all(name.startswith(mark) for name in own)), None)


def _without_inner(name: str) -> str:
    parts = [part for part in name.split(".") if f"{part}." not in _ANYWHERE]
    return ".".join(parts)
