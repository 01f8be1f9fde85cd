"""Imports of the code in its own process: its modules where they lie, and stand-ins for what is not there.

A matcher or a metric that only the loss needs imports packages that building and running the model never
call. Such a package may be absent: a stand-in takes its place that can be imported, subclassed and named
in annotations, and raises as soon as it is called.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_IMPORTLIB = Path(importlib.util.__file__).parent
# It is part of PyTorch, and fails without a package of its own.
_NEEDS = {"torch.utils.tensorboard": "tensorboard"}


class MissingModuleError(Exception):
    """Something of a module that is not there was used; ``name`` is the module, dotted."""

    def __init__(self, name: str, used: str) -> None:
        super().__init__(f"{used} was called, and {name} is not there")
        self.name = name


class MountFinder(MetaPathFinder):
    """Finds the top-level modules of the code: a folder or a file each, ahead of installed packages."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = places

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module ``fullname``, where it is one of the code's."""
        place = self._places.get(fullname)
        if place is None:
            return None
        if place.is_file():
            return importlib.util.spec_from_file_location(fullname, place)
        first = place / "__init__.py"
        if first.is_file():
            return importlib.util.spec_from_file_location(
                fullname, first, submodule_search_locations=[str(place)]
            )
        spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(place)]
        return spec


class StandInFinder(MetaPathFinder):
    """Finds a stand-in for what the code imports and nobody else has.

    - ``lacking``: the modules, dotted, with all that is inside them. ``roots``: where the code lies; imports
      of others are left to fail.
    - ``made``: the names of the stand-ins that were imported.
    """

    def __init__(self, lacking: Collection[str], roots: Collection[Path]) -> None:
        self._lacking = frozenset(lacking)
        self._roots = tuple(str(root) for root in roots)
        self.made: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A stand-in for ``fullname``, where the code lacks it and asks for it itself."""
        parts = fullname.split(".")
        fronts = {".".join(parts[: i + 1]) for i in range(len(parts))}
        inside = isinstance(sys.modules.get(".".join(parts[:-1])), _StandIn)
        if inside or (fronts & self._lacking and self._asked_by_the_code()):
            return self.stand_in(fullname)
        return None

    def stand_in(self, fullname: str) -> importlib.machinery.ModuleSpec:
        """The spec of a stand-in for ``fullname``."""
        self.made.add(fullname)
        return importlib.machinery.ModuleSpec(fullname, _StandInLoader(), is_package=True)

    def forget(self) -> None:
        """Take the stand-ins out of what Python has imported, so that libraries do not meet them."""
        for name in self.made:
            sys.modules.pop(name, None)

    def _asked_by_the_code(self) -> bool:
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        while frame is not None:
            file = frame.f_code.co_filename
            if (
                not file.startswith("<frozen importlib")
                and Path(file).parent != _IMPORTLIB
                and file != __file__
            ):
                return file.startswith(self._roots)
            frame = frame.f_back
        return False


class PartFinder(MetaPathFinder):
    """Finds a stand-in for parts of PyTorch that need a package which is not installed."""

    def __init__(self, stand_ins: StandInFinder) -> None:
        self._stand_ins = stand_ins

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A stand-in for ``fullname``, where its package is missing."""
        needs = _NEEDS.get(fullname)
        if needs is None or importlib.util.find_spec(needs) is not None:
            return None
        return self._stand_ins.stand_in(fullname)


class _StandInLoader(Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name, (), {"_of": self.__name__})


class _Absent(type):
    """A class that stands for anything of a missing module: it raises when it is called."""

    _of: str

    def __call__(cls, *_args: Any, **_options: Any) -> Any:
        missing = _NEEDS.get(cls._of, cls._of)
        raise MissingModuleError(missing, f"{cls._of}.{cls.__name__}")

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name, (), {"_of": cls._of})
