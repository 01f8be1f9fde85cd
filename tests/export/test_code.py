"""Which code trained a checkpoint is known by what decides its numbers, and by nothing else."""

from __future__ import annotations

import ast
import json
import os
import zipfile
from pathlib import Path

import pytest

from gatescope.export.reading.code import find_code, recognise_code, record_of
from gatescope.export.reading.fingerprint import fingerprint_code
from gatescope.export.reading.known_branches import known_branches

from .known_code import FUSION, MODEL, TRANSFORMER, branch_of, write, zipped


def renamed(old: str, new: str, text: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def test_code_is_known_as_a_folder_and_as_the_archive_that_training_leaves(tmp_path: Path) -> None:
    known = branch_of(write(tmp_path / "repository" / "qd_lab"))
    found = [
        recognise_code(tmp_path / "repository", [known]),
        recognise_code(zipped(tmp_path / "results" / "code.zip"), [known]),
        recognise_code(tmp_path / "results", [known]),
    ]
    assert [one.branch for one in found] == [known] * 3
    assert found[1].path == found[2].path == tmp_path / "results" / "code.zip"


def test_parts_are_what_the_model_uses_and_its_loss_is_not_among_them(tmp_path: Path) -> None:
    parts = set(fingerprint_code(write(tmp_path)).parts)
    assert "model.build_model" in parts and "model.SCALE" in parts
    assert {"transformer._sharpen", "transformer.Transformer._attend", "fusion.Fusion.forward"} <= parts
    assert not {one for one in parts if "Loss" in one or "matcher" in one or "unused" in one}


SILENT = {
    "comments and format": {"model": f"# changed\n{ast.unparse(ast.parse(MODEL))}"},
    "a docstring": {"model": renamed('"""Finds moments."""', '"""Finds more."""', MODEL)},
    "an annotation": {"model": renamed("width: int", "width: float", MODEL)},
    "printing": {"model": renamed('print("fused", video.shape)', 'logger.info("x")', MODEL)},
    "no assertion": {"model": renamed("        assert video.ndim == 3\n", "", MODEL)},
    "another device": {"model": renamed("device=video.device).cuda()", ").to(video.device)", MODEL)},
    "the words of an error": {"model": renamed("there are no words", "no words", MODEL)},
    "how parameters are drawn": {"model": renamed("nn.init.zeros_", "nn.init.ones_", MODEL)},
    "the loss": {"model": renamed("outputs.sum()", "outputs.mean()", MODEL)},
    "a method that nothing calls": {"model": renamed("self.first + 1", "self.first + 2", MODEL)},
    "another way to the same module": {"model": renamed("from .transformer", "from transformer", MODEL)},
}
LOUD = {
    "a number": ({"transformer": renamed("x ** 3", "x ** 2", TRANSFORMER)}, "transformer._sharpen"),
    "an operator": ({"fusion": renamed("video + ", "video - ", FUSION)}, "fusion.Fusion.forward"),
    "a function": ({"fusion": renamed("torch.tanh", "torch.sigmoid", FUSION)}, "fusion.Fusion.forward"),
    "a helper method": ({"transformer": renamed("F.relu", "F.gelu", TRANSFORMER)}, "Transformer._attend"),
    "a default": ({"model": renamed("first=True", "first=False", MODEL)}, "model.Finder.__init__"),
    "the wiring": (
        {"model": renamed("Finder(transformer, args.width)", "Finder(transformer, 8)", MODEL)},
        "b",
    ),
    "a change of what was built": (
        {"model": renamed("model.first = False", "model.first = True", MODEL)},
        "b",
    ),
    "a constant": ({"model": renamed("SCALE = 2.0", "SCALE = 2.5", MODEL)}, "model.SCALE"),
    "a name of the same spelling": (
        {"model": renamed("from .transformer import", "from .fusion import", MODEL)},
        "model.build_model",
    ),
    "a library's other function": (
        {"transformer": renamed("torch.nn.functional", "torch.special", TRANSFORMER)},
        "Transformer._attend",
    ),
}


@pytest.mark.parametrize("change", SILENT.values(), ids=SILENT)
def test_what_changes_no_number_changes_nothing(change: dict[str, str], tmp_path: Path) -> None:
    known = branch_of(write(tmp_path / "known"))
    assert recognise_code(write(tmp_path / "here", **change), [known]).branch == known


@pytest.mark.parametrize(("change", "where"), LOUD.values(), ids=LOUD)
def test_one_change_of_what_decides_numbers_is_unknown_code(
    change: dict[str, str], where: str, tmp_path: Path
) -> None:
    known = branch_of(write(tmp_path / "known"))
    found = recognise_code(write(tmp_path / "here", **change), [known])
    assert found.branch is None
    assert "nearest is lab, other in" in found.reason and where in found.reason
    assert "is unknown, nearest is lab" in (found.doubt("avigate_custom", "avigate_custom") or "")


def test_without_the_fusion_file_code_is_unknown_but_its_branches_are_named(tmp_path: Path) -> None:
    known = branch_of(write(tmp_path / "known"), computes={"avigate_custom": "avigate_custom"})
    found = recognise_code(write(tmp_path / "here", fusion=None), [known])
    assert found.branch is None
    assert found.reason == "what lies here is that of lab, but the fusion's file is missing"


def test_without_the_fusion_file_another_forward_pass_is_known_all_the_same(tmp_path: Path) -> None:
    known = branch_of(write(tmp_path / "known"), other="it squares the words")
    found = recognise_code(write(tmp_path / "here", fusion=None), [known])
    assert found.branch == known and found.is_other("avigate_custom")


def test_a_model_of_another_kind_is_near_to_nothing(tmp_path: Path) -> None:
    known = branch_of(write(tmp_path / "known"))
    other = "class Net:\n    def forward(self, x):\n        return x\n\n"
    other += "def build_model(args):\n    return Net()\n"
    found = recognise_code(write(tmp_path / "here", model=other), [known])
    assert found.reason == "no branch that is known is like it"


BAD = {
    "Python 2": ({"model": "print 'hello'\n"}, "code/model.py is not Python 3"),
    "not text": ({"model": b"\xff\xfe\x00x"}, "code/model.py is not Python 3"),
    "a zero byte": ({"model": b"x = 1\x00"}, "code/model.py is not Python 3"),
    "a wrong coding": ({"model": b"# coding: nonsense\n"}, "code/model.py is not Python 3"),
    "no factory": ({"model": "x = 1\n"}, "no model.py in code.zip defines build_model"),
    "an imported file that is broken": ({"fusion": "class :"}, "code/fusion.py is not Python 3"),
    "too much nesting": ({"model": "x = " + "(" * 300 + ")" * 300}, "code/model.py is not Python 3"),
    "a long chain": (
        {"model": f"def build_model(a):\n    return a{'.b' * 5000}\n"},
        "not Python 3 (maximum recursion depth",
    ),
}


@pytest.mark.parametrize(("change", "reason"), BAD.values(), ids=BAD)
def test_code_that_cannot_be_parsed_is_unknown_with_the_reason(
    change: dict[str, str | bytes], reason: str, tmp_path: Path
) -> None:
    found = recognise_code(zipped(tmp_path / "code.zip", **change), [])
    assert found.branch is None and reason in found.reason


def test_an_archive_is_read_as_far_as_a_module_can_be_long(tmp_path: Path) -> None:
    path = tmp_path / "code.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("code/model.py", b" " * (3 << 20))
        archive.writestr("../model.py", MODEL)
    assert "larger than 1 MB" in recognise_code(path, []).reason


def test_a_damaged_archive_and_a_missing_one_are_unknown_code(tmp_path: Path) -> None:
    path = zipped(tmp_path / "code.zip")
    content = bytearray(path.read_bytes())
    content[60:90] = os.urandom(30)
    path.write_bytes(bytes(content))
    assert recognise_code(path, []).branch is None
    path.write_bytes(b"PK not a zip")
    assert "code.zip cannot be read" in recognise_code(path, []).reason
    assert recognise_code(tmp_path / "gone.zip", []).branch is None


def test_two_files_that_build_a_model_are_one_too_many(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert "several files define build_model" in recognise_code(tmp_path, []).reason


def test_code_is_looked_for_as_training_leaves_it(tmp_path: Path) -> None:
    assert find_code(tmp_path) is None
    write(tmp_path)
    assert find_code(tmp_path) == tmp_path
    assert find_code(zipped(tmp_path / "code.zip").parent) == tmp_path / "code.zip"


def test_a_record_for_a_new_branch_holds_hashes_alone(tmp_path: Path) -> None:
    record = json.loads(record_of(write(tmp_path)))
    assert frozenset(record) == branch_of(tmp_path).parts
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in record)


def test_every_known_branch_has_a_fingerprint_of_its_own_and_says_what_follows() -> None:
    branches = known_branches()
    assert len({one.parts for one in branches}) == len(branches)
    assert all(len(one.parts) > 50 and one.name for one in branches)
    assert all(one.follows or one.other for one in branches)
    assert all(one.computes or one.other for one in branches)
