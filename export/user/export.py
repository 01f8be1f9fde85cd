"""Exporting a user's own model: studied, captured with its gates, compared with that very module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...runtime.errors import UnknownFactError, UsageError
from ...runtime.files import local
from ...runtime.gates.manifest import Fact, Forward, Manifest, Training
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.gates.shape import Tensor as Declared
from ...runtime.gates.shape import role_of, rows_of
from ...runtime.gates.vocabulary import TEF_CHANNELS, FileFormat
from ...runtime.session.inputs import FULL_SET
from ..families.choices import Choices
from ..graph.capture import refuse_training_mode
from ..graph.manifest import package_versions, trained_with
from ..graph.onnx_graph import OPSET
from ..graph.target import choose_target
from ..graph.variant import Variant
from ..live.manifest import fingerprint
from ..proof.causes import DifferenceCause, preprocessing_causes
from ..proof.certified import ExportResult, write_certified
from ..proof.subject import WayOn, likely_batch_sizes
from ..proof.verify import VerifyRequest, reproduce
from ..reading.checkpoint import Checkpoint, load_checkpoint
from ..reading.left_behind import find_predictions
from ..reading.options import TrainingOptions, whole
from ..reading.preprocessing import find_preprocessing
from .adapting import adapting
from .anatomy import depends_on_batch, gating_of, needed_inputs, study
from .factory import build_model
from .graph import Anatomy, UserGraph

FAMILY = "user"
_WIDTHS = (("src_vid", "v_feat_dim"), ("src_aud", "a_feat_dim"), ("src_txt", "t_feat_dim"))


def export_with_factory(
    checkpoint: str | Path,
    factory: str,
    output: str | Path | None = None,
    choices: Choices | None = None,
    *,
    variant: Variant | None = None,
    file_format: FileFormat | None = None,
    opset: int = OPSET,
    verification: VerifyRequest | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export the model that ``factory`` (``package.module:function``) builds, with the checkpoint's weights.

    The rest as :func:`~gatescope.export.export_checkpoint`; of ``choices`` only the gating and how features
    are put together apply. The file is compared with the factory's own module.
    """
    source, wanted = local(checkpoint), choices or Choices()
    target, kind = choose_target(source, output, file_format, opset)
    tell(f"reading {source}")
    read = load_checkpoint(source)
    tell(f"building the model with {factory}")
    with adapting():
        return export_user_model(
            build_model(factory, read),
            read,
            f"the model that {factory} builds",
            factory,
            target,
            kind,
            wanted,
            variant=variant,
            opset=opset,
            verification=verification,
            tell=tell,
        )


