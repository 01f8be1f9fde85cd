"""Entry points: how a room asks for something above it, and how users' packages add to gatescope.

Two groups. ``gatescope.commands`` maps a command's name to a :class:`~gatescope.runtime.cli.command.Command`;
``gatescope.plugins`` maps a name to any object. Nothing is imported until it is asked for by name.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import GatescopeError
from .extras import missing_extra

COMMANDS = "gatescope.commands"
PLUGINS = "gatescope.plugins"


@cache
def names(group: str) -> tuple[str, ...]:
    """The names registered in ``group``, in the order they were declared."""
    return tuple(dict.fromkeys(point.name for point in entry_points(group=group)))


def load(group: str, name: str) -> Any:
    """The object registered as ``name`` in ``group``.

    Raises :class:`GatescopeError` where nothing has that name or its module cannot be imported, and
    :class:`~gatescope.runtime.errors.MissingExtraError` where it needs an extra that is not installed.
    """
    point = _find(group, name)
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise missing_extra(error) or _broken(point, error) from error
    except (ImportError, AttributeError) as error:
        raise _broken(point, error) from error


def _find(group: str, name: str) -> EntryPoint:
    for point in entry_points(group=group, name=name):
        return point
    raise GatescopeError(
        f"nothing is registered as '{name}'",
        received=f"entry points of {group}: {', '.join(names(group)) or 'none'}",
        fix="reinstall gatescope, or the package that should provide it",
    )


def _broken(point: EntryPoint, error: Exception) -> GatescopeError:
    return GatescopeError(
        f"'{point.name}' could not be loaded from {point.value}",
        received=f"{type(error).__name__}: {error}",
        fix="reinstall the package that provides it",
    )
