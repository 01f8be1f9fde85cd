"""The user's own model: built by their factory, filled with the checkpoint's weights, nothing left over."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...runtime.errors import ExportError, UsageError
from ...runtime.gates.vocabulary import TEF_CHANNELS
from ..reading.checkpoint import OPTIONS_FILE, Checkpoint
from ..reading.rebuild import refuse_misfits


def build_model(spec: str, checkpoint: Checkpoint) -> nn.Module:
    """Call the factory ``package.module:factory`` with the checkpoint's options and load its weights.

    The factory gets an ``argparse.Namespace`` with training's options (``device`` set to the CPU) and returns
    the module, alone or in a tuple, list or dict. Modules are also looked for in the current folder. The
    result is in eval mode, on the CPU.

    Raises :class:`UsageError` where there is no such factory, :class:`ExportError` where it fails or returns
    something else, and :class:`~gatescope.runtime.errors.WeightsMismatchError` where the weights do not fit.
    """
    factory = _find(spec)
    try:
        built: Any = factory(training_options(checkpoint))
    except Exception as error:  # the user's code may raise anything
        raise ExportError(
            f"the factory {spec} failed",
            received=f"{type(error).__name__}: {error}",
            expected="a function of the training options that returns the model",
            fix="run again with --debug to see where"
            if checkpoint.options
            else "the checkpoint records no options; put an opt.json next to it",
        ) from error
    return with_weights(built, spec, checkpoint)


def training_options(checkpoint: Checkpoint) -> argparse.Namespace:
    """Training's options as its own code reads them, on the CPU."""
    options = checkpoint.options | {"device": torch.device("cpu")}
    width, mode = options.get("v_feat_dim"), str(options.get("ctx_mode", ""))
    # opt.json is written before training adds TEF's two channels to the video's width.
    if checkpoint.options_source == OPTIONS_FILE and "tef" in mode and isinstance(width, int):
        options["v_feat_dim"] = (width if "video" in mode else 0) + TEF_CHANNELS
    return argparse.Namespace(**options)


def with_weights(built: Any, spec: str, checkpoint: Checkpoint) -> nn.Module:
    """The model in what the factory ``spec`` returned, with the checkpoint's weights, in eval mode, on a CPU.

    Raises as :func:`build_model`.
    """
    found = list(_modules_in(built))
    if not found:
        raise ExportError(
            f"the factory {spec} did not return a model",
            received=type(built).__name__,
            expected="a torch.nn.Module, alone or in a tuple, list or dict",
        )
    model = _fitting(found, spec, checkpoint)
    load_into(model, checkpoint.weights, checkpoint.wrappers)
    return model.to("cpu").eval().requires_grad_(False)


def load_into(model: nn.Module, weights: Mapping[str, Tensor], wrappers: Sequence[str] = ()) -> None:
    """Put ``weights`` into ``model``; every parameter must fit.

    ``wrappers`` were taken off the parameters' names when they were read. A model whose own names begin with
    some of them (a wrapper of its own) gets those back.
    """
    wanted = model.state_dict()
    fronts = ["".join(wrappers[first:]) for first in range(len(wrappers))]
    front = next((one for one in fronts if wanted and all(name.startswith(one) for name in wanted)), "")
    named = {f"{front}{name}": value for name, value in weights.items()}
    refuse_misfits(wanted, named)
    model.load_state_dict(named, strict=True)


def _modules_in(built: Any) -> Iterator[nn.Module]:
    if isinstance(built, nn.Module):
        yield built
    elif isinstance(built, (tuple, list)):
        for one in cast(list[Any], built):
            yield from _modules_in(one)
    elif isinstance(built, Mapping):
        for one in cast(Mapping[Any, Any], built).values():
            yield from _modules_in(one)


def _fitting(found: Sequence[nn.Module], spec: str, checkpoint: Checkpoint) -> nn.Module:
    """Of several modules (a model and its criterion) the one whose parameters the checkpoint holds."""
    shared = [len(checkpoint.weights.keys() & module.state_dict().keys()) for module in found]
    best = [module for module, count in zip(found, shared, strict=True) if count == max(shared)]
    if max(shared) and len({type(module) for module in best}) > 1:
        raise ExportError(
            f"the factory {spec} returned several models that these weights belong to",
            received=", ".join(type(module).__name__ for module in best),
            expected="one of them",
            fix="name a factory that returns the one that was trained: --model package.module:factory",
        )
    return best[0]


def _find(spec: str) -> Any:
    name, _, attribute = spec.partition(":")
    if not name or not attribute:
        raise UsageError(f"'{spec}' does not name a factory", expected="--model package.module:factory")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # importing the user's code may raise anything
        raise UsageError(
            f"the factory {spec} could not be imported",
            received=f"{type(error).__name__}: {error}",
            expected=f"a function {attribute} in the module {name}, importable from {here} or as installed",
            fix="run from your project's folder, or install the project",
        ) from error
    if not callable(found):
        raise UsageError(f"{spec} is not a function", received=type(found).__name__)
    return found
