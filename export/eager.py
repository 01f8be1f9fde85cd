"""The model of a checkpoint in eager PyTorch with hooks that record its gates: what a script would do.

It is gatescope's own rebuilt model, without the passes that only training needs: a script on the training
code computes those too. Its contributions, which such a script lacks, are 0 to 3 % of its time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..runtime.array_types import Float32s
from ..runtime.gates.manifest import Manifest
from ..runtime.gates.vocabulary import GATE_KINDS, PREDICTIONS, Activation, Family, gate_output
from ..runtime.session.backends.torch_device import choose_device
from ..runtime.session.inputs import FULL_SET
from .families.choices import Choices
from .families.gating import Gates
from .reading.checkpoint import load_checkpoint
from .reading.facts import describe
from .reading.rebuild import rebuild


@contextmanager
def eager_model(
    checkpoint: Path, manifest: Manifest, *, device: str, threads: int
) -> Generator[Callable[[Mapping[str, Any]], dict[str, Float32s]]]:
    """Within it, a function of a batch of the full set (arrays) that gives predictions and stacked gates.

    The model is the one ``manifest`` was exported from: its gating, heads and batching. ``device`` is ``cpu``
    or ``cuda``; ``threads`` are PyTorch's while inside. Found under the plug-in name ``eager-model``. Raises
    what reading and rebuilding a checkpoint raise, and
    :class:`~gatescope.runtime.errors.DeviceError` where PyTorch has no CUDA.
    """
    read = load_checkpoint(checkpoint)
    model = rebuild(describe(read, choices_of(manifest)), read.weights).to(choose_device(device))
    recorded: dict[str, list[torch.Tensor]] = {kind: [] for kind in GATE_KINDS}

    def record(module: nn.Module, inputs: object, gates: Gates) -> None:
        for kind, values in recorded.items():
            values.append(getattr(gates, kind).detach().cpu())

    def run(batch: Mapping[str, Any]) -> dict[str, Float32s]:
        for values in recorded.values():
            values.clear()
        tensors = {name: torch.from_numpy(batch[name]).to(device) for name in FULL_SET}
        with torch.inference_mode():
            outputs = model(**tensors)
        predictions = {name: getattr(outputs, name).cpu().numpy() for name in PREDICTIONS}
        gates = {gate_output(kind): torch.stack(recorded[kind], 1).numpy() for kind in GATE_KINDS}
        return predictions | gates

    before = torch.get_num_threads()
    with ExitStack() as hooks:
        torch.set_num_threads(threads)
        hooks.callback(torch.set_num_threads, before)
        for layer in cast(Iterable[Any], model.fusion.fusion_layers):
            hooks.callback(layer.gating_function.register_forward_hook(record).remove)
        yield run


def choices_of(manifest: Manifest) -> Choices:
    """What was chosen at the export and no checkpoint records."""

    def fact(name: str) -> Any:
        return manifest.facts[name].value if name in manifest.facts else None

    return Choices(
        family=cast(Family, manifest.family),
        gating=manifest.gating,
        heads=fact("heads"),
        fusion_heads=fact("fusion_heads"),
        attention_activation=cast("Activation | None", fact("attention_activation")),
        batching=manifest.batching,
        text_positions=fact("text_positions"),
    )
