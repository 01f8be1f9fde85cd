"""What the code's own process does: importing, stand-ins, building, weights, and what goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gatescope.export import Choices, Variant, load_checkpoint
from gatescope.export.proof.verify import VerifyRequest
from gatescope.export.user.apart.child import build_mounted, reply_to
from gatescope.export.user.apart.code import opened_code
from gatescope.export.user.apart.messages import CodeRequest, error_from, read_request, write_request
from gatescope.export.user.apart.process import CodeChoice
from gatescope.export.user.factory import training_options
from gatescope.runtime.data.dataset import FeatureSources
from gatescope.runtime.errors import (
    BadSamplesError,
    ExportError,
    GatescopeError,
    UnknownFactError,
    UsageError,
    WeightsMismatchError,
)
from tests.export import coded


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coded")
    return coded.save(folder / "model_best.ckpt", coded.built(folder / "code"))


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    with coded.imports_restored():
        yield


def requested(archive: Path, checkpoint: Path, factory: str | None = None) -> CodeRequest:
    """As the command asks for it; the archive stays unpacked next to it."""
    with opened_code(archive, factory) as trained:
        folder = trained.folder.rename(archive.parent / "unpacked")
    return CodeRequest(
        places={name: folder / place for name, place in trained.mounts.places.items()},
        lacking=trained.mounts.lacking,
        folder=folder,
        temporary=archive.parent,
        label=trained.label,
        module=trained.factory.module,
        factory=trained.factory.name,
        branch="",
        checkpoint=checkpoint,
        target=archive.parent / "m.onnx",
        kind="onnx",
        choices=Choices(),
        variant=Variant(),
        opset=20,
        verification=None,
    )


def failed(tmp_path: Path, checkpoint: Path, factory: str | None = None, **changes: str) -> GatescopeError:
    """What is replied where the code has these modules instead."""
    archive = coded.zipped(tmp_path / "code.zip", **changes)
    reply = reply_to(requested(archive, checkpoint, factory), lambda *_: None)
    assert "Traceback" in reply["traceback"]
    return error_from(reply["error"])


def test_the_model_alone_is_imported_and_gets_the_weights(tmp_path: Path, checkpoint: Path) -> None:
    said: list[tuple[str, str]] = []
    request = requested(coded.zipped(tmp_path / "code.zip"), checkpoint)
    read = load_checkpoint(checkpoint)
    model = build_mounted(request, read, lambda kind, text: said.append((kind, text)))
    assert type(model).__name__ == "Model" and not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, read.weights[name])
    assert {name for name in sys.modules if name.startswith("qd_detr")} == {
        "qd_detr",
        *(f"qd_detr.{name}" for name in ("model", "fusion", "matcher")),
    }
    assert ("tell", "importing qd_detr.model of code.zip") in said


def test_stand_ins_are_gone_after_the_import_and_raise_when_they_are_used(
    tmp_path: Path, checkpoint: Path
) -> None:
    request = requested(coded.zipped(tmp_path / "code.zip"), checkpoint)
    build_mounted(request, load_checkpoint(checkpoint), lambda *_: None)
    assert not {"absent_solver", "absent_solver.optimize", "torch.utils.tensorboard"} & set(sys.modules)
    matcher = sys.modules["qd_detr.matcher"]
    with pytest.raises(Exception, match="absent_solver"):
        matcher.Matcher()(1, 2)
    # Libraries that look for it are told the truth.
    with pytest.raises(ModuleNotFoundError):
        exec("import absent_solver", {"__file__": torch.__file__})


STAND_INS = """
import absent_solver
from absent_solver.parts import Base, Other, helper
from torch import nn
from typing import Optional


class Loss(Base, nn.Module):
    pass


def named(one: Base, two: Optional[Other] = None) -> "Base | None":
    return isinstance(one, Other) or issubclass(Loss, Other)


