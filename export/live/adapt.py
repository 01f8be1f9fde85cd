"""``adapt_legacy_model``: a trained model gains gate tracking; its weights and outputs stay as they are."""

from __future__ import annotations

import warnings
from typing import TypeVar

from torch import nn

from ...runtime.errors import UsageError
from ...runtime.tracking.tracker import GateTrackingWarning
from .find import GatedFusion, find_fusion
from .manifest import Origin
from .tracker import LiveGates, LiveTracker, check_gating, tracker_of

ALIAS = "avigate_fusion"

Model = TypeVar("Model", bound=nn.Module)


def adapt_legacy_model(model: Model, gating_type: str | None = None, *, fusion: str | None = None) -> Model:
    """Give ``model``, whoever wrote its code, the methods of gate tracking; returns the same object.

    The gated fusion is found by its structure. Then ``model.avigate_fusion``, whatever the fusion is called
    in the model, has ``enable_gate_tracking()``, ``set_current_sample_id(id)``, ``gate_history`` and the
    other promised names (:class:`~gatescope.runtime.tracking.tracker.GateTracker`). Weights, state dict,
    forward signature and outputs are untouched, on any device, in training and evaluation, under autocast
    and in half precision; while tracking is off nothing at all is on the model's path. Tracking counts one
    batch per call of ``model(…)``: a fusion that runs twice in it counts once, the first time. Padding clips
    are known from the masks in the arguments of the model or its fusion. A model that is compiled with
    torch.compile must be compiled after tracking was enabled: compiled code does not look for new hooks.

    - ``gating_type``: ``global``, ``clipwise`` or ``elementwise``, checked against the model; None goes by
      the shapes of its gates.
    - ``fusion``: the module's name, where a model has several gated fusions.

    A model that is adapted already keeps its tracking and what was tracked.

    Raises :class:`~gatescope.runtime.errors.UnsupportedModelError` where no gated fusion is found, several
    are, or ``gating_type`` contradicts the parameters, and :class:`~gatescope.runtime.errors.UsageError` for
    what is not a model, or one adapted with another gating. What shows only while the model runs is raised by
    its first tracked pass.
    """
    return adapt(model, gating_type, fusion)


def adapt(model: Model, gating: str | None, fusion: str | None = None, origin: Origin | None = None) -> Model:
    """As :func:`adapt_legacy_model`; ``origin`` says which checkpoint the model was rebuilt from."""
    _check(model)
    earlier = tracker_of(model)
    found = find_fusion(model, fusion)
    check_gating(gating, found)
    if earlier is not None:
        if _keeps(earlier, gating, found):
            return model
        restore_legacy_model(model)
    module = model.get_submodule(found.name)
    holders = [module]
    present = getattr(model, ALIAS, None)
    if not hasattr(model, ALIAS):
        # Not by setattr, which would register the module a second time, under another name in the state dict.
        vars(model)[ALIAS] = module
    elif isinstance(present, nn.Module) and present is not module and module in present.modules():
        holders.append(present)
    elif present is not module:
        warnings.warn(
            f"model.{ALIAS} is something else in this model; the methods of gate tracking are on "
            f"model.{found.name or '(itself)'}",
            GateTrackingWarning,
            stacklevel=3,
        )
    LiveTracker(LiveGates(model, found, gating, origin), tuple(holders))
    return model


def _keeps(earlier: LiveTracker, gating: str | None, found: GatedFusion) -> bool:
    """Whether an adapted model stays as it is; raises where something tracked would be lost."""
    source = earlier.source
    known = source.known_gating
    same = source.fusion == found
    if same and (gating is None or known in (None, gating)):
        source.gating = gating or source.gating
        return True
    if not same and not earlier.track_gates and not len(earlier.gate_history):
        return False
    raise UsageError(
        "this model is already adapted"
        + (f", with {known} gating" if same else f", with the fusion {source.fusion}"),
        received=f"gating_type {gating!r}" if same else f"the fusion {found}",
        expected="the same again, which changes nothing",
        fix="restore_legacy_model(model) first: what was tracked so far is then lost",
    )


def restore_legacy_model(model: Model) -> Model:
    """Undo :func:`adapt_legacy_model`: the model has no method, attribute or hook of gate tracking left."""
    _check(model)
    tracker = tracker_of(model)
    if tracker is not None:
        tracker.release()
        vars(model).pop(ALIAS, None)
    return model


def _check(model: nn.Module) -> None:
    # Callers are not all type-checked.
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            "this is not a PyTorch model",
            received=f"a {type(model).__name__}",
            expected="a torch.nn.Module with its weights loaded",
            fix="build the model with your own code and load its weights, or give the checkpoint's path to "
            "load_legacy_model_with_gate_tracking",
        )
    if isinstance(model, nn.DataParallel):
        raise UsageError(
            "gates cannot be tracked on the copies that DataParallel makes of a model",
            fix="adapt model.module and run it on one device",
        )
