"""Which family's forward pass a checkpoint was trained with: some families have parameters all alike.

A flag decides, else the code that trained it where that was recognised, else the optimizer's state: it has
none for an encoder that the forward pass skips. Where nothing says it, it is the family that comes first.
"""

from __future__ import annotations

from ...runtime.errors import UnknownFactError, WeightsMismatchError
from ..families.choices import Choices
from ..families.family import FAMILIES, FusionFamily
from .checkpoint import Checkpoint
from .options import CODE, DEFAULT, FLAG, OPTIMIZER, WEIGHTS
from .testimony import never_trained
from .weights import recognise

ENCODER = "transformer.encoder."


def choose_family(checkpoint: Checkpoint, choices: Choices) -> tuple[FusionFamily, str]:
    """The family of ``checkpoint``, and what says so (the source of a fact).

    Raises :class:`WeightsMismatchError` where a flag names a family of other parameters,
    :class:`UnknownFactError` where training never moved the encoder and several families skip it, and
    :class:`~gatescope.runtime.errors.CheckpointError` for another kind of model.
    """
    first = FAMILIES[recognise(checkpoint.weights, checkpoint.path)]
    alike = {one.name: one for one in first.look_alikes}
    if choices.family is not None:
        if choices.family not in alike:
            raise WeightsMismatchError(
                f"--family {choices.family} contradicts the weights of {checkpoint.path}",
                received=f"a model of the {first.name} family",
                expected=" or ".join(f"--family {name}" for name in alike),
                fix="leave --family out, or give the checkpoint that was meant",
            )
        return alike[choices.family], FLAG
    if len(alike) == 1:
        return first, WEIGHTS
    code = checkpoint.code
    by_code = None if code is None else code.family(first.name)
    if by_code in alike:
        return alike[by_code], CODE
    skipped = skips_encoder(checkpoint)
    if skipped is None:
        return first, DEFAULT
    left = [one for one in alike.values() if one.skips_encoder == skipped]
    if len(left) > 1:
        raise UnknownFactError(
            f"{checkpoint.path} was trained with a forward pass that skips the encoder, and which one is "
            "recorded nowhere",
            facts=("family",),
            received=f"an optimizer's state without any for {ENCODER}*",
            expected=" or ".join(f"{one.name} ({one.title})" for one in left),
            fix=f"say which: {' or '.join(f'--family {one.name}' for one in left)} (--verify finds out, if "
            "you have predictions of training)",
        )
    return left[0], OPTIMIZER


def skips_encoder(checkpoint: Checkpoint) -> bool | None:
    """Whether training never moved the encoder, as the optimizer's state says; None where it does not."""
    untouched = never_trained(checkpoint)
    encoder = [name for name in checkpoint.weights if name.startswith(ENCODER)]
    return None if untouched is None or not encoder else untouched.issuperset(encoder)
