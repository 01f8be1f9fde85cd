"""Arrays given to a model, checked against its manifest and brought to the dtypes it declares.

The rules come from the manifest alone: each input has named axes, which must be equally long wherever
their name occurs, and fixed ones. A name that ends in ``_mask`` is a mask: 1 for valid entries, which
come first, 0 for padding, and at least one valid entry a row. Inputs that change gates are the business of
:mod:`gatescope.runtime.session.overrides`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..gates.manifest import Manifest
from ..gates.shape import Tensor

# The full set: what a batch may hold, whether or not a graph has a use for all of it.
FEATURES = ("src_txt", "src_vid", "src_aud")
MASKS = ("src_txt_mask", "src_vid_mask", "src_aud_mask")
FULL_SET = (*FEATURES, *MASKS)


def check_batch(manifest: Manifest, batch: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays of ``batch`` that the graph needs, contiguous and of its dtypes, overrides apart.

    ``batch`` maps names of the full set to arrays, or to anything numpy can make an array of without
    guessing: (B, L or T, D) numbers for features, (B, L or T) numbers or booleans for masks. Inputs the
    graph does not need are ignored unseen. Raises :class:`InputError` that names the array.
    """
    if not isinstance(cast(object, batch), Mapping):
        raise InputError(
            "a batch maps names of inputs to arrays",
            received=type(batch).__name__,
            expected=f"a dict with {', '.join(manifest.input_names)}",
        )
    declared = [tensor for tensor in manifest.inputs if tensor.name not in manifest.override_names]
    known = tuple(dict.fromkeys((*manifest.input_names, *FULL_SET)))
    unknown = [str(name) for name in batch if name not in known]
    if unknown:
        raise InputError(
            f"the model has no input {', '.join(unknown)}", expected=f"some of {', '.join(known)}"
        )
    missing = [tensor for tensor in declared if tensor.name not in batch]
    if missing:
        raise _missing(missing, batch)
    lengths: dict[str, tuple[int, str]] = {}
    checked: dict[str, NDArray[Any]] = {}
    for tensor in declared:
        wanted = f"{tensor.dtype} of shape {_shape_of(tensor)}"
        kinds = "fiub" if _is_mask(tensor) else "fiu"
        array = as_numbers(tensor.name, batch[tensor.name], wanted, kinds=kinds)
        _check_shape(tensor, array, lengths)
        checked[tensor.name] = _cast(tensor, array)
    for tensor in declared:
        if _is_mask(tensor):
            _check_mask(tensor, checked[tensor.name])
        else:
            _check_finite(tensor, checked[tensor.name])
    return checked


def _is_mask(tensor: Tensor) -> bool:
    return tensor.name.endswith("_mask")


def _missing(missing: list[Tensor], batch: Mapping[str, Any]) -> InputError:
    masks = [tensor for tensor in missing if _is_mask(tensor)]
    return InputError(
        f"the batch lacks {', '.join(tensor.name for tensor in missing)}",
        received=", ".join(str(name) for name in batch) or "an empty batch",
        expected=", ".join(f"{tensor.name} {_shape_of(tensor)}" for tensor in missing),
        fix="where nothing is padded, a mask is numpy.ones of that shape" if masks == missing else None,
    )


def _shape_of(tensor: Tensor) -> str:
    return f"({', '.join(str(axis) for axis in tensor.axes)})"


