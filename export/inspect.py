"""What a checkpoint is and what is wrong with it, also where an export refuses it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..runtime.brief import counted
from ..runtime.errors import CheckpointError, GatescopeError, UnknownFactError
from ..runtime.files import local
from ..runtime.gates.manifest import Fact
from ..runtime.gates.vocabulary import Gating
from ..runtime.inspection.inspection import InspectedRow, InspectedSection, Inspection, fact_rows, size_of
from .families.choices import Choices
from .families.family import FAMILIES, FusionFamily
from .families.qd_detr import GatedQDDETR
from .inspect_code import code_details, trained_by, trained_otherwise
from .reading.checkpoint import Checkpoint, load_checkpoint
from .reading.facts import Description, describe, facts_apart
from .reading.left_behind import find_predictions
from .reading.open_facts import fitting_gatings, flag_of_fact, stand_in
from .reading.options import DEFAULT, WEIGHTS, TrainingOptions
from .reading.rebuild import misfits, unread
from .reading.weights import WeightShapes, recognise

UNKNOWN = "unknown"

_MODEL = (
    ("family", "family"),
    ("gating", "gating"),
    ("attention_activation", "attention gate"),
    ("gate_temperature", "temperature"),
    ("fusion_layers", "fusion layers"),
    ("heads", "heads"),
    ("fusion_heads", "fusion heads"),
)
# Lines of the text, each of several facts with their units.
_SIZES = (
    ("inputs", "channels", (("video_width", "video"), ("audio_width", "audio"), ("text_width", "text"))),
    (
        "layers",
        "",
        (("encoder_layers", "encoder"), ("t2v_layers", "text-to-video"), ("decoder_layers", "decoder")),
    ),
    ("transformer", "", (("hidden_dim", "channels"), ("queries", "queries"))),
    ("at most", "", (("max_v_l", "clips"), ("max_q_l", "words"))),
)
# For facts recorded nowhere, so that everything else can be reported.
_PLACEHOLDERS: dict[str, Any] = {"heads": 8, "fusion_heads": 4, "family": "text_first"}
_SHOWN = 8
_SEVERAL = "a model that does not use its encoder"


@dataclass(frozen=True)
class _Open:
    """Something the weights cannot show, and what decided it: ``source`` is ``unknown`` where nothing did."""

    fact: str
    text: str
    flag: str
    source: str


def inspect_checkpoint(path: str | Path) -> Inspection:
    """What the checkpoint at ``path`` is; nothing in it is executed.

    A file that cannot be read, or that an export would refuse, comes back with the reasons as problems and
    with every fact that could be found.
    """
    path = local(path)
    try:
        checkpoint = load_checkpoint(path)
    except CheckpointError as error:
        size = path.stat().st_size if path.is_file() else 0
        return Inspection(
            path, "checkpoint", "cannot be read", problems=(str(error),), details={"bytes": size}
        )
    try:
        family = FAMILIES[recognise(checkpoint.weights, path)]
    except CheckpointError as error:
        return _foreign(checkpoint, error)
    gatings = _fitting_gatings(family, checkpoint)
    description, unknown, problem = _describe(checkpoint, gatings)
    if description is None:
        facts, warnings, wrong = facts_apart(checkpoint), (), dict[str, list[str]]()
        facts["family"] = Fact(family.name, WEIGHTS if len(family.look_alikes) == 1 else DEFAULT)
    else:
        facts, warnings = dict(description.facts), description.warnings
        wrong = _misfits(checkpoint, description)
    facts |= {fact: Fact(None, UNKNOWN) for fact in unknown}
    family = family if description is None else FAMILIES[description.family]
    undecided = _open_questions(family, gatings, facts)
    if problem is None and not (unknown or wrong) and description is not None:
        problem = trained_otherwise(checkpoint, description)
    problems = [str(problem)] if problem is not None else []
    problems += [_misfit(kind, names) for kind, names in wrong.items()]
    gating = facts.get("gating", Fact(None, UNKNOWN))
    layers = facts.get("fusion_layers", Fact(None, UNKNOWN))
    return Inspection(
        path,
        "checkpoint",
        f"{_SEVERAL if 'family' in unknown else family.title}, {gating.value or 'unknown'} gating"
        + (f", {counted(int(layers.value), 'fusion layer')}" if layers.value else ""),
        sections=(
            InspectedSection("Model", fact_rows(facts, _MODEL)),
            InspectedSection("Sizes", _sizes(facts)),
            trained_by(checkpoint, description),
            InspectedSection("File", _file(checkpoint)),
            InspectedSection("Not visible in the weights", tuple(_question(one) for one in undecided)),
        ),
        problems=tuple(problems),
        warnings=warnings,
        commands=_next(path, [flag_of_fact(fact, gatings) for fact in unknown], problem, wrong),
        details={
            **_details(checkpoint),
            **code_details(checkpoint, description),
            "family": facts["family"].value,
            "gating": gating.value,
            "facts": {name: {"value": fact.value, "source": fact.source} for name, fact in facts.items()},
            "unknown": [{"fact": fact, "flag": flag_of_fact(fact, gatings)} for fact in unknown],
            "ambiguous": [
                {"fact": one.fact, "why": one.text, "flag": one.flag, "decided_by": one.source}
                for one in undecided
            ],
            "misfits": wrong,
        },
    )


def _fitting_gatings(family: FusionFamily, checkpoint: Checkpoint) -> tuple[Gating, ...]:
    """The gatings that the weights fit; none where the weights do not say how many channels a gate has."""
    options = TrainingOptions(checkpoint.path, checkpoint.options, checkpoint.options_source)
    try:
        return fitting_gatings(family, WeightShapes(checkpoint, options))
    except GatescopeError:
        return ()


def _describe(
    checkpoint: Checkpoint, gatings: tuple[Gating, ...]
) -> tuple[Description | None, list[str], GatescopeError | None]:
    """The model, with placeholders for facts recorded nowhere; which facts these are; what else is wrong."""
    try:
        return describe(checkpoint, Choices()), [], None
    except UnknownFactError as error:
        unknown = list(error.facts)
        known = _PLACEHOLDERS | ({"gating": stand_in(gatings)} if gatings else {})
        placeholders = {fact: known[fact] for fact in unknown}
        try:
            return describe(checkpoint, replace(Choices(), **placeholders)), unknown, None
        except GatescopeError as other:
            return None, unknown, other
    except GatescopeError as error:
        return None, [], error


def _misfits(checkpoint: Checkpoint, description: Description) -> dict[str, list[str]]:
    with torch.device("meta"):
        model = GatedQDDETR(description.config)
    return misfits(model.state_dict(), checkpoint.weights, unread(description.config))


def _misfit(kind: str, names: list[str]) -> str:
    shown = names[:_SHOWN] + ([f"… and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])
    return "\n".join([f"{counted(len(names), 'parameter')} {kind}:", *shown])


def _sizes(facts: Mapping[str, Fact]) -> tuple[InspectedRow, ...]:
    rows: list[InspectedRow] = []
    for title, unit, wanted in _SIZES:
        there = [(facts[name], noun) for name, noun in wanted if name in facts]
        if there:
            text = ", ".join(f"{noun} {fact.value}" for fact, noun in there)
            sources = dict.fromkeys(fact.source for fact, _ in there)
            rows.append(InspectedRow(title, f"{text} {unit}".rstrip(), ", ".join(sources)))
    return tuple(rows)


def _open_questions(
    family: FusionFamily, gatings: tuple[Gating, ...], facts: Mapping[str, Fact]
) -> list[_Open]:
    """What weights of this family cannot show."""
    gating, activation = facts.get("gating"), facts.get("attention_activation")
    found: list[_Open] = []
    alike, known = family.look_alikes, facts.get("family")
    if len(alike) > 1 and known is not None:
        text = f"{len(alike)} forward passes have the same weights: {', '.join(one.name for one in alike)}"
        found.append(_Open("family", text, flag_of_fact("family", gatings), known.source))
    if len(gatings) > 1 and gating is not None:
        text = f"{' and '.join(gatings)} have the same weights"
        found.append(_Open("gating", text, flag_of_fact("gating", gatings), gating.source))
    doubtful = gating is not None and gating.value in family.two_activations and family.open_activation
    if activation is not None and doubtful:
        text = f"a {' and a '.join(family.activations)} attention gate have the same weights"
        flag = f"--attention-activation {'|'.join(family.activations)}"
        found.append(_Open("attention_activation", text, flag, activation.source))
    for name in ("heads", "fusion_heads"):
        fact = facts.get(name)
        if fact is not None and fact.source != "family":
            text = "any number that divides the channels fits the weights"
            found.append(_Open(name, text, flag_of_fact(name, gatings), fact.source))
    positions = facts.get("text_positions")
    if positions is not None:
        text = "positions of words have a table in the weights, used or not"
        found.append(_Open("text_positions", text, "--text-positions", positions.source))
    return found


def _question(one: _Open) -> InspectedRow:
    decided = {UNKNOWN: f"say {one.flag}", "default": "the default is taken"}.get(
        one.source, f"{one.source} says it"
    )
    return InspectedRow(one.fact.replace("_", " "), one.text, decided)


def _file(checkpoint: Checkpoint) -> tuple[InspectedRow, ...]:
    details = _details(checkpoint)
    left = find_predictions(checkpoint.path)
    options = {"opt": "inside", "opt.json": "in opt.json next to it", None: "none found"}
    return (
        InspectedRow(
            "size", f"{size_of(details['bytes'])}, {details['parameters']:,} numbers in the weights"
        ),
        InspectedRow("options", options[checkpoint.options_source]),
        *(
            [InspectedRow("wrappers", "".join(checkpoint.wrappers), "taken off")]
            if checkpoint.wrappers
            else []
        ),
        *(
            [InspectedRow("predictions", f"{left.name} next to it; --verify compares the model with it")]
            if left
            else []
        ),
        *([InspectedRow("epoch", str(details["epoch"]))] if details["epoch"] is not None else []),
        InspectedRow("SHA-256", f"{checkpoint.sha256[:16]}…"),
    )


def _details(checkpoint: Checkpoint) -> dict[str, Any]:
    epoch = checkpoint.content.get("epoch")
    left = find_predictions(checkpoint.path)
    return {
        "bytes": checkpoint.path.stat().st_size,
        "sha256": checkpoint.sha256,
        "parameters": sum(tensor.numel() for tensor in checkpoint.weights.values()),
        "tensors": len(checkpoint.weights),
        "options_source": checkpoint.options_source,
        "wrappers": list(checkpoint.wrappers),
        "epoch": epoch if isinstance(epoch, int) else None,
        "predictions": None if left is None else str(left),
    }


def _foreign(checkpoint: Checkpoint, error: CheckpointError) -> Inspection:
    """A checkpoint of a model that gatescope cannot rebuild, but which the user's own code may."""
    tops: dict[str, int] = {}
    for name, tensor in checkpoint.weights.items():
        top = name.split(".")[0]
        tops[top] = tops.get(top, 0) + tensor.numel()
    gating = checkpoint.options.get("gating_type")
    return Inspection(
        checkpoint.path,
        "checkpoint",
        "a model of unknown family",
        sections=(
            trained_by(checkpoint, None),
            InspectedSection("File", _file(checkpoint)),
            InspectedSection(
                "Weights", tuple(InspectedRow(top, f"{count:,} numbers") for top, count in tops.items())
            ),
        ),
        problems=(str(error),),
        commands=(_with_factory(checkpoint.path),),
        details={
            **_details(checkpoint),
            **code_details(checkpoint, None),
            "family": None,
            "gating": gating if isinstance(gating, str) else None,
            "weights": tops,
        },
    )


def _next(
    path: Path, flags: list[str], problem: GatescopeError | None, wrong: Mapping[str, list[str]]
) -> tuple[str, ...]:
    if problem is None and not wrong:
        words = [
            "gatescope export --checkpoint",
            shlex.quote(str(path)),
            *flags,
        ]
        if left := find_predictions(path):
            words += ["--verify", shlex.quote(str(left)), "--annotations val.jsonl --features features/"]
        return (" ".join([*words, "--output m.onnx"]),)
    # The code that trained it may well know what to do with it, unless the weights are not finite.
    return () if "not finite" in wrong else (_with_factory(path),)


def _with_factory(path: Path) -> str:
    quoted = shlex.quote(str(path))
    return f"gatescope export --checkpoint {quoted} --model package.module:factory --output m.onnx"