def export_user_model(
    model: nn.Module,
    read: Checkpoint,
    name: str,
    branch: str | None,
    target: Path,
    kind: FileFormat,
    choices: Choices | None = None,
    *,
    variant: Variant | None = None,
    opset: int = OPSET,
    verification: VerifyRequest | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export ``model``, which the user's code built and which holds the weights of the checkpoint ``read``.

    ``name`` is what the certificate calls the model, ``branch`` what the manifest calls its code. ``target``
    and ``kind`` are as :func:`~gatescope.export.graph.target.choose_target` gives them. The rest, and what it
    raises, as :func:`export_with_factory`.
    """
    wanted = choices or Choices()
    options = TrainingOptions(read.path, read.options, read.options_source)
    options.warnings += read.notes
    recipe = find_preprocessing(options, wanted, widths=_widths(read, options), max_words=32)
    result = _export(
        _Study(model, read.sha256, options, recipe, name, branch=branch, training=trained_with(read)),
        target,
        kind,
        wanted,
        variant=variant or Variant(),
        opset=opset,
        verification=verification,
        tell=tell,
    )
    return result if verification is not None else replace(result, left_behind=find_predictions(read.path))


def gates_in_pytorch(model: nn.Module, read: Checkpoint, choices: Choices) -> tuple[UserGraph, Manifest]:
    """The gates of ``model``, built by the user's code from the checkpoint ``read``, in PyTorch; nothing is
    exported. The manifest says what goes in and what comes out. Run it while :func:`adapting` is entered.
    Raises what looking for gates raises.
    """
    options = TrainingOptions(read.path, read.options, read.options_source)
    options.warnings += read.notes
    recipe = find_preprocessing(options, choices, widths=_widths(read, options), max_words=32)
    study_ = _Study(model, read.sha256, options, recipe, type(model).__name__)
    with adapting():
        anatomy = study(model, recipe, study_.input_names, gating=choices.gating)
    graph = UserGraph(model, anatomy, Variant("gates"), anatomy.input_axes)
    return graph, _manifest(study_, graph, "onnx", None)


def export_model(
    model: nn.Module,
    example_inputs: Mapping[str, Tensor],
    output: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    gating_type: str | None = None,
    variant: Variant | None = None,
    file_format: FileFormat | None = None,
    opset: int = OPSET,
    verification: VerifyRequest | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export a live model whose gated fusion is found by its structure, with the gates as outputs.

    - ``model``: takes the inputs by keyword and returns a dict with ``pred_logits``, ``pred_spans`` and
      ``saliency_scores`` (other entries are left out of the graph). Must be in eval mode; is not changed.
    - ``example_inputs``: the inputs it takes, of the full set ``src_txt, src_vid, src_aud`` (B, T | L, D) and
      their masks (B, T | L); only names and widths count.
    - ``options``: the training options, for the preprocessing recipe; defaults of the training script
      without them.

    The rest as :func:`~gatescope.export.export_checkpoint`. Raises
    :class:`~gatescope.runtime.errors.UnsupportedModelError` where no gate is found, and any
    :class:`~gatescope.runtime.errors.ExportError`, which names the module and the line that failed.
    """
    unknown = [name for name in example_inputs if name not in FULL_SET]
    absent = [name for name, _ in _WIDTHS if name not in example_inputs]
    if unknown or absent or "src_vid_mask" not in example_inputs:
        raise UsageError(
            "these are not inputs of a moment retrieval model",
            received=", ".join(example_inputs) or "none",
            expected=f"names of {', '.join(FULL_SET)}",
        )
    target, kind = choose_target(local(output), output, file_format, opset)
    read = TrainingOptions(local(output), dict(options or {}), "opt" if options else None)
    video, audio, text = (int(example_inputs[name].shape[-1]) for name, _ in _WIDTHS)
    wanted = Choices(gating=gating_type)
    recipe = find_preprocessing(read, wanted, widths=(video, audio, text), max_words=32)
    study = _Study(model, fingerprint(model), read, recipe, f"the live {type(model).__name__}")
    return _export(
        replace(study, input_names=tuple(name for name in FULL_SET if name in example_inputs)),
        target,
        kind,
        wanted,
        variant=variant or Variant(),
        opset=opset,
        verification=verification,
        tell=tell,
    )


@dataclass(frozen=True)
class _Study:
    """A user's model and what goes with it."""

    model: nn.Module
    sha256: str
    options: TrainingOptions
    recipe: Preprocessing
    name: str
    input_names: tuple[str, ...] = tuple(FULL_SET)
    branch: str | None = None
    training: Training | None = None


class _UserSubject:
    """A user's model for verification: nothing of it can be changed but how features are put together."""

    way_on = WayOn("This code may build another model than the one that was trained")

    def __init__(self, study: _Study, anatomy: Anatomy) -> None:
        self._study = study
        self._anatomy = anatomy

    def graph(self, choices: Choices, variant: Variant) -> UserGraph:
        """The model as it is."""
        return UserGraph(self._study.model, self._anatomy, variant, self._anatomy.input_axes)

    def preprocessing(self, choices: Choices) -> Preprocessing:
        """The recipe under ``choices``."""
        recipe, options = self._study.recipe, self._study.options
        widths = (recipe.video_width, recipe.audio_width, recipe.text_width)
        return find_preprocessing(options.copy(), choices, widths=widths, max_words=32)

    def excerpts(self, choices: Choices) -> None:
        """What passes between the samples of a batch is not known: it is run on whole batches."""

    def batch_sizes(self) -> tuple[int, ...]:
        """The one recorded, the training script's default, and one by one."""
        return likely_batch_sizes(self._study.options.values)

    def causes(self, choices: Choices, folders: Mapping[str, Path]) -> list[DifferenceCause]:
        """The preprocessing alone."""
        return preprocessing_causes(choices, self.preprocessing(choices), folders)


def _export(
    study_: _Study,
    target: Path,
    kind: FileFormat,
    choices: Choices,
    *,
    variant: Variant,
    opset: int,
    verification: VerifyRequest | None,
    tell: Callable[[str], None],
) -> ExportResult:
    if variant.contribution or variant.overridable:
        flag = "--contribution" if variant.contribution else "--overridable"
        raise UsageError(
            f"{flag} needs a model that gatescope rebuilds itself",
            received="a model of the user's own code, whose branches are not known",
            fix=f"export without --model, or without {flag}",
        )
    model, recipe = study_.model, study_.recipe
    refuse_training_mode(model)
    with adapting() as adapted:
        tell("looking for the gates")
        anatomy = study(model, recipe, study_.input_names, gating=choices.gating)
        graph = UserGraph(model, anatomy, variant, needed_inputs(model, anatomy, variant, recipe))
        gates_alone = needed_inputs(model, anatomy, Variant("gates"), recipe)
        batching = "reference" if depends_on_batch(model, anatomy, recipe) else "exact"
        manifest = _manifest(study_, graph, kind, opset if kind == "onnx" else None)
        manifest = replace(manifest, batching=batching, depends_on_text="src_txt" in gates_alone)
        # Whatever its capture meets, the model's runs have met before.
        manifest = replace(manifest, forward=Forward("code", study_.branch, adapted.met))
        if batching == "reference" and choices.batching == "exact":
            note = "a sample's numbers depend on its batch in this model's own code: batching is 'reference'"
            manifest = replace(manifest, warnings=(*manifest.warnings, note))
        certify_with = None
        if verification is not None:
            subject = _UserSubject(study_, anatomy)
            reproduced = reproduce(verification, subject, choices, manifest, tell=tell)
            certify_with = partial(reproduced.compare_file, variant)
        return write_certified(
            graph, manifest, target, compared_with=study_.name, verification=certify_with, tell=tell
        )


def _manifest(study_: _Study, graph: UserGraph, kind: FileFormat, opset: int | None) -> Manifest:
    anatomy, variant, options = graph.anatomy, graph.variant, study_.options
    facts = dict(options.facts)
    facts["gating"] = Fact(gating_of(anatomy), "model")
    facts["hidden_dim"] = Fact(anatomy.hidden_dim, "model")
    batch = whole(options.get("eval_bsz"))
    return Manifest(
        family=FAMILY,
        gating=gating_of(anatomy),
        gates=rows_of(anatomy.shapes.values(), "code"),
        inputs=tuple(Declared(name, axes, role=role_of(name)) for name, axes in graph.input_axes.items()),
        outputs=tuple(Declared(name, axes) for name, axes in graph.output_axes.items()),
        preprocessing=study_.recipe,
        facts=facts,
        checkpoint_sha256=study_.sha256,
        versions=package_versions(),
        opset=opset,
        precision="float32",
        batching="reference",
        outputs_kind=variant.outputs,
        depends_on_text=True,
        format=kind,
        summaries=anatomy.summaries if variant.outputs == "summary" else {},
        eval_batch_size=batch if batch is not None and batch > 0 else None,
        warnings=tuple(options.warnings),
        training=study_.training,
    )


def _widths(checkpoint: Checkpoint, options: TrainingOptions) -> tuple[int, int, int]:
    """Input channels as training recorded them, TEF included."""
    tef = "tef" in str(options.get("ctx_mode") or "video_tef")
    said = {key: whole(options.get(key)) for _, key in _WIDTHS}
    unknown = [key for key, width in said.items() if width is None or width < 1]
    if unknown:
        names = " and ".join(name for name, key in _WIDTHS if key in unknown)
        raise UnknownFactError(
            f"{checkpoint.path} does not record the width of {names}",
            received=", ".join(f"{key} = {options.get(key)!r}" for key in unknown),
            expected="the options of the training run, inside the checkpoint or in opt.json next to it",
        )
    # opt.json is written before training adds TEF's two channels to the video's width.
    early = {"v_feat_dim": TEF_CHANNELS if options.source == "opt.json" and tef else 0}
    video, audio, text = ((said[key] or 0) + early.get(key, 0) for _, key in _WIDTHS)
    return video, audio, text
