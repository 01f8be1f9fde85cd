"""Gate overrides as model inputs: g' = scale · g + offset, for a model exported with ``--overridable``.

A scale and an offset broadcast to the gate they change, (batch, layer, clip | 1, channel | 1). What is left
out is neutral: scale 1, offset 0. A changed gate may leave the range that the manifest declares for it.

A gate is *shut* where what it multiplies its branch by is 0. That is a gate of 0 where it acts as ``g``, and
of −1 where it acts as ``1+g`` (FiLM): there a gate of 0 leaves the branch at full strength.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike

from ..array_types import Float32s
from ..errors import InputError
from ..gates.manifest import Manifest
from .inputs import as_numbers

#: By kind of gate: ``scale``, ``offset`` or both; or ``shut``.
Overrides = Mapping[str, Mapping[str, ArrayLike] | Literal["shut"]]

SHUT = "shut"
_NEUTRAL = {"scale": 1.0, "offset": 0.0}
_EXPORT_AGAIN = "export the model again with --overridable"


def override_inputs(
    manifest: Manifest,
    batch: Mapping[str, Any],
    overrides: Overrides | None,
    *,
    samples: int,
    clips: int,
) -> dict[str, Float32s]:
    """Every override input of the model, four axes each, for a batch of ``samples`` with ``clips`` clips.

    ``overrides`` says by kind of gate what to change, ``{"attention": {"scale": 0, "offset": array}}`` or
    ``{"attention": "shut"}``; the same may be in ``batch`` under the inputs' own names. Raises
    :class:`InputError` for a model without overrides, a kind or word it does not know, an array that does not
    broadcast, NaN or Inf.
    """
    names = manifest.override_names
    given = {names[name]: value for name, value in batch.items() if name in names}
    for (kind, how), value in _asked(manifest, overrides or {}).items():
        if (kind, how) in given:
            raise InputError(f"the {how} of the {kind} gates is given twice", expected="it in one place")
        given[kind, how] = value
    if undescribed := [kind for kind in manifest.overrides if kind not in manifest.shapes]:
        raise InputError(
            f"this model has overrides of gates that it does not describe: {', '.join(undescribed)}",
            fix=_EXPORT_AGAIN,
        )
    return {
        name: _checked(manifest, kind, how, given.get((kind, how)), samples, clips)
        for name, (kind, how) in names.items()
    }


def shut_values(manifest: Manifest, kind: str) -> Float32s:
    """The value at which each layer's gate of ``kind`` takes its branch away, (layers, 1, 1)."""
    values = [-1.0 if gate.acts_as == "1+g" else 0.0 for gate in manifest.shapes[kind].layers]
    return np.array(values, np.float32)[:, None, None]


def _shutting(manifest: Manifest, kind: str) -> dict[str, ArrayLike]:
    if kind in manifest.doubtful_kinds:
        raise InputError(
            f"what shuts the {kind} gates of this model is not known",
            received="a file of an earlier version, which does not say whether they act as g or as 1 + g",
            fix=_EXPORT_AGAIN,
        )
    if kind not in manifest.shapes:
        raise InputError(
            f"what shuts the {kind} gates of this model is not known",
            received="a file that does not describe them",
            expected="a scale, an offset or both",
        )
    return {"scale": 0.0, "offset": shut_values(manifest, kind)}


def _asked(manifest: Manifest, overrides: Overrides) -> dict[tuple[str, str], ArrayLike]:
    if not isinstance(cast(object, overrides), Mapping):
        raise InputError(
            "overrides say by kind of gate what to change",
            received=repr(overrides)[:80],
            expected='a dict, such as {"attention": "shut"} or {"ffn": {"scale": 0.5}}',
        )
    if overrides and not manifest.overrides:
        raise InputError(
            "this model was exported without gate overrides",
            received=f"overrides of {', '.join(map(str, overrides))}",
            fix=_EXPORT_AGAIN,
        )
    if unknown := [str(kind) for kind in overrides if kind not in manifest.overrides]:
        raise InputError(
            f"the model has no overrides of {', '.join(unknown)}",
            expected=f"some of {', '.join(manifest.overrides)}",
        )
    asked: dict[tuple[str, str], ArrayLike] = {}
    for kind, changes in overrides.items():
        words = cast(object, changes)
        if isinstance(words, str) and words == SHUT:
            words = _shutting(manifest, kind)
        if not isinstance(words, Mapping) or not set(cast(Mapping[str, ArrayLike], words)) <= set(_NEUTRAL):
            raise InputError(
                f"the overrides of {kind} make no sense",
                received=(
                    ", ".join(map(str, cast(Mapping[str, ArrayLike], words)))
                    if isinstance(words, Mapping)
                    else repr(words)
                ),
                expected="a dict with scale, offset or both (a gate g becomes scale · g + offset), or 'shut'",
            )
        asked |= {(kind, how): value for how, value in cast(Mapping[str, ArrayLike], words).items()}
    return asked


def _checked(
    manifest: Manifest, kind: str, how: str, value: ArrayLike | None, samples: int, clips: int
) -> Float32s:
    shape = manifest.shapes[kind].size_in(samples, clips)
    if value is None:
        array = np.full((1, shape[1], 1, 1), _NEUTRAL[how], np.float32)
    else:
        array = _broadcastable(f"the {how} of the {kind} gates", value, shape)
    # A pt2 program holds the shapes it was traced with to be exactly those of the gates.
    full = shape if manifest.format == "pt2" else (array.shape[0], shape[1], *array.shape[2:])
    return np.ascontiguousarray(np.broadcast_to(array, full))


def _broadcastable(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Float32s:
    axes = ("batch", "layer", "clip", "channel")
    expected = f"a number, or an array that broadcasts to ({', '.join(axes)}) = {shape}"
    array = as_numbers(name, value, expected)
    given = array.shape
    if array.ndim <= 4:
        array = array.reshape((1,) * (4 - array.ndim) + given)
    if array.ndim > 4 or any(
        length not in (1, wanted) for length, wanted in zip(array.shape, shape, strict=True)
    ):
        per_layer = given == (shape[1],)
        raise InputError(
            f"{name} does not fit the gates",
            received=f"shape {given}",
            expected=expected,
            fix="one value per layer is array[:, None, None]" if per_layer else None,
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf, which is refused
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f"{name} holds NaN or Inf",
            received=f"{np.count_nonzero(~np.isfinite(array))} such values",
            expected="finite values within float32",
        )
    return array
