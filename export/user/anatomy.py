"""Learning a user's model by running it: gates, ranges, predictions, and what depends on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...runtime.array_types import Float32s
from ...runtime.data.prepare import collate
from ...runtime.errors import ExportError, UnsupportedModelError
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.gates.shape import GateShape, LayerGate, gating_name
from ...runtime.profiling.samples import random_batch, random_sample
from ..graph.failure import failed_in
from ..graph.variant import Axes, Variant
from ..live.find import acts_as, find_fusion, fusions_of
from ..proof.parity import valid_entries
from .graph import PREDICTION_AXES, Anatomy, UserGraph
from .lone import lone_gates
from .places import GatePlace, Places, Seen, find_places
from .watch import Driving, Sight, look

# Clips and words of the samples the model is tried on: all lengths differ, none is one, and no length of the
# one batch is the same in the other.
_LENGTHS = ((9, 4), (6, 7), (3, 2))
_OTHER_LENGTHS = ((7, 3), (2, 5), (5, 1), (7, 4))
# What a branch is made to give to find the ends of its gate's range.
_FAR = 1e4
# A gate that goes beyond this is not bounded by anything.
_BOUND = 1e3


def study(
    model: nn.Module, recipe: Preprocessing, input_names: tuple[str, ...], *, gating: str | None = None
) -> Anatomy:
    """Run ``model`` on random samples and say what it has; ``gating`` is what the user believes.

    Raises :class:`ExportError` where it fails, and :class:`UnsupportedModelError` where it has no gates, or
    others than ``gating`` says.
    """
    tensors, others = (_tensors(recipe, input_names, lengths) for lengths in (_LENGTHS, _OTHER_LENGTHS))
    passes = [
        Seen(_look(model, one), len(one["src_vid"]), one["src_vid"].shape[1]) for one in (tensors, others)
    ]
    predictions = _predictions(passes[0].sight.returned, tensors)
    places, driven = _places(model, recipe, tensors, passes)
    axes: dict[str, Axes] = {
        name: (
            "batch",
            "word" if name.startswith("src_txt") else "clip",
            *([int(value.shape[2])] if value.ndim == 3 else []),
        )
        for name, value in tensors.items()
    }
    ranges = _ranges(model, places, driven, tensors)
    shapes = {kind: _shape(model, kind, places.kinds[kind], ranges[kind]) for kind in places.kinds}
    anatomy = Anatomy(places.kinds, shapes, predictions, axes, places.channels)
    seen = gating_of(anatomy)
    if gating is not None and gating != seen:
        raise UnsupportedModelError(
            f"--gating {gating} contradicts the model",
            received=f"gates {next(iter(shapes.values())).sizes}",
            expected=f"--gating {seen}",
            fix="leave --gating out",
        )
    return anatomy


def gating_of(anatomy: Anatomy) -> str:
    """What the gating is called, by the shape of the attention gate, or of the gate there is."""
    return gating_name([next(iter(anatomy.shapes.values()))])


def _places(
    model: nn.Module, recipe: Preprocessing, tensors: Mapping[str, Tensor], passes: Sequence[Seen]
) -> tuple[Places, tuple[str, ...]]:
    """Where the gates are, and the modules that compute them before whatever bounds them."""
    fusions = fusions_of(model)
    if not fusions:
        changed = [
            _look(model, {**tensors, name: other[name]})
            for other in [_tensors(recipe, tuple(tensors), _LENGTHS, seed=1)]
            for name in ("src_aud", "src_vid")
        ]
        alone = lone_gates(passes, *changed)
        if alone is not None:
            return alone, ()
    fusion = find_fusion(model)
    branches = tuple(name for layer in fusion.layers for name in layer.branches)
    return find_places(fusion, passes), branches


def _shape(
    model: nn.Module, kind: str, places: Sequence[GatePlace], ranges: Sequence[tuple[float, float]]
) -> GateShape:
    layers = (
        LayerGate(layer, ranges[layer], acts_as(model, (place.owner,), kind))
        for layer, place in enumerate(places)
    )
    return GateShape(kind, places[0].per_clip, places[0].channels, tuple(layers))


def needed_inputs(
    model: nn.Module, anatomy: Anatomy, variant: Variant, recipe: Preprocessing
) -> tuple[str, ...]:
    """Inputs on which the outputs of ``variant`` depend, tried by changing them one by one."""
    graph = UserGraph(model, anatomy, variant, anatomy.input_axes)
    batch = _batch(recipe)
    before = graph.run(batch)
    other = _batch(recipe, seed=1)
    needed = ["src_vid"]
    for name in anatomy.input_axes:
        if name == "src_vid":
            continue
        changed = batch | {name: other[name] if batch[name].ndim == 3 else np.ones_like(batch[name])}
        after = graph.run(changed)
        if any(not np.array_equal(before[key], after[key]) for key in before):
            needed.append(name)
    # A summary counts valid clips, whatever the model itself does with the mask.
    if variant.outputs == "summary":
        needed.append("src_vid_mask")
    return tuple(name for name in anatomy.input_axes if name in needed)


def depends_on_batch(model: nn.Module, anatomy: Anatomy, recipe: Preprocessing) -> bool:
    """Whether a sample's numbers change with what else is in its batch."""
    graph = UserGraph(model, anatomy, Variant(), anatomy.input_axes)
    rng = np.random.default_rng(2)
    samples = [random_sample(recipe, *lengths, rng) for lengths in _LENGTHS]
    together = graph.run(collate(samples))
    for i, sample in enumerate(samples):
        alone = graph.run(sample.as_batch())
        for name, axes in graph.output_axes.items():
            want = valid_entries(alone[name], axes, [sample.clips])
            got = valid_entries(together[name][i : i + 1], axes, [sample.clips])
            if not np.allclose(got, want, atol=1e-4, rtol=1e-4):
                return True
    return False


