"""The house: which folders are packages, who may import whom, and what an import loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import pytest

from gatescope.runtime.extras import EXTRA_OF_MODULE, missing_extra

ROOT = Path(__file__).parent.parent
ROOMS = ("runtime", "export", "analysis")
# What ``import gatescope`` itself gives. The folder has another name than the package, so that an installed
# gatescope is not hidden by a checkout that Python happens to be started in.
FRONT = "front"
MAY_IMPORT = {"runtime": {"runtime"}, "export": {"export", "runtime"}, "analysis": {"analysis", "runtime"}}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Which room a library belongs to; numpy, polars and the standard library may be anywhere.
LIBRARY_ROOM = {
    "torch": "export",
    "onnxscript": "export",
    "onnx_ir": "export",
    "matplotlib": "analysis",
    "sklearn": "analysis",
    "onnxruntime": "runtime",
    "prometheus_client": "runtime",
}
# Files of torch's own formats can be run by torch alone; these modules are imported when one is opened.
RUN_WITH_TORCH = {f"runtime/session/backends/{name}.py" for name in ("torch_device", "torchscript", "pt2")}


def modules() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, dotted name) of every import in the file, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
        elif isinstance(node, ast.Import):
            found += [(0, name.name) for name in node.names]
    return found


def test_every_folder_with_code_is_a_listed_package() -> None:
    there = {f"gatescope.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in modules()}
    assert there | {"gatescope"} == set(PROJECT["tool"]["setuptools"]["packages"])
    places = {"gatescope": FRONT, **{f"gatescope.{room}": room for room in ROOMS}}
    assert PROJECT["tool"]["setuptools"]["package-dir"] == places


def test_every_package_has_an_init_and_the_whole_is_marked_as_typed() -> None:
    assert [str(p.parent) for p in modules() if not (p.parent / "__init__.py").exists()] == []
    assert (ROOT / FRONT / "py.typed").exists()


def test_text_files_are_written_and_read_alike_in_every_locale() -> None:
    """Without an encoding it is the locale's: a Korean id or a dash fails, or becomes something else."""
    found = []
    for path in [*modules(), *sorted((ROOT / "tests").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of_text = node.func.attr in ("read_text", "write_text")
                if of_text and "encoding" not in {keyword.arg for keyword in node.keywords}:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    here = path.relative_to(ROOT).parts
    room = here[0]
    for level, name in imports(path):
        if level:
            parts = [*here[: len(here) - level], *([p for p in name.split(".") if p])]
            assert parts[0] in MAY_IMPORT[room], f"{path}: {'.' * level}{name}"
        else:
            top = name.split(".")[0]
            assert top != "gatescope", f"{path}: inside the rooms imports are relative"
            allowed = top == "torch" and "/".join(here) in RUN_WITH_TORCH
            assert allowed or LIBRARY_ROOM.get(top, room) == room, (
                f"{path}: {top} belongs to {LIBRARY_ROOM[top]}"
            )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_docstring_points_to_is_there(path: Path) -> None:
    """A name that was moved or renamed stays behind in text that no checker reads."""
    for name in re.findall(r":\w+:`~?(gatescope\.[\w.]+)`", path.read_text(encoding="utf-8")):
        try:
            resolve_name(name)
        except (ImportError, AttributeError):
            pytest.fail(f"there is no {name}")


HEAVY = ("torch", "onnxruntime", "polars", "matplotlib", "sklearn", "onnx", "numpy")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import gatescope; dir(gatescope), gatescope.__version__, gatescope.runtime", HEAVY),
        ("import gatescope.runtime", HEAVY),
        ("import gatescope.export", HEAVY),
        ("import gatescope.analysis", HEAVY),
        ("from gatescope.runtime import GateSession, open_run, prepare, batches", ("torch", "matplotlib")),
        ("from gatescope.analysis import GateAnalyzer", ("torch", "onnxruntime")),
        ("from gatescope.runtime.cli.main import main; main(['--help'])", HEAVY),
        ("from gatescope.runtime.cli.main import main; main(['--version'])", HEAVY),
    ],
)
def test_what_an_import_loads(statement: str, absent: tuple[str, ...]) -> None:
    program = f"{statement}\nimport sys\nprint(*[m for m in {absent!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


def test_direct_dependencies_are_pinned() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    names = {one.split(">")[0].split("[")[0] for one in wanted} - {"gatescope"}
    pinned = {
        line.split("==")[0]
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    assert names == pinned


def test_whatever_an_extra_brings_is_named_with_it_where_it_is_missing() -> None:
    module_of = {
        "scikit-learn": "sklearn",
        "markdown-it-py": "markdown_it",
        "pillow": "PIL",
        "onnx-ir": "onnx_ir",
        "onnxruntime-gpu": "onnxruntime",
    }
    extras = PROJECT["project"]["optional-dependencies"]
    for extra in ("export", "analysis", "monitor", "cpu", "gpu"):
        for wanted in extras[extra]:
            name = wanted.split(">")[0].split("[")[0]
            module = module_of.get(name, name)
            assert EXTRA_OF_MODULE.get(module) == ("cpu" if extra == "gpu" else extra)
            missing = missing_extra(ModuleNotFoundError(name=f"{module}.part"))
            assert missing is not None and f"gatescope[{extra}]" in str(missing)
    needed = {name.split(">")[0].replace("-", "_") for name in PROJECT["project"]["dependencies"]}
    imported = {name.split(".")[0] for path in modules() for level, name in imports(path) if not level}
    foreign = imported - set(sys.stdlib_module_names) - needed - set(EXTRA_OF_MODULE)
    assert foreign <= {"google"}  # protobuf, which onnx brings


def test_public_names_can_be_loaded() -> None:
    import gatescope

    for place in (gatescope, gatescope.runtime, gatescope.export, gatescope.analysis):
        assert all(getattr(place, name) is not None for name in place.__all__)
        assert set(dir(place)) >= set(place.__all__)
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            place.nothing  # noqa: B018


@pytest.mark.parametrize("place", [FRONT, *ROOMS])
def test_type_checkers_see_the_public_names(place: str) -> None:
    """Names are loaded when they are asked for; a type checker and an editor read the imports alone."""
    path = ROOT / place / "__init__.py"
    told = {
        name.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    } | {"__version__"}
    public = import_module("gatescope" + ("" if place == FRONT else f".{place}"))
    assert set(public.__all__) <= told


def test_the_front_door_leads_to_public_names_of_rooms() -> None:
    import gatescope

    rooms = {getattr(gatescope, room) for room in ROOMS}
    for name in set(gatescope.__all__) - {"__version__", *ROOMS}:
        assert any(name in room.__all__ and getattr(room, name) is getattr(gatescope, name) for room in rooms)
    assert gatescope.__version__ == PROJECT["project"]["version"]
    assert "gatescope.runtime" in (gatescope.__doc__ or "")
