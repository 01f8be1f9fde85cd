"""Where the forward pass of a rebuilt model is known from, and what speaks against it.

Weights do not show it: branches of the training code have parameters of the same names and shapes and compute
otherwise. The code next to the checkpoint shows it where it is known, and the optimizer's state shows what
training did not use.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...runtime.errors import UnsupportedModelError
from ...runtime.gates.manifest import Forward
from ...runtime.gates.vocabulary import Activation, Gating
from ..families.config import ModelConfig
from .checkpoint import Checkpoint
from .code import OWN_CODE
from .options import TrainingOptions
from .testimony import highlights_alone, refuse_unmoved
from .weights import recognise


def activation_by_code(checkpoint: Checkpoint, gating: Gating) -> Activation | None:
    """What bounds the attention gate by the code that trained the checkpoint; None where it does not say."""
    kind = recognise(checkpoint.weights, checkpoint.path)
    return None if checkpoint.code is None else checkpoint.code.attention(kind, gating)


def find_forward(checkpoint: Checkpoint, config: ModelConfig, options: TrainingOptions) -> Forward:
    """Where the forward pass of the model ``config`` is known from; warns of what is in doubt."""
    if highlights_alone(checkpoint):
        options.warnings.append(
            "training never moved the decoder, as on datasets of highlights alone: windows (pred_spans, "
            "pred_logits) mean nothing; gates and saliency are as trained"
        )
    kind, code = recognise(checkpoint.weights, checkpoint.path), checkpoint.code
    if code is None:
        return Forward("assumed")
    if (doubt := code.doubt(kind, config.family)) is not None:
        options.ask(doubt)
        return Forward("assumed")
    said = code.attention(kind, config.gating)
    if said not in (None, config.attention_activation):
        options.ask(
            f"--attention-activation {config.attention_activation} differs from the code that trained it "
            f"({code.where}), where it is {said}"
        )
        return Forward("assumed")
    return Forward("family", branch=None if code.branch is None else code.branch.name)


def refuse_other_forward(checkpoint: Checkpoint, used: Collection[str], frozen: Sequence[str]) -> None:
    """Raise :class:`UnsupportedModelError` where it is known that training ran another forward pass.

    ``used``: the parameters that the rebuilt model uses. ``frozen``: how names of those begin that were
    frozen on purpose. Only a comparison with training's predictions could still prove otherwise.
    """
    code = checkpoint.code
    if code is not None and code.is_other(recognise(checkpoint.weights, checkpoint.path)):
        raise UnsupportedModelError(
            f"{checkpoint.path} was trained with a forward pass that is none of gatescope's",
            received=f"{code.in_words} ({code.where}): {code.branch.other if code.branch else ''}",
            expected="code whose forward pass gatescope rebuilds",
            fix=f"{OWN_CODE}; or give --verify PREDICTIONS, which decides",
        )
    refuse_unmoved(checkpoint, used, frozen)
