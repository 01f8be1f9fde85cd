"""``gatescope export``: a checkpoint in, a certified file with its gates as outputs out."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from functools import partial
from typing import TYPE_CHECKING, get_args

from ...runtime.brief import counted
from ...runtime.cli.command import Command
from ...runtime.cli.options import DataGroup, FeatureGroup, file_path, positive
from ...runtime.errors import UsageError
from ...runtime.gates.gatings import GATINGS, one_of
from ...runtime.gates.vocabulary import Family
from .code import CodeGroup
from .results import ResultsGroup, show_results, verification_with

if TYPE_CHECKING:
    from ...runtime.gates.certificate import Certificate
    from ..families.choices import Choices
    from ..proof.certified import ExportResult
    from ..proof.verify import VerifyRequest


def add_model_options(parser: ArgumentParser, *, several: bool = False) -> None:
    """The options that decide what the model is; ``report`` has them too, and takes ``several`` folders."""
    ResultsGroup.add(parser, several=several)
    model = parser.add_argument_group("the model (what is left out comes from the checkpoint)")
    model.add_argument(
        "--family",
        choices=get_args(Family),
        metavar="NAME",
        help="which forward pass, where several have the same weights: avigate_custom, text_first (fusion "
        "behind the text attention) or t2v_ffn (no encoder)",
    )
    model.add_argument(
        "--gating",
        choices=tuple(GATINGS),
        metavar="TYPE",
        help=f"{one_of(GATINGS)}; refused where the weights contradict it",
    )
    model.add_argument("--heads", type=positive, metavar="N", help="attention heads of the transformer")
    model.add_argument("--fusion-heads", type=positive, metavar="N", help="attention heads of the fusion")
    model.add_argument(
        "--attention-activation", choices=("tanh", "sigmoid"), help="what bounds the attention gate"
    )
    model.add_argument(
        "--tef", action=BooleanOptionalAction, help="whether temporal endpoints are part of the features"
    )
    model.add_argument(
        "--text-positions",
        action=BooleanOptionalAction,
        help="whether the words have positions (training's use_txt_pos)",
    )
    model.add_argument(
        "--frozen",
        action="append",
        metavar="PREFIX",
        help="parameters that training left as they were on purpose, by how their names begin; repeat it for "
        "several (others that training never moved are refused)",
    )
    model.add_argument(
        "--batching",
        choices=("exact", "reference"),
        default="exact",
        help="exact: a sample's numbers do not depend on its batch (default); "
        "reference: the numbers of the training code, which do",
    )


def add_factory_option(parser: ArgumentParser) -> None:
    """The option for a model that the user's own code builds."""
    parser.add_argument(
        "--model",
        metavar="PACKAGE.MODULE:FACTORY",
        help="build the model with your own code instead: a function of the training options",
    )


def add_verify_options(parser: ArgumentParser) -> None:
    """Predictions to compare with."""
    real = parser.add_argument_group("is it really the trained model?")
    real.add_argument(
        "--verify",
        type=file_path,
        metavar="PREDICTIONS",
        help="predictions that training left behind (best_hl_val_preds.jsonl, hl_val_submission.jsonl); "
        "needs --annotations and --features. With RESULTS those of the checkpoint are taken",
    )
    real.add_argument(
        "--no-verify",
        action="store_true",
        help="with RESULTS: do not compare with the predictions found there",
    )
    real.add_argument(
        "--verify-batch-size", type=positive, metavar="N", help="what training evaluated with (opt.eval_bsz)"
    )


def choices_from(args: Namespace) -> Choices:
    """The model options as the export takes them."""
    from ..families.choices import Choices

    return Choices(
        family=args.family,
        gating=args.gating,
        heads=args.heads,
        fusion_heads=args.fusion_heads,
        attention_activation=args.attention_activation,
        batching=args.batching,
        tef=args.tef,
        text_positions=args.text_positions,
        frozen=tuple(args.frozen or ()),
        video_sources=tuple(args.video_features) if args.video_features else None,
    )


