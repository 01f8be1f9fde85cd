"""From a description and its weights to the PyTorch model; every parameter must fit exactly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...runtime.errors import WeightsMismatchError
from ..families.config import ModelConfig
from ..families.family import FAMILIES
from ..families.qd_detr import GatedQDDETR
from .facts import Description
from .family import ENCODER
from .weights import COMPLETE_OR_OWN_CODE

# Parameters a training run may save that its inference pass never reads.
TRAINING_ONLY = ("contrastive_align_projection_", "txt_position_embed.")

_MOST_LISTED = 20


def rebuild(description: Description, weights: Mapping[str, Tensor]) -> GatedQDDETR:
    """The model in eval mode with all its weights.

    Raises :class:`WeightsMismatchError` that lists what is missing, unexpected, misshapen or not finite.
    """
    return load_weights(description.config, weights)


def load_weights(config: ModelConfig, weights: Mapping[str, Tensor]) -> GatedQDDETR:
    """A model of shape ``config`` holding ``weights``, in eval mode and without gradients."""
    with torch.device("meta"):
        model = GatedQDDETR(config)
    wanted = model.state_dict()
    refuse_misfits(wanted, weights, ignored=unread(config))
    model.load_state_dict({name: weights[name] for name in wanted}, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def unread(config: ModelConfig) -> tuple[str, ...]:
    """How names of parameters begin that training saves and a model of shape ``config`` does not read."""
    return (*TRAINING_ONLY, ENCODER) if FAMILIES[config.family].skips_encoder else TRAINING_ONLY


def misfits(
    wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], ignored: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """What does not fit, by kind: parameters missing, unexpected, of another shape or type, not finite.

    Parameters whose names begin with one of ``ignored`` may be left over. Empty where everything fits.
    """
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted and not name.startswith(ignored)]
    misshapen = [
        f"{name}: {tuple(weights[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in weights and weights[name].shape != wanted[name].shape
    ]
    not_finite = [
        f"{name}: {bad} of {weights[name].numel()} values are NaN or Inf"
        for name in wanted
        if name in weights and (bad := count_not_finite(weights[name]))
    ]
    whole = [
        f"{name}: {weights[name].dtype}"
        for name, value in wanted.items()
        if name in weights and value.is_floating_point() and not weights[name].is_floating_point()
    ]
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshapen,
        "not finite": not_finite,
        "of whole numbers": whole,
    }
    return {kind: names for kind, names in problems.items() if names}


def count_not_finite(values: Tensor) -> int:
    """How many of ``values`` are NaN or Inf."""
    # Of a model's millions of weights the ends alone say that all are well.
    if not (values.is_floating_point() and values.numel()):
        return 0
    if bool(torch.isfinite(torch.stack(torch.aminmax(values))).all()):
        return 0
    return int((~torch.isfinite(values)).sum())


def refuse_misfits(
    wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], ignored: tuple[str, ...] = ()
) -> None:
    """Raise :class:`WeightsMismatchError` that lists the :func:`misfits`, if there are any."""
    found = misfits(wanted, weights, ignored)
    if not found:
        return
    lines = [
        f"{kind} ({len(names)}):\n      " + "\n      ".join(_some(names)) for kind, names in found.items()
    ]
    only_broken = set(found) == {"not finite"}
    raise WeightsMismatchError(
        "the weights do not fit the model" if not only_broken else "the weights are not finite numbers",
        received="parameters " + "\n    ".join(lines),
        expected="every parameter of the model once, with its shape and finite floating-point values, "
        "and no others",
        fix="training diverged: take an earlier checkpoint"
        if only_broken
        else f"nothing is filled in or left out: {COMPLETE_OR_OWN_CODE}",
    )


def _some(names: list[str]) -> list[str]:
    rest = len(names) - _MOST_LISTED
    return names if rest <= 0 else [*names[:_MOST_LISTED], f"… and {rest} more"]
