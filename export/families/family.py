"""What each family of training code does in its fusion: one record of capabilities per family.

Everything that asks which family a model is of asks for one of these instead. A family is recognised by its
parameters' names, and its gating function is the class that the record names. Some families have the same
parameters and differ in where their forward pass uses them: those have the same mark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ...runtime.gates.vocabulary import Activation, Family, Gating
from .config import ModelConfig
from .gating import GatingFunction, ScaledGatingFunction
from .ssm import SsmGatingFunction


@dataclass(frozen=True)
class FusionFamily:
    """What the fusion of one training code does.

    - ``title``: in words. ``mark``: a part of a parameter's name that only this family and its look-alikes
      have; None for those that have none of the others' marks.
    - ``gating_function``: makes a layer's gating function. ``gate_parameters``: where, under a layer, its
      perceptrons are.
    - ``gatings``: those it can be trained with. ``activations``: what may bound its attention gate; where
      there are two, the weights fit both and the first is the family's own.
    - ``two_activations``: gatings for which another branch with the same weights bounds the attention gate by
      the second of ``activations``. ``open_activation``: whether that makes a model of this gating doubtful.
    - ``own_option``: an option that only this training code records; None where there is none to go by.
    - ``projects_inputs``: the fusion takes raw features and projects them itself.
    - ``attends_audio``: clips attend to the audio; elsewhere each clip hears its own alone.
    - ``norms_branches``: gated branches are normalised before their gate multiplies them.
    - ``tempered``: the attention gate has a temperature. ``strip_gates``: gates come from diagonals of the
      streams' self-similarity, and so from every clip's mask.
    - ``words_first``: the fusion stands behind the attention to the words, so that gates depend on the query,
      and its self-attention hears the global token instead of the clips.
    - ``skips_encoder``: clips go from the words (and the fusion) to the decoder; ``transformer.encoder`` is
      in the weights and was never trained.
    - ``film_parameter``: the scale of FiLM's shift, where weights with it have FiLM.
    - ``constant_fusion_heads``: attention heads of the fusion where the code has a constant and reads no
      option about the fusion.
    """

    name: Family
    title: str
    mark: str | None
    gating_function: Callable[[ModelConfig], nn.Module]
    gatings: tuple[Gating, ...] = ("global", "clipwise", "elementwise")
    activations: tuple[Activation, ...] = ("sigmoid",)
    gate_parameters: str = "gating_function."
    two_activations: tuple[Gating, ...] = ()
    open_activation: bool = False
    own_option: str | None = None
    projects_inputs: bool = False
    attends_audio: bool = False
    norms_branches: bool = False
    tempered: bool = False
    strip_gates: bool = False
    words_first: bool = False
    skips_encoder: bool = False
    film_parameter: str | None = None
    constant_fusion_heads: int | None = None

    @property
    def look_alikes(self) -> tuple[FusionFamily, ...]:
        """The families whose parameters have the same names and shapes, this one among them."""
        return tuple(one for one in FAMILIES.values() if one.mark == self.mark)

    def reads_audio_mask(self, config: ModelConfig) -> bool:
        """Whether anything depends on which audio clips are valid."""
        return self.attends_audio or self.strip_gates or _pools_valid_clips(config)

    def gates_read_video_mask(self, config: ModelConfig) -> bool:
        """Whether gates depend on which clips are valid: through attention, their positions among the words,
        pooling or the strip's mean."""
        anywhere = self.strip_gates or self.words_first or _pools_valid_clips(config)
        return config.fusion_layers > 1 or anywhere

    def gates_read_audio_mask(self, config: ModelConfig) -> bool:
        """Whether gates depend on which audio clips are valid."""
        through_layers = config.fusion_layers > 1 or config.batching == "exact" or self.strip_gates
        return self.reads_audio_mask(config) and through_layers


FAMILIES: dict[Family, FusionFamily] = {
    one.name: one
    for one in (
        FusionFamily(
            name="avigate_custom",
            title="AVIGATEFusionCustom (tanh gates)",
            mark=None,
            gating_function=GatingFunction,
            activations=("tanh", "sigmoid"),
            two_activations=("global",),
            open_activation=True,
        ),
        FusionFamily(
            name="sigmoid",
            title="later AVIGATEFusionCustom (sigmoid attention gate)",
            mark="gating_function.mha_bias",
            gating_function=ScaledGatingFunction,
            norms_branches=True,
            tempered=True,
            film_parameter="ffn_beta",
        ),
        FusionFamily(
            name="base_avigate",
            title="base AVIGATE (cross-attention)",
            mark="fusion.video_proj.",
            gating_function=GatingFunction,
            gatings=("global",),
            activations=("tanh", "sigmoid"),
            two_activations=("global",),
            projects_inputs=True,
            attends_audio=True,
            constant_fusion_heads=8,
        ),
        FusionFamily(
            name="ssm",
            title="diagonal-strip SSM gate",
            mark="gating_function.ssm_gate.",
            gating_function=SsmGatingFunction,
            gatings=("global_diagstrip_ssm",),
            gate_parameters="gating_function.ssm_gate.",
            own_option="ssm_band_width",
            strip_gates=True,
        ),
        FusionFamily(
            name="text_first",
            title="AVIGATEFusionCustom behind the text attention (gates depend on the query)",
            mark=None,
            gating_function=GatingFunction,
            activations=("tanh", "sigmoid"),
            words_first=True,
            skips_encoder=True,
        ),
        FusionFamily(
            name="t2v_ffn",
            title="AVIGATEFusionCustom without the encoder (t2v-ffn)",
            mark=None,
            gating_function=GatingFunction,
            activations=("tanh", "sigmoid"),
            skips_encoder=True,
        ),
    )
}


def _pools_valid_clips(config: ModelConfig) -> bool:
    return config.pooled and config.batching == "exact"
