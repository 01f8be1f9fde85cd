"""Harmless values in options are read as plain ones; nothing a file names is called; no option is lost."""

from __future__ import annotations

import argparse
import pickle
import runpy
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch

from gatescope.export import Checkpoint, Choices, load_checkpoint
from gatescope.export.reading import refusals
from gatescope.export.reading.facts import describe
from gatescope.export.reading.open_facts import never_trained
from gatescope.runtime.errors import CheckpointError, UnsafeCheckpointError
from tests.export import small


class EasyDict(dict[str, Any]):
    """Saves itself as easydict's does: a dict whose items are attributes as well."""

    __module__ = "easydict"

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        vars(self).update(items)


VALUES: dict[str, tuple[Any, Any]] = {
    "int64": (np.int64(75), 75),
    "int8": (np.int8(-3), -3),
    "uint16": (np.uint16(300), 300),
    "float64": (np.float64(0.1), 0.1),
    "float32": (np.float32(0.5), 0.5),
    "float16": (np.float16(2.0), 2.0),
    "bool": (np.bool_(True), True),
    "str": (np.str_("클립"), "클립"),
    "bytes": (np.bytes_(b"ab"), b"ab"),
    "big-endian": (np.array([1.5, 2], ">f4"), [1.5, 2.0]),
    "array": (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    "array of words": (np.array(["a", "bcd"]), ["a", "bcd"]),
    "array of no axis": (np.array(3), 3),
    "empty array": (np.zeros(0), []),
    "dtype": (np.dtype("f4"), "float32"),
    "type": (np.float32, "float32"),
    "python type": (int, "int"),
    "type with a stand-in": (bytes, "bytes"),
    "array type": (np.ndarray, "ndarray"),
    "no bytes": (b"", b""),
    "path": (PurePosixPath("/a/b c"), "/a/b c"),
    "own path": (Path("features/clip"), str(Path("features/clip"))),
    "windows path": (PureWindowsPath("C:\\f\\clip"), "C:\\f\\clip"),
    "paths": ([PurePosixPath("a"), PurePosixPath("b")], ["a", "b"]),
    "tuple": ((np.int64(1), (2, PurePosixPath("c"))), (1, (2, "c"))),
    "set": ({np.int64(1), 2}, {1, 2}),
    "frozenset": (frozenset(["x"]), ("x",)),
    "ordered dict": (OrderedDict(a=np.int64(1)), {"a": 1}),
    "defaultdict": (defaultdict(list, a=[np.float64(1)]), {"a": [1.0]}),
    "namespace": (types.SimpleNamespace(a=np.int64(1)), argparse.Namespace(a=1)),
    "device": (torch.device("cpu"), torch.device("cpu")),
    "torch type": (torch.float32, torch.float32),
    "torch size": (torch.Size([2, 3]), (2, 3)),
    "None": (None, None),
    "bytes of Python": (b"ab", b"ab"),
}


def exactly(value: Any) -> Any:
    """``value`` with the types of everything in it."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [exactly(item) for item in value]
    return type(value), value


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", ["Namespace", "dict", "EasyDict"])
def test_values_are_read_as_plain_ones(tmp_path, monkeypatch, kind: str, legacy: bool) -> None:
    given = {name.replace(" ", "_"): value for name, (value, _) in VALUES.items()}
    monkeypatch.setitem(sys.modules, "easydict", types.ModuleType("easydict"))
    monkeypatch.setattr("easydict.EasyDict", EasyDict, raising=False)
    options = {"Namespace": argparse.Namespace, "dict": dict, "EasyDict": EasyDict}[kind](**given)
    torch.save(
        {"model": {"a": torch.zeros(1)}, "opt": options, "best": np.float64(0.5)},
        tmp_path / "m.ckpt",
        _use_new_zipfile_serialization=not legacy,
    )
    read = load_checkpoint(tmp_path / "m.ckpt")
    assert read["best"] == 0.5 and read.options_source == "opt"
    wanted = {name.replace(" ", "_"): value for name, (_, value) in VALUES.items()}
    assert exactly(read.options) == exactly(wanted)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_scalars_of_old_and_new_numpy(tmp_path, module: str) -> None:
    saved = pickle.dumps({"model": {}, "opt": {"n": np.int64(7)}}, 2)
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        saved = saved.replace(name, b"MODULE")
    path = in_zip(tmp_path / "m.ckpt", saved.replace(b"MODULE", module.encode()))
    with pytest.raises(CheckpointError, match="no state dict"):  # it was read
        load_checkpoint(path)


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
def test_paths_of_every_python(tmp_path, module: str) -> None:
    saved = b"\x80\x02c" + module.encode() + b"\nPosixPath\nX\x01\x00\x00\x00aX\x01\x00\x00\x00b\x86R."
    with pytest.raises(CheckpointError, match="a saved str"):
        load_checkpoint(in_zip(tmp_path / "m.ckpt", saved))


TRAINED = {
    "max_v_l": np.int64(100),
    "clip_length": np.float64(1.0),
    "max_q_l": np.float64(32.0),
    "nheads": np.int64(4),
    "fusion_n_heads": np.float32(8),
    "v_feat_dirs": [Path("f/clip_features"), Path("f/slowfast_features")],
    "a_feat_dir": Path("f/pann_features"),
    "gating_type": np.str_("global"),
    "eval_bsz": np.int32(7),
    "use_txt_pos": np.bool_(True),
}


def check_trained(path: Path) -> None:
    description = describe(load_checkpoint(path), Choices(attention_activation="tanh"))
    recipe, config = description.preprocessing, description.config
    assert (recipe.max_v_l, recipe.clip_length, recipe.max_q_l) == (100, 1.0, 32)
    assert [source.path for source in recipe.video] == ["f/clip_features", "f/slowfast_features"]
    assert recipe.audio.path == "f/pann_features"
    assert (config.heads, config.fusion_heads, config.gating) == (4, 8, "global")
    assert config.text_positions is True
    assert description.eval_batch_size == 7


@pytest.mark.parametrize("kind", [argparse.Namespace, dict])
def test_what_training_recorded_decides_and_no_default(tmp_path, kind) -> None:
    options = kind(**small.OPTIONS | TRAINED)
    torch.save({"model": small.weights(), "opt": options}, tmp_path / "m.ckpt")
    check_trained(tmp_path / "m.ckpt")


class Unknown:
    """Something of the training code."""

    def __str__(self) -> str:
        return "unknown"


@pytest.mark.parametrize("kind", [argparse.Namespace, dict, None])
def test_the_advice_loses_no_option(tmp_path, kind) -> None:
    old = tmp_path / "it's a model.ckpt"
    content: dict[str, Any] = {"model": small.weights(), "epoch": np.int64(3), "other": Unknown()}
    options = small.OPTIONS | TRAINED | {"strange": Unknown(), "more": {"path": Path("x"), "t": (1, np.pi)}}
    if kind is not None:
        content["opt"] = kind(**options)
    torch.save(content, old)
    with pytest.raises(UnsafeCheckpointError) as caught:
        load_checkpoint(old)
    lines = str(caught.value.fix).split(":\n", 1)[1].splitlines()
    script = tmp_path / "plain_copy.py"
    script.write_text("\n".join(line.removeprefix("      ") for line in lines), encoding="utf-8")
    # Where the file is trusted: here, with this module's class.
    runpy.run_path(str(script))
    new = tmp_path / "it's a model_plain.ckpt"
    read = load_checkpoint(new)
    assert all(torch.equal(read.weights[name], value) for name, value in content["model"].items())
    assert read["epoch"] == 3
    if kind is None:
        assert read.options_source is None
        return
    check_trained(new)
    assert set(read.options) == set(options)
    assert read.options["strange"] == "unknown"
    assert read.options["more"] == {"path": "x", "t": [1, np.pi]}


def copied(path: Path, content: dict[str, Any]) -> Checkpoint:
    """What is read of the copy that the advice makes of ``content``."""
    torch.save(content, path)
    exec(refusals.script(path), {})
    return load_checkpoint(path.with_name(f"{path.stem}_plain{path.suffix}"))


@pytest.mark.parametrize("key", [*refusals.STATES, *refusals.AVERAGES])
@pytest.mark.parametrize("opt", [argparse.Namespace(strange=Unknown()), [Unknown()], None])
def test_the_copy_holds_the_weights_wherever_they_were(tmp_path, key: str, opt: object) -> None:
    content = {"model": None, key: {"a.weight": torch.ones(2)}, "opt": opt, "other": Unknown()}
    read = copied(tmp_path / "m.ckpt", content)
    assert torch.equal(read.weights["a.weight"], torch.ones(2))
    assert read.options == ({"strange": "unknown"} if isinstance(opt, argparse.Namespace) else {})
    assert bool(read.notes) is (key in refusals.AVERAGES)  # averages are still said to be some


def test_the_copy_still_tells_which_parameters_were_trained(tmp_path) -> None:
    weights = {"used": torch.ones(2), "unused": torch.ones(3)}
    state = {0: {"step": np.int64(3), "exp_avg": torch.zeros(2), "strange": Unknown()}}
    optimizer = {"state": state, "param_groups": [{"params": [0, 1], "lr": Unknown()}]}
    read = copied(tmp_path / "m.ckpt", {"model": weights, "optimizer": optimizer})
    assert never_trained(read) == {"unused"}


def in_zip(path: Path, saved: bytes) -> Path:
    """A checkpoint in today's format whose pickle is ``saved``."""
    torch.save({}, path)
    replace_pickle(path, saved)
    return path


def replace_pickle(path: Path, saved: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, saved if name.endswith("data.pkl") else content)


def short(text: str) -> bytes:
    """Pushes ``text``."""
    return b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()


def named(module: str, name: str) -> bytes:
    """Pushes what a name stands for."""
    return f"c{module}\n{name}\n".encode()


SCALAR = named("numpy.core.multiarray", "scalar")
TYPE = named("numpy", "dtype")
ARRAY = named("numpy.core.multiarray", "_reconstruct") + b")R"
TOUCH = short("touch MARK") + b"\x85R"
CALLS = {
    "os.system": named("os", "system") + TOUCH,
    "posix.system": named("posix", "system") + TOUCH,
    "eval": named("builtins", "eval") + TOUCH,
    "getattr": named("builtins", "getattr") + named("numpy", "dtype") + short("__init__") + b"\x86R",
    "subprocess": named("subprocess", "Popen") + TOUCH,
    "a method of a stand-in": named("pathlib", "Path.write_text") + TOUCH,
    "a path's own function": named("pathlib", "os.system") + TOUCH,
    "another name of numpy": named("numpy", "load") + TOUCH,
    "another name of numpy's core": named("numpy._core.multiarray", "fromfile") + TOUCH,
    "this project's own": named("gatescope.export.reading.standins", "_path") + TOUCH,
    "a stand-in in another module": named("os", "PosixPath") + TOUCH,
    "an object of a stand-in": named("pathlib", "PosixPath") + short("a") + b"\x85R" + TOUCH,
    "a type as a function": named("builtins", "int") + short("7") + b"\x85R",
    "a type made anew": named("builtins", "str") + short("7") + b"\x85\x81",
    "state for text": named("pathlib", "PosixPath") + short("a") + b"\x85R}b",
    "state for a number's type": TYPE + short("i8") + b"\x85R}b",
    "state from memory": TYPE + short("i8") + b"\x85Rq\x00h\x00b",
    "a scalar of no type": SCALAR + short("i8") + short("x") + b"\x86R",
    "a scalar of itself": SCALAR + b"q\x00h\x00h\x00\x86R",
    "a scalar with wrong bytes": SCALAR + TYPE + short("i8") + b"\x85RC\x01a".replace(b"C", b"U") + b"\x86R",
    "a path of numbers": named("pathlib", "PosixPath") + b"K\x01\x85R",
    "a path of paths to itself": named("pathlib", "PosixPath") + b"q\x00h\x00\x85R",
    "objects in an array": ARRAY + b"(K\x01K\x01\x85" + TYPE + short("O8") + b"\x85R\x89]tb",
    "an array of 10**12": ARRAY + b"(K\x01\x8a\x06\x00\x10\xa5\xd4\xe8\x00\x85" + TYPE + short("i1")
    + b"\x85R\x89U\x01atb",
    "an array of -1": ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + TYPE + short("i1") + b"\x85R\x89U\x01atb",
    "words of 10**9 letters": SCALAR + TYPE + short("U1000000000") + b"\x85RU\x01a\x86R",
    "a date": SCALAR + TYPE + short("M8") + b"\x85RU\x08aaaaaaaa\x86R",
    "items for a path": named("pathlib", "PosixPath") + b")R" + short("a") + b"K\x01s",
    "a namespace of arguments": named("argparse", "Namespace") + short("a") + b"\x85R",
    "a list from a name": named("builtins", "list") + b"(K\x01e",
}  # fmt: skip


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_called_and_the_file_is_refused(tmp_path, monkeypatch, name: str, nested: bool) -> None:
    monkeypatch.chdir(tmp_path)
    inner = CALLS[name]
    saved = b"\x80\x02}" + short("opt") + (b"}" + short("a") + inner + b"s" if nested else inner) + b"s."
    with pytest.raises(CheckpointError):
        load_checkpoint(in_zip(tmp_path / "m.ckpt", saved))
    assert [one.name for one in tmp_path.iterdir()] == ["m.ckpt"]


BOMBS = {
    "a list of itself": b"]q\x64h\x64a",
    "a dict of itself": b"}q\x64" + short("a") + b"h\x64s",
    "100,000 lists deep": b"]" * 100_000 + b"a" * 99_999,
    "10**30 values from few bytes": b"(]q\x64" + b"".join(
        b"](" + b"h" + bytes([100 + i]) + (b"h" + bytes([100 + i])) * 9 + b"eq" + bytes([101 + i])
        for i in range(30)
    ) + b"t",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_options_that_would_exhaust_the_machine_are_refused(tmp_path, name: str) -> None:
    path = tmp_path / "m.ckpt"
    torch.save({"model": {"a": torch.zeros(1)}, "opt": None}, path)
    with zipfile.ZipFile(path) as archive:
        saved = archive.read(next(one for one in archive.namelist() if one.endswith("data.pkl")))
    assert saved.endswith(b"Nu.")  # the None, in the place of which the options go
    replace_pickle(path, saved[:-3] + b"}" + short("a") + BOMBS[name] + b"su.")
    with pytest.raises(UnsafeCheckpointError, match="nested deeper than"):
        load_checkpoint(path)


def test_values_in_the_weights_are_no_parameters(tmp_path) -> None:
    torch.save({"model": {"a": torch.zeros(1), "scale": np.float64(2)}}, tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match="not tensors: scale"):
        load_checkpoint(tmp_path / "m.ckpt")
