"""Under which names a folder of code answers: those that its own modules import each other by.

Training zips the inside of its package, so that ``code/model.py`` imports ``qd_detr.matcher`` from what is
now ``code/matcher.py``. A folder that is called as it is imported is taken first; else
the one that holds what is imported from that name. One folder has one name.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ....runtime.errors import UsageError
from .survey import Import, SourceFile, imports_of

# The package each comes with, where that has another name than the module.
PIP_NAMES = {
    "cv2": "opencv-python",
    "mamba_ssm": "mamba-ssm",
    "PIL": "pillow",
    "pytorch_lightning": "pytorch-lightning",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Never a name for a folder of the code that is not called so.
_LIBRARIES = {
    *PIP_NAMES,
    *(
        "clip",
        "easydict",
        "einops",
        "h5py",
        "matplotlib",
        "nltk",
        "pandas",
        "scipy",
        "seaborn",
        "tensorboard",
    ),
    *(
        "tensorboardX",
        "tensorflow",
        "terminaltables",
        "timm",
        "torchaudio",
        "torchtext",
        "torchvision",
        "tqdm",
    ),
    *("transformers", "wandb"),
}
_NEVER = sys.stdlib_module_names | {"torch", "numpy", "gatescope"}
# What code is called that nothing asks for by a name of its own.
_NAMELESS = "trained_code"


@dataclass(frozen=True)
class Mounts:
    """Where top-level modules lie: the name each is imported by → its folder or file below the code's.

    ``lacking``: dotted names that the code imports and does not hold, and cannot go on without; those of
    installed packages among them.
    """

    places: dict[str, PurePosixPath]
    lacking: tuple[str, ...]

    def name_of(self, place: PurePosixPath) -> str | None:
        """The dotted name of the module at ``place``; None where it has none."""
        for name, folder in sorted(self.places.items(), key=lambda one: -len(one[1].parts)):
            if place == folder:
                return name
            if place.is_relative_to(folder) and folder.suffix != ".py":
                inner = place.relative_to(folder).with_suffix("").parts
                inner = inner[:-1] if inner[-1] == "__init__" else inner
                return ".".join((name, *inner))
        return None


def plan_mounts(sources: Sequence[SourceFile], root_name: str, asked: str | None = None) -> Mounts:
    """The names for the code in ``sources``.

    ``root_name`` is what the whole folder is called; ``asked`` a module the user names.

    Raises :class:`~gatescope.runtime.errors.UsageError` where two folders could answer to one name.
    """
    imports = [one for source in sources for one in imports_of(source.tree)]
    if asked is not None:
        imports.append(Import(asked, 0, (), False))
    tree = _Tree({source.place for source in sources}, root_name)
    wanted = _wanted(one for one in imports if one.level == 0)
    places = {top: place for top, names in wanted.items() if (place := tree.called(top, names)) is not None}
    for top, names in sorted(wanted.items(), key=lambda one: (-tree.best(one[1])[0], one[0])):
        if top not in places and (place := tree.holding(top, names, set(places.values()))) is not None:
            places[top] = place
    _name_the_rest(places, sources, tree)
    return Mounts(places, _lacking(places, sources, tree))


@dataclass(frozen=True)
class _Names:
    """What is imported from one top-level name: modules inside it, and names that may be modules."""

    modules: frozenset[str]
    perhaps: frozenset[str]


def _wanted(imports: Iterable[Import]) -> dict[str, _Names]:
    found: dict[str, _Names] = {}
    for one in imports:
        if not one.name or one.top in _NEVER:
            continue
        inner = one.name.split(".")[1:2]
        before = found.get(one.top, _Names(frozenset(), frozenset()))
        found[one.top] = _Names(
            before.modules | frozenset(inner), before.perhaps | frozenset(() if inner else one.members)
        )
    return found


class _Tree:
    """The places of the modules, as names ask for them."""

    def __init__(self, files: set[PurePosixPath], root_name: str) -> None:
        self.files = files
        folders = {folder for file in files for folder in file.parents}
        self.folders = sorted(folders, key=lambda one: (len(one.parts), str(one)))
        self._root_name = root_name

    def has(self, place: PurePosixPath) -> bool:
        """Whether ``place``, without a suffix, is a module or a package."""
        return place.with_name(f"{place.name}.py") in self.files or place in self.folders

    def covered(self, folder: PurePosixPath, names: Iterable[str]) -> int:
        """How many of ``names`` are modules in ``folder``."""
        return sum(self.has(folder / name) for name in names)

    def best(self, names: _Names) -> tuple[int, PurePosixPath]:
        """The folder that holds most of what is asked for, and how much that is."""
        counts = [(self.covered(folder, names.modules), folder) for folder in self.folders]
        return max(counts, key=lambda one: (one[0], -len(one[1].parts)), default=(0, PurePosixPath()))

    def called(self, top: str, names: _Names) -> PurePosixPath | None:
        """The folder or file that is called ``top`` itself."""
        every = names.modules | names.perhaps
        named = [one for one in self.folders if (one.name or self._root_name) == top]
        counts = sorted((-self.covered(one, every), len(one.parts), one) for one in named)
        if counts and (counts[0][0] or not _installed(top)):
            same = [one for count, depth, one in counts if (count, depth) == counts[0][:2]]
            if len(same) > 1:
                raise UsageError(
                    f"two folders of the code are called {top}",
                    received=", ".join(map(str, same)),
                    fix="give --code the folder that holds the right one",
                )
            return same[0]
        files = [one for one in self.files if one.name == f"{top}.py"] if not names.modules else []
        return min(files, key=lambda one: (len(one.parts), str(one)), default=None)

    def holding(self, top: str, names: _Names, taken: set[PurePosixPath]) -> PurePosixPath | None:
        """The folder that holds what is imported from ``top``, whatever it is called."""
        count, folder = self.best(names)
        if top in _LIBRARIES or not count or folder in taken:
            return None
        # An installed package of that name is the one meant, unless all of it is here too.
        enough = count == len(names.modules) > 1 if _installed(top) else True
        return folder if enough else None


def _name_the_rest(places: dict[str, PurePosixPath], sources: Sequence[SourceFile], tree: _Tree) -> None:
    """Give a name to modules that only import each other by dots, or nothing at all."""
    for source in sources:
        if Mounts(places, ()).name_of(source.place) is not None:
            continue
        package, stem = source.place.parent, source.place.stem
        dots = max((one.level for one in imports_of(source.tree)), default=0)
        if not dots and package / "__init__.py" not in tree.files and _usable(stem, places):
            places[stem] = source.place
            continue
        for _ in range(dots - 1):
            package = package.parent
        while package.parts and package.parent / "__init__.py" in tree.files:
            package = package.parent
        name = package.name if _usable(package.name, places) else _NAMELESS
        number = 2
        while name in places:
            name, number = f"{_NAMELESS}_{number}", number + 1
        places[name] = package


def _usable(name: str, places: dict[str, PurePosixPath]) -> bool:
    """Whether a module may be called ``name``."""
    return name.isidentifier() and name not in {*_NEVER, *places} and not _installed(name)


def _lacking(places: dict[str, PurePosixPath], sources: Sequence[SourceFile], tree: _Tree) -> tuple[str, ...]:
    mounts = Mounts(places, ())
    found: set[str] = set()
    for source in sources:
        own = mounts.name_of(source.place) or ""
        package = own.split(".") if source.place.name == "__init__.py" else own.split(".")[:-1]
        for one in imports_of(source.tree):
            if one.guarded or (one.level == 0 and one.top in _NEVER):
                continue
            base = package[: len(package) - one.level + 1] if one.level else []
            name = ".".join([*base, one.name] if one.name else base)
            top, _, inner = name.partition(".")
            if top not in places:
                found.add(top)
            elif inner and not tree.has(places[top] / PurePosixPath(*inner.split("."))):
                found.add(name)
    return tuple(sorted(found - {""}))


def _installed(top: str) -> bool:
    """Whether Python itself finds ``top``, other than in the folder it was started in."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    origin = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    return origin is None or Path(origin).parent not in (Path.cwd(), Path.cwd() / top)