def as_numbers(name: str, value: object, expected: str, *, kinds: str = "fiu") -> NDArray[Any]:
    """``value`` as a numpy array without a copy where possible; ``name`` and ``expected`` are for errors.

    ``kinds`` are the numpy dtype kinds allowed. Raises :class:`InputError` for anything else.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        # A tensor on a GPU, one that requires gradients, or rows of unequal length.
        raise InputError(
            f"{name} cannot be read as a numpy array",
            received=f"{type(value).__name__}: {error}",
            expected=expected,
            fix="pass numpy arrays; for a torch tensor, tensor.detach().cpu().numpy()",
        ) from error
    if array.dtype.kind not in kinds:
        raise InputError(
            f"{name} does not hold real numbers",
            received=f"dtype {array.dtype}, shape {array.shape}",
            expected=expected,
        )
    return array


def _check_shape(tensor: Tensor, array: NDArray[Any], lengths: dict[str, tuple[int, str]]) -> None:
    """Compare with the fixed axes, and with the named ones of the arrays before; remembers new ones."""
    if array.ndim != len(tensor.axes):
        lacks_batch = array.ndim + 1 == len(tensor.axes)
        raise InputError(
            f"{tensor.name} has {array.ndim} axes instead of {len(tensor.axes)}",
            received=f"shape {array.shape}",
            expected=f"shape {_shape_of(tensor)}",
            fix="a single sample is a batch of one: array[None]" if lacks_batch else None,
        )
    for place, (axis, length) in enumerate(zip(tensor.axes, array.shape, strict=True)):
        if isinstance(axis, int):
            if length != axis:
                raise InputError(
                    f"{tensor.name} has the wrong size on axis {place}",
                    received=f"shape {array.shape}",
                    expected=f"shape {_shape_of(tensor)}",
                    fix=_width_advice(tensor, axis, length),
                )
            continue
        if length < 1:
            raise InputError(
                f"{tensor.name} is empty: its axis '{axis}' has length 0",
                received=f"shape {array.shape}",
                expected=f"shape {_shape_of(tensor)}, each at least 1",
            )
        known, owner = lengths.setdefault(axis, (length, tensor.name))
        if length != known:
            raise InputError(
                f"{tensor.name} and {owner} differ on the axis '{axis}'",
                received=f"{tensor.name} of shape {array.shape}, {owner} with {axis} = {known}",
                expected=f"{tensor.name} of shape {_shape_of(tensor)} with {axis} = {known}",
            )


def _width_advice(tensor: Tensor, wanted: int, got: int) -> str | None:
    if tensor.name in ("src_vid", "src_aud") and got + 2 == wanted:
        return "two channels are missing: the TEF; gatescope.runtime.prepare appends it"
    return None


def _cast(tensor: Tensor, array: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf, which is refused by name
        return np.ascontiguousarray(array, dtype=np.dtype(tensor.dtype))


def _check_finite(tensor: Tensor, array: NDArray[Any]) -> None:
    """Refuse NaN and Inf, padding included: attention multiplies padding by zero, and 0 · NaN is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        # One pass without a temporary array; only a sum that is not finite is worth the exact look.
        if np.isfinite(array.sum()):
            return
    finite = np.isfinite(array)
    if finite.all():
        return
    place = tuple(int(i) for i in np.argwhere(~finite)[0])
    named = ", ".join(
        f"{axis} {i}" for axis, i in zip(tensor.axes, place, strict=True) if isinstance(axis, str)
    )
    raise InputError(
        f"{tensor.name} holds NaN or Inf",
        received=f"{array[place]} at {named}, channel {place[-1]}; {np.count_nonzero(~finite)} such values",
        expected=f"finite values within {tensor.dtype}",
    )


def _check_mask(tensor: Tensor, mask: NDArray[Any]) -> None:
    if not np.logical_or(mask == 0, mask == 1).all():
        odd = mask[~np.logical_or(mask == 0, mask == 1)][0]
        raise InputError(
            f"{tensor.name} holds something other than 0 and 1",
            received=f"{odd}",
            expected="1 for valid entries, 0 for padding",
        )
    counts = mask.sum(axis=1).astype(np.int64)
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        raise InputError(
            f"{tensor.name} has rows without a valid entry",
            received=f"only zeros in {_rows(empty)}",
            expected="at least one valid entry in each sample",
            fix="leave these samples out of the batch",
        )
    prefix = np.arange(mask.shape[1]) < counts[:, None]
    scattered = np.flatnonzero((mask != prefix).any(axis=1))
    if scattered.size:
        raise InputError(
            f"{tensor.name} has padding before valid entries",
            received=f"a 1 after a 0 in {_rows(scattered)}",
            expected="valid entries first, then padding",
            fix="if 1 means padding here, pass 1 - mask",
        )


def _rows(indices: NDArray[np.int64]) -> str:
    shown = ", ".join(str(int(i)) for i in indices[:5])
    return f"batch rows {shown}" + (f" and {len(indices) - 5} more" if len(indices) > 5 else "")