def _batch(
    recipe: Preprocessing, seed: int = 0, lengths: Sequence[tuple[int, int]] = _LENGTHS
) -> dict[str, Float32s]:
    rng = np.random.default_rng(seed)
    return random_batch(recipe, lengths, rng)


def _tensors(
    recipe: Preprocessing, names: Sequence[str], lengths: Sequence[tuple[int, int]], seed: int = 0
) -> dict[str, Tensor]:
    batch = _batch(recipe, seed, lengths)
    return {name: torch.from_numpy(batch[name]) for name in names}


def _look(model: nn.Module, tensors: Mapping[str, Tensor]) -> Sight:
    try:
        return look(model, tensors)
    except Exception as error:  # the user's code may raise anything
        raise failed_in(model, "it ran on an example", error) from error


def _predictions(returned: Any, tensors: Mapping[str, Tensor]) -> dict[str, Axes]:
    """Axes of the predictions the model returns under the reference's names."""
    if not isinstance(returned, Mapping):
        raise ExportError(
            "the model does not return its predictions by name",
            received=type(returned).__name__,
            expected=f"a dict with {', '.join(PREDICTION_AXES)}",
        )
    outputs = cast(Mapping[str, Any], returned)
    found: dict[str, Axes] = {}
    clips = tensors["src_vid"].shape[1]
    for name, axes in PREDICTION_AXES.items():
        value = outputs.get(name)
        if not isinstance(value, Tensor):
            continue
        if value.ndim != len(axes) or (axes[1] == "clip" and value.shape[1] != clips):
            raise ExportError(
                f"the model returns {name} in another shape",
                received=str(tuple(value.shape)),
                expected=f"({', '.join(axes)})",
            )
        fixed = tuple(int(length) for length in value.shape[1:])
        found[name] = axes if axes[1] == "clip" else ("batch", *fixed)
    if not found:
        raise ExportError(
            "the model returns none of the predictions",
            received=f"a dict with {', '.join(map(str, outputs)) or 'nothing'}",
            expected=f"one of {', '.join(PREDICTION_AXES)}",
        )
    return found


def _ranges(
    model: nn.Module, places: Places, driven: Sequence[str], tensors: Mapping[str, Tensor]
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Each gate's smallest and largest value: what it is where what it is computed from is driven far.

    ``driven`` are the modules that compute gates before what bounds them; without any, every function that
    bounds in the gates' modules is driven instead.
    """
    ends = {kind: [list[float]() for _ in found] for kind, found in places.kinds.items()}
    ways = [(-_FAR,), (_FAR,)] if driven else [(-_FAR,), (_FAR,), (-_FAR, _FAR), (_FAR, -_FAR)]
    for far in ways:
        handles: list[Any] = []
        for name in driven:
            handles.append(model.get_submodule(name).register_forward_hook(partial(_drive, far[0])))
        for kind, found in places.kinds.items():
            for note, place in zip(ends[kind], found, strict=True):
                owner = model.get_submodule(place.owner)
                if not driven:
                    handles += Driving(far).around(owner)
                handles.append(owner.register_forward_hook(partial(_note_ends, note, place)))
        try:
            _look(model, tensors)
        finally:
            for handle in handles:
                handle.remove()
    return {kind: tuple(_range(kind, values) for values in layers) for kind, layers in ends.items()}


def _note_ends(ends: list[float], place: GatePlace, _module: nn.Module, _args: Any, output: Any) -> None:
    gate = place.take(output)
    ends += [float(gate.min()), float(gate.max())]


def _drive(far: float, _module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return torch.full_like(output, far)


def _range(kind: str, values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if not (np.isfinite(low) and np.isfinite(high)) or max(abs(low), abs(high)) > _BOUND or low == high:
        raise UnsupportedModelError(
            f"nothing bounds the {kind} gate of this model",
            received=f"values from {low:g} to {high:g} where its perceptron is driven far",
            expected="a gate bounded by tanh, a sigmoid or the like, with a scale or without",
            fix="let the gating module return the gates as they are used, after their activation",
        )
    return low, high
