"""Under which names code answers, and which function builds the model: by parsing alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gatescope.export.user.apart.code import opened_code
from gatescope.export.user.apart.factories import find_factory
from gatescope.export.user.apart.mount import Mounts, plan_mounts
from gatescope.export.user.apart.survey import read_sources
from gatescope.runtime.errors import UsageError
from tests.export import coded

NET = """
from torch import nn
class Net(nn.Module):
    def forward(self, src_vid, **others):
        return {}
class Part(nn.Module):
    def forward(self, x):
        return x
"""


def mounted(folder: Path, files: Mapping[str, str], asked: str | None = None) -> Mounts:
    coded.unzipped(folder, files)
    return plan_mounts(read_sources(folder), folder.name, asked)


def factory(folder: Path, **files: str) -> str:
    coded.unzipped(folder, {f"{name}.py": text for name, text in files.items()})
    sources = read_sources(folder)
    return find_factory(sources, plan_mounts(sources, folder.name), "code.zip").spec


def told(folder: Path, **files: str) -> str:
    with pytest.raises(UsageError) as raised:
        factory(folder, **files)
    return str(raised.value)


def test_the_inside_of_a_package_gets_the_name_it_imports_itself_by(tmp_path: Path) -> None:
    coded.zipped(tmp_path / "code.zip")
    with opened_code(tmp_path) as trained:  # a results folder stands for the code in it
        assert trained.label == "code.zip"
        assert trained.factory.spec == "qd_detr.model:build_model"
        assert {name: str(place) for name, place in trained.mounts.places.items()} == {"qd_detr": "qd_detr"}
        assert (trained.folder / "qd_detr" / "model.py").is_file()
        assert trained.mounts.lacking == ("absent_solver", "easydict_absent", "qd_detr.span_words")
        folder = trained.folder
    assert not folder.exists()


def test_a_repository_and_its_package_alone(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    coded.unzipped(repository / "qd_detr")
    coded.unzipped(repository / "utils", {"span_words.py": ""})
    coded.unzipped(repository / "qd_detr", {"inference.py": "from utils.span_words import words\n"})
    with opened_code(repository) as trained:
        assert set(trained.mounts.places) == {"qd_detr", "utils"}
        assert "utils" not in trained.mounts.lacking
        whole = trained.factory.spec
    with opened_code(repository / "qd_detr") as trained:
        assert trained.mounts.places["qd_detr"].parts == () and "utils" in trained.mounts.lacking
        assert trained.factory.spec == whole == "qd_detr.model:build_model"


def test_the_same_code_has_the_same_hash_wherever_it_lies(tmp_path: Path) -> None:
    with (
        opened_code(coded.zipped(tmp_path / "a.zip")) as one,
        opened_code(coded.zipped(tmp_path / "b.zip")) as two,
    ):
        assert one.sha256 == two.sha256
    with opened_code(coded.zipped(tmp_path / "c.zip", config="x = 1\n")) as three:
        assert three.sha256 != one.sha256


def test_modules_that_import_each_other_by_dots_or_by_their_bare_names(tmp_path: Path) -> None:
    dots = mounted(
        tmp_path / "code", {"__init__.py": "", "a.py": "from .b import c\n", "b.py": "from .gone import x\n"}
    )
    assert dots.places.keys() == {"trained_code"}  # "code" is Python's own
    assert dots.lacking == ("trained_code.gone",)
    bare = mounted(tmp_path / "bare", {"net.py": "import helper_of_net\n", "helper_of_net.py": ""})
    assert str(bare.places["helper_of_net"]) == "helper_of_net.py"


@pytest.mark.parametrize(
    "line", ["from scipy.optimize import f", "from sklearn.optimize import f", "import numpy"]
)
def test_a_library_is_not_taken_for_the_code(tmp_path: Path, line: str) -> None:
    files = {"model.py": f"{line}\nfrom qd_like.optimize import g\n", "optimize.py": "", "numpy.py": ""}
    assert mounted(tmp_path / "code", files).places.keys() == {"qd_like"}


def test_a_named_module_is_found_where_nothing_imports_it(tmp_path: Path) -> None:
    files = {"code/model.py": "import torch\n"}
    assert mounted(tmp_path / "x", files).places.keys() == {"model"}
    assert str(mounted(tmp_path / "y", files, "mine.model").places["mine"]) == "code"


def test_what_the_code_can_go_on_without_gets_no_stand_in(tmp_path: Path) -> None:
    text = (
        "try:\n    import absent_one\nexcept ImportError:\n    absent_one = None\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import absent_two\n"
        "try:\n    import absent_three\nexcept KeyError:\n    pass\n"
        "def later():\n    import absent_four\n"
    )
    assert mounted(tmp_path, {"model.py": text}).lacking == ("absent_four", "absent_three")


def test_two_folders_of_one_name(tmp_path: Path) -> None:
    files = {f"{place}/qd_like/net.py": "from qd_like.net import a\n" for place in ("old", "new")}
    with pytest.raises(UsageError, match="two folders of the code are called qd_like"):
        mounted(tmp_path, files)


def test_files_that_are_not_python_3_and_other_environments_are_passed_over(tmp_path: Path) -> None:
    coded.unzipped(
        tmp_path, {"good.py": "", "old.py": "print 1\n", ".git/hook.py": "", "results/model.py": ""}
    )
    coded.unzipped(tmp_path / "env", {"lib.py": "", "pyvenv.cfg": ""})
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    assert [str(source.place) for source in read_sources(tmp_path)] == ["good.py"]


@pytest.mark.parametrize(
    "body",
    [
        "def build_model(args):\n    return Net()\n",
        "def build_model1(args, device=None):\n    model = Net().to(device)\n    return model, None\n",
        "def create_model(opt):\n    if opt.a:\n        net = Part()\n    else:\n        net = Net()\n"
        "    return {'net': net, 'loss': 1}\n",
        "def build_it(args):\n    return [wrap(Net(args)), 3]\n",
        "def make(args):\n    model: Net = Net(args)\n    return model\n",
        "def build_model(args):\n    return CLASSES[args.kind](args)\n",
        "class Child(Net):\n    pass\ndef get_net(args):\n    return Child(args)\n",
    ],
)
def test_factories_that_are_found(tmp_path: Path, body: str) -> None:
    name = body[body.index("def ") + 4 :].partition("(")[0]
    others = "def build_part(args):\n    return Part()\ndef build_two(a, b):\n    return Net()\n"
    assert factory(tmp_path, net=NET + body + others) == f"net:{name}"


def test_a_factory_that_calls_another_is_the_one(tmp_path: Path) -> None:
    body = (
        "def build_core(args):\n    return Net(args)\n"
        "def build_model(args):\n    model = build_core(args)\n    return model, None\n"
        "def setup_model(args):\n    return build_model(args)[0]\n"
    )
    assert factory(tmp_path, net=NET + body) == "net:build_model"


def test_of_two_the_one_that_training_imports(tmp_path: Path) -> None:
    two = NET + "def build_model(args):\n    return Net()\ndef build_model1(args):\n    return Net()\n"
    text = told(tmp_path, net=two)
    assert "net:build_model, net:build_model1" in text and "--model net:build_model" in text
    assert factory(tmp_path, train="from net import build_model1\n") == "net:build_model1"


def test_code_without_a_factory(tmp_path: Path) -> None:
    text = told(tmp_path, net=NET + "def build_part(args):\n    return Part()\n")
    assert "classes that take src_vid: Net" in text and "--model package.module:function" in text


@pytest.mark.parametrize("spec", ["model", "model:", ":build"])
def test_specs_that_name_nothing(tmp_path: Path, spec: str) -> None:
    with pytest.raises(UsageError, match="does not name a factory"), opened_code(tmp_path, spec):
        pass


def test_places_without_code(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no Python code"), opened_code(tmp_path):
        pass
    with pytest.raises(UsageError, match="there is no"), opened_code(tmp_path / "code.zip"):
        pass