def verification_from(args: Namespace) -> VerifyRequest | None:
    """What to verify a checkpoint named by itself with; None without ``--verify``."""
    from ..proof.verify import VerifyRequest

    if args.no_verify:
        raise UsageError(
            "--no-verify without RESULTS", fix="leave it out: nothing is compared without --verify"
        )
    if args.verify is None:
        if args.verify_batch_size is not None:
            raise UsageError("--verify-batch-size without --verify", fix="give --verify PREDICTIONS too")
        return None
    if args.annotations is None or not (args.features or args.video_features):
        raise UsageError(
            "--verify needs the data the predictions were made from",
            fix="give --annotations FILE and --features ROOT too",
        )
    return VerifyRequest(
        predictions=args.verify,
        annotations=args.annotations,
        sources=FeatureGroup.build(args),
        batch_size=args.verify_batch_size,
    )


def tell(line: str) -> None:
    """Show what is being done, on standard error."""
    print(f"{line} …", file=sys.stderr, flush=True)


def describe_result(result: ExportResult) -> str:
    """What was written and what it was compared with, for people."""
    manifest, size = result.manifest, result.bytes / 1e6
    lines = [
        f"wrote {result.path} ({size:.1f} MB, {manifest.gating} gates of {counted(manifest.layers, 'layer')})"
    ]
    if manifest.certificate is not None:
        worst = max(manifest.certificate.errors.values())
        lines.append(
            f"  compared with {manifest.certificate.compared_with} on batches of "
            f"{counted(len(manifest.certificate.shapes), 'shape')}: largest difference {worst:.1g}"
        )
        if manifest.precision == "float16":
            moved = [
                f"{kind} gates by up to {manifest.certificate.errors[manifest.gate_output(kind)]:.1g}"
                for kind in manifest.tracked_kinds
            ]
            lines.append(f"  half precision moves {', '.join(moved) or 'outputs as said'}")
        lines += [f"  {line}" for line in _verification(manifest.certificate, manifest.batching, result)]
    if manifest.assumption is not None:
        lines.append(f"  {manifest.assumption}")
    elif (forward := manifest.forward) is not None and forward.source == "family" and forward.branch:
        lines.append(f"  its forward pass is that of the code that trained it: branch {forward.branch}")
    lines += [f"  warning: {warning}" for warning in manifest.warnings]
    return "\n".join(lines)


def _verification(certificate: Certificate, batching: str, result: ExportResult) -> list[str]:
    """Whether it is the trained model, and in which batching."""
    from ...runtime.inspection.batching import effect_in_words, matters

    verified = certificate.verification
    if verified is None:
        there = (
            f"{result.left_behind.name} lies next to the checkpoint: give it to --verify with "
            "--annotations FILE and --features ROOT"
            if result.left_behind is not None
            else "give --verify PREDICTIONS --annotations FILE --features ROOT"
        )
        return [
            f"not compared with predictions of the training run: {there}, to be sure it is the model that "
            "was trained"
        ]
    lines = [
        f"reproduces {verified.predictions} on {verified.samples} samples in training's batching (reference, "
        f"batches of {verified.batch_size}): scores within {verified.errors['score']:.1g}, saliency within "
        f"{verified.errors['saliency']:.1g}"
    ]
    if (effect := certificate.batching_effect) is not None:
        instead = ". --batching reference gives training's numbers" if matters(effect) else ""
        lines.append(f"the file computes each query by itself (exact): {effect_in_words(effect)}{instead}")
    elif batching == "reference":
        lines.append(
            "the file computes in that batching too: a query's numbers depend on the others in its batch; "
            f"batches of {verified.batch_size} in file order give training's numbers"
        )
    return lines


