"""Finds users' own statistics and figures: in files they name, and in installed packages."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime import plugins as entry_points
from ...runtime.errors import GatescopeError, UsageError
from ..report.context import Context
from .registry import FILE_MODULE, Plugin, forget_files, registered

#: The entry point group by which a package names its modules.
GROUP = "gatescope.analysis"


@dataclass(frozen=True)
class Plugins:
    """What is registered for one analysis; ``broken``: packages that could not be loaded, and why."""

    statistics: tuple[Plugin, ...] = ()
    figures: tuple[Plugin, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()


def plugins_of(context: Context) -> Plugins:
    """What is registered for the analysis of ``context``; raises what :func:`load_plugins` raises."""
    return load_plugins(context.options.plugins)


def load_plugins(files: Sequence[Path] = ()) -> Plugins:
    """Import ``files`` and installed packages, and give what they and the running program registered.

    What files of an earlier call registered is forgotten. A package that cannot be loaded is named in the
    result, since it may not be the user's own. Raises
    :class:`~gatescope.runtime.errors.UsageError` for a file that is not there, and
    :class:`~gatescope.runtime.errors.GatescopeError` for one that fails when it is imported or registers
    nothing.
    """
    forget_files()
    broken: list[tuple[str, str]] = []
    for name in entry_points.names(GROUP):
        try:
            entry_points.load(GROUP, name)
        except (Exception, SystemExit) as error:
            broken.append((name, _told(error)))
    for path in dict.fromkeys(path.resolve() for path in files):
        _import(path)
    found = registered()
    return Plugins(
        tuple(plugin for plugin in found if plugin.what == "statistic"),
        tuple(plugin for plugin in found if plugin.what == "figure"),
        tuple(broken),
    )


def _import(path: Path) -> None:
    if not path.is_file():
        raise UsageError(
            f"there is no plug-in {path}", fix="check the path given to --plugin; it is a file of Python code"
        )
    before = registered()
    number = sum(name.startswith(FILE_MODULE) for name in sys.modules)
    name = f"{FILE_MODULE}{number}_{path.stem}"
    # Whatever its name ends with, it is Python.
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # As when a script is run: what lies beside it can be imported.
    sys.path.insert(0, str(path.parent))
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        forget_files()
        raise GatescopeError(
            f"the plug-in {path} cannot be loaded", received=_told(error), fix="fix it, or leave it out"
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    if registered() == before:
        raise GatescopeError(
            f"the plug-in {path} registers nothing",
            expected="a function under @statistic(name) or @figure(name) of gatescope.analysis",
        )


def _told(error: BaseException) -> str:
    if isinstance(error, GatescopeError):
        return "; ".join(str(error).splitlines())
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
