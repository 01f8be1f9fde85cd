"""What is built, installed and imported far from the checkout, and what the README says to install."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
# What the sdist holds besides the package: tests read pages and run examples.
BESIDE = ("tests", "docs", "examples")
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
"""


def sources(copy: Path, *folders: str) -> Path:
    """A copy of the tree's files and of some of its folders: a build leaves things beside what it builds."""
    copy.mkdir()
    for file in ROOT.iterdir():
        if file.is_file() and file.name != ".git":  # a file in a worktree
            shutil.copy(file, copy)
    for folder in folders:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("built")
    copy = sources(folder / "copy", *FOLDERS.values(), *BESIDE, ".ci")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(copy)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip does it, without what it depends on."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def away(installed: Path, folder: Path, *arguments: str) -> str:
    """What Python prints in ``folder``, with the unpacked wheel before anything else that is installed."""
    # No .pth file is read, so that an editable installation of the checkout does not answer in its place.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    places = os.pathsep.join([str(installed), *libraries])
    environment = {**os.environ, "PYTHONPATH": places}
    command = [sys.executable, "-S", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert away(installed, tmp_path, "-m", "gatescope", "--version") == (
        f"gatescope {PROJECT['project']['version']}\n"
    )
    told = away(installed, tmp_path, "-m", "gatescope", "--help")
    assert "cannot be loaded" not in told
    assert all(f"\n  {name}" in told for name in PROJECT["project"]["entry-points"]["gatescope.commands"])
    script = PROJECT["project"]["scripts"]["gatescope"]
    module, _, function = script.partition(":")
    program = f"""
import gatescope
from gatescope import analysis, export, runtime
from {module} import {function}
from gatescope.analysis.report.html.page import page
assert all(getattr(room, name) is not None for room in (gatescope, analysis, runtime) for name in room.__all__
           if "legacy" not in name and "export" not in name and "checkpoint" not in name)
print(gatescope.__file__, runtime.__file__)
"""
    places = away(installed, tmp_path, "-c", program).split()
    assert all(Path(place).is_relative_to(installed) for place in places)
    assert list(tmp_path.iterdir()) == []


def test_a_checkout_does_not_hide_what_is_installed(installed: Path) -> None:
    told = away(installed, ROOT, "-c", "import gatescope.runtime as r; print(r.__file__)")
    assert Path(told.strip()).is_relative_to(installed)


def test_the_wheel_holds_every_file_of_the_rooms(installed: Path) -> None:
    there = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    wanted = {
        str(Path(*package.split(".")) / path.relative_to(ROOT / folder))
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in there if ".dist-info" not in path} == wanted
    assert {"gatescope/py.typed", "gatescope/analysis/report/html/report.css"} <= wanted


def test_the_sdist_can_be_tested(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tests = {
        str(path.relative_to(ROOT))
        for folder in BESIDE
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files = {"LICENSE", "NOTICE", "CITATION.cff", "Makefile", "constraints.txt", ".ci/run"}
    assert tests | files | {"CHANGELOG.md", "README.md", "README.ko.md"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_citation_is_of_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    wanted = ("version", "license")
    assert {f"{name}: {PROJECT['project'][name]}" for name in wanted} <= set(lines)


AUTHOR = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")


def install_lines(readme: str = "README.md") -> list[str]:
    chapter = (ROOT / readme).read_text(encoding="utf-8").split("\n## ")[1]
    return [line.strip() for line in re.findall(r"^    (pip install .*)$", chapter, re.MULTILINE)]


def test_all_pages_on_installing_have_the_same_lines() -> None:
    wanted = [line.partition("#")[0].strip() for line in install_lines()]
    assert [line.partition("#")[0].strip() for line in install_lines("README.ko.md")] == wanted
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert wanted
    assert [line for line in wanted if line not in page] == []


@pytest.mark.parametrize("line", install_lines())
def test_the_install_lines_of_the_readme(line: str, tmp_path: Path) -> None:
    what = shlex.split(line.partition("#")[0])[2:]
    if "--index-url" in what:  # another index has it: whether it is there, only a network can tell
        assert what == ["torch", "--index-url", "https://download.pytorch.org/whl/cpu"]
        return
    (wanted,) = what
    place, extras = re.fullmatch(r"(\.|gatescope)\[([\w,]+)\](?: @ git\+URL)?", wanted).groups()
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    copy = sources(tmp_path / "copy", *FOLDERS.values())
    if place == "gatescope":
        for step in (["init", "-q"], ["add", "-A"], [*AUTHOR, "commit", "-qm", "all of it"]):
            subprocess.run(["git", *step], cwd=copy, check=True)
        # pip takes no address without a host after "@"; this is the same to it.
        wanted = f"git+{copy.as_uri()}#egg=gatescope[{extras}]"
    options = ("--dry-run", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, wanted]
    folder = copy if place == "." else tmp_path
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "does not provide the extra" not in done.stdout + done.stderr


def test_every_extra_but_those_of_developers_is_in_the_readme() -> None:
    told = {extra for line in install_lines() for extra in re.findall(r"\w+", line.partition("[")[2])}
    assert {"all", "cpu", "gpu"} <= told