def add_variant_options(parser: ArgumentParser) -> None:
    """What the file is and what its graph returns."""
    file = parser.add_argument_group("the file")
    file.add_argument(
        "--format",
        choices=("onnx", "torchscript", "pt2"),
        help="default: what the output's name says, else onnx",
    )
    file.add_argument(
        "--outputs",
        choices=("tracked", "plain", "gates", "summary"),
        default="tracked",
        help="tracked: predictions and gates (default); plain: predictions; gates: the graph ends at the "
        "last gate; summary: predictions and in-graph statistics of the gates",
    )
    file.add_argument(
        "--contribution", action="store_true", help="add how far each gated branch moves the stream"
    )
    file.add_argument(
        "--overridable", action="store_true", help="add inputs that change the gates: g' = scale * g + offset"
    )
    file.add_argument(
        "--optimize",
        metavar="all|none|NAMES",
        help="rewrites that make the graph faster (default all; none; or names separated by commas)",
    )
    file.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        default="fp32",
        help="fp16: compute in half precision, for GPUs; the error it causes is measured and recorded",
    )
    file.add_argument("--opset", type=positive, metavar="N", help="ONNX opset, 18 to 22 (default 20)")


def _configure(parser: ArgumentParser) -> None:
    add_model_options(parser)
    add_factory_option(parser)
    CodeGroup.add(parser)
    add_variant_options(parser)
    parser.add_argument(
        "--output",
        type=file_path,
        metavar="FILE",
        help="default: the checkpoint's name with the format's suffix",
    )
    add_verify_options(parser)
    DataGroup.add(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def refuse_rebuilding_flags(args: Namespace) -> None:
    """Refuse flags that say how to rebuild a model, where the user's code builds it."""
    flag = "--model" if getattr(args, "code", None) is None else "--code"
    given = {
        "--family": args.family,
        "--heads": args.heads,
        "--fusion-heads": args.fusion_heads,
        "--attention-activation": args.attention_activation,
        "--text-positions": args.text_positions,
        "--frozen": args.frozen,
        # Of `export` alone.
        "--optimize": getattr(args, "optimize", None),
        "--precision": {"fp16": "fp16"}.get(getattr(args, "precision", "fp32")),
    }
    wrong = [flag for flag, value in given.items() if value is not None]
    if wrong:
        raise UsageError(
            f"{', '.join(wrong)} together with {flag}",
            expected=f"one of the two: with {flag} your own code decides this",
            fix=f"leave out {', '.join(wrong)}, or {flag}",
        )


def _run(args: Namespace) -> int:
    CodeGroup.read(args)
    results = ResultsGroup.build(args, args.results)
    if results is not None:
        show_results(results)
    verification = verification_from(args) if results is None else verification_with(args, results)
    if (
        results is None
        and verification is None
        and (args.annotations or args.features or args.audio_features or args.text_features)
    ):
        raise UsageError(
            "--annotations and features are for --verify", fix="give --verify PREDICTIONS, or leave them out"
        )
    from ..export import export_checkpoint
    from ..graph.onnx_graph import OPSET
    from ..graph.variant import Variant
    from ..user.export import export_with_factory

    export = partial(
        export_checkpoint,
        optimize=args.optimize or "all",
        precision="float16" if args.precision == "fp16" else "float32",
    )
    code = CodeGroup.build(args, results)
    if code is not None or args.model is not None:
        refuse_rebuilding_flags(args)
        export = partial(export_with_factory, factory=args.model) if code is None else code.export
    result = export(
        args.checkpoint if results is None else results.checkpoint,
        output=args.output,
        choices=choices_from(args),
        variant=Variant(args.outputs, args.contribution, args.overridable),
        file_format=args.format,
        opset=args.opset or OPSET,
        verification=verification,
        tell=tell,
    )
    if args.json:
        document = {"output": str(result.path), "bytes": result.bytes, "manifest": result.manifest.to_dict()}
        if result.left_behind is not None:
            document["predictions_next_to_checkpoint"] = str(result.left_behind)
        print(json.dumps(document))
    else:
        print(describe_result(result))
    return 0


command = Command(
    summary="rewrite a checkpoint's fusion so that its gates are outputs, and export it",
    example="gatescope export results/hl-video_tef-my_run/ --output m.onnx",
    configure=_configure,
    run=_run,
)