assert not named(3)
kept = absent_solver.deep.deeper
"""


def test_stand_ins_can_be_subclassed_and_named(tmp_path: Path, checkpoint: Path) -> None:
    matcher = STAND_INS + "\ndef build_matcher(args):\n    return None\n"
    request = requested(coded.zipped(tmp_path / "code.zip", matcher=matcher), checkpoint)
    build_mounted(request, load_checkpoint(checkpoint), lambda *_: None)
    assert issubclass(sys.modules["qd_detr.matcher"].Loss, torch.nn.Module)


BUILD = "def build_matcher(args):\n    "


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"matcher": "from absent_solver import f\n" + BUILD + "return f(args)\n"},
            [
                "needs the module absent_solver, which is not installed",
                "pip install absent_solver",
                "return f(args)",
            ],
        ),
        (
            {"matcher": "import absent_solver\n@absent_solver.fast\ndef build_matcher(args):\n    pass\n"},
            ["needs the module absent_solver", "matcher.py:2", "--code DIR"],
        ),
        (
            {"matcher": "from qd_detr.gone import f\n" + BUILD + "return f(args)\n"},
            ["needs the module qd_detr.gone, which is not in it", "the whole repository: --code DIR"],
        ),
        (
            {"matcher": "import torch\ntorch.nn.functional.gone\n"},
            [
                "failed while importing qd_detr.model",
                "matcher.py:2: torch.nn.functional.gone",
                "another release",
            ],
        ),
        ({"matcher": "def build_matcher(args)\n"}, ["importing qd_detr.model", "SyntaxError"]),
        (
            {"matcher": BUILD + "return args.set_cost_span\n"},
            ["no attribute 'set_cost_span'", "another version", "matcher.py:2"],
        ),
        (
            {"matcher": BUILD + "return open('costs.json').read()\n"},
            ["FileNotFoundError", "costs.json", "--code DIR"],
        ),
        ({"matcher": "import sys\nsys.exit(3)\n"}, ["ended its process", "sys.exit(3)", "matcher.py:2"]),
        ({"matcher": BUILD + "raise KeyboardInterrupt\n"}, ["ended its process", "KeyboardInterrupt"]),
        (
            {"matcher": BUILD + "return [0][1]\n"},
            ["IndexError", "qd_detr/matcher.py:2: return [0][1]", "--debug"],
        ),
        (
            {
                "model": coded.MODEL.replace(
                    "return model, criterion", "return model, nn.Sequential(model)[0], Twin(args)"
                )
                + "\nclass Twin(Model):\n    pass\n"
            },
            ["returned several models", "Model, Model, Twin"],
        ),
        (
            {"model": coded.MODEL.replace("return model, criterion", "return 3, [model.width]")},
            ["AttributeError"],
        ),
        (
            {"model": coded.MODEL.replace("return model, criterion", "return str(model)")},
            ["did not return a model"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_code_that_fails_says_where_and_what_to_do(tmp_path: Path, checkpoint: Path, changes, words) -> None:
    error = failed(tmp_path, checkpoint, **changes)
    assert isinstance(error, ExportError)
    for word in words:
        assert word in str(error)


def test_code_of_another_model(tmp_path: Path, checkpoint: Path) -> None:
    error = failed(
        tmp_path,
        checkpoint,
        model=coded.MODEL.replace("nn.Linear(args.width, 6)", "nn.Linear(args.width, 9)"),
    )
    assert isinstance(error, WeightsMismatchError)
    assert "model_best.ckpt do not fit the model that qd_detr.model:build_model of code.zip builds" in str(
        error
    )
    assert "classes.weight: (6, 8), expected (9, 8)" in str(error) and "--code" in str(error)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("qd_detr.model:Model", None),
        ("qd_detr.model:gone", "no attribute 'gone'"),
        ("qd_detr.gone:build", "No module named 'qd_detr.gone'"),
        ("qd_detr.model:nn", "is not a function"),
    ],
)
def test_a_named_factory(tmp_path: Path, checkpoint: Path, factory: str, words: str | None) -> None:
    if words is None:
        request = requested(coded.zipped(tmp_path / "code.zip"), checkpoint, factory)
        assert type(build_mounted(request, load_checkpoint(checkpoint), lambda *_: None)).__name__ == "Model"
    else:
        assert words in str(failed(tmp_path, checkpoint, factory))


def test_without_options_nothing_is_run(tmp_path: Path, checkpoint: Path) -> None:
    bare = tmp_path / "bare" / "m.ckpt"
    bare.parent.mkdir()
    torch.save(load_checkpoint(checkpoint).weights, bare)
    error = failed(tmp_path, bare, model=coded.MODEL + "\nraise RuntimeError('it ran')\n")
    assert "records no options" in str(error) and "opt.json" in str(error)


def test_a_video_s_width_in_opt_json_is_without_tef(tmp_path: Path, checkpoint: Path) -> None:
    read = replace(load_checkpoint(checkpoint), options_source="opt.json")
    assert training_options(read).v_feat_dim == coded.OPTIONS["v_feat_dim"] + 2
    assert training_options(load_checkpoint(checkpoint)).v_feat_dim == coded.OPTIONS["v_feat_dim"]


def test_a_request_is_read_as_it_was_written(tmp_path: Path, checkpoint: Path) -> None:
    sources = FeatureSources(tmp_path, (tmp_path / "a", tmp_path / "b"), None, tmp_path / "text")
    request = replace(
        requested(coded.zipped(tmp_path / "code.zip"), checkpoint),
        choices=Choices("global", tef=False, video_sources=("a", "b")),
        variant=Variant("gates"),
        verification=VerifyRequest(tmp_path / "p.jsonl", tmp_path / "a.jsonl", batch_size=3, sources=sources),
    )
    write_request(request, tmp_path / "request.json")
    assert read_request(tmp_path / "request.json") == request


@pytest.mark.parametrize(
    "error",
    [
        UsageError("a", received="b", expected="c", fix="d"),
        UnknownFactError("a", facts=("heads", "gating")),
        BadSamplesError([("1", "gone")], 2),
    ],
)
def test_an_error_keeps_its_class_and_message(error: GatescopeError) -> None:
    from gatescope.export.user.apart.messages import error_document

    again = error_from(error_document(error))
    assert type(again) is type(error) and str(again) == str(error) and again.exit_code == error.exit_code
    assert getattr(again, "facts", None) == getattr(error, "facts", None)


def test_the_code_s_name_says_what_it_is(tmp_path: Path) -> None:
    name = CodeChoice(coded.zipped(tmp_path / "code.zip")).branch()
    assert name.startswith("qd_detr.model:build_model of code.zip (sha256 ")
