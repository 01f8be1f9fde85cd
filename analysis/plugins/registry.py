"""The decorators by which a user's function becomes part of every analysis, and what they registered."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from ...runtime.errors import GatescopeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Gates = Mapping[str, NDArray[np.float32]]
    Statistic = Callable[[Gates], "float | Mapping[str, float]"]

FrameName = Literal["samples", "layers", "statistics"]

#: Modules made from the files of ``--plugin`` begin like this.
FILE_MODULE = "_gatescope_plugin_"

# A point divides the name from the key in a column's name.
_NAME = re.compile(r"[^\W_][\w -]{0,59}")
_NOTEBOOK = "__main__"
_TAKEN = frozenset({"sample_id", "vid"})

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Plugin:
    """A function that a user registered: ``name``, what it does, its module and where it is written.

    ``frame`` is what a figure asks for; None for a statistic.
    """

    name: str
    function: Callable[..., Any]
    frame: FrameName | None = None

    @property
    def what(self) -> str:
        """``statistic`` or ``figure``."""
        return "statistic" if self.frame is None else "figure"

    @property
    def slug(self) -> str:
        """The name as part of a file's name; different plug-ins of a kind have different ones."""
        return self.name.casefold().replace(" ", "_")

    @property
    def module(self) -> str:
        """The module it is written in."""
        return str(getattr(self.function, "__module__", "?"))

    @property
    def place(self) -> str:
        """Where it is written, for people."""
        code = getattr(self.function, "__code__", None)
        return self.module if code is None else f"{code.co_filename}, line {code.co_firstlineno}"

    @property
    def description(self) -> str:
        """The first paragraph of its docstring, on one line; empty without."""
        return " ".join((getattr(self.function, "__doc__", None) or "").strip().split("\n\n")[0].split())


_registered: dict[tuple[str, str], Plugin] = {}


def statistic(name: str) -> Callable[[Statistic], Statistic]:
    """Register a statistic: a function of one sample's gates.

    It is given a dict from kind (``attention``, ``ffn``) to a read-only float32 array (layers, L | 1, 1 | d)
    of that sample's valid clips, and returns a number, or a dict from text to numbers; NaN where there is
    none. The analysis calls it once a sample and shows mean, interval by video and every sample's value.
    ``name``: letters, digits, spaces, ``-`` and ``_``, at most 60. Raises
    :class:`~gatescope.runtime.errors.GatescopeError` for another name, or one that is taken.
    """
    _check_name("statistic", name)

    def register(function: Statistic) -> Statistic:
        return _register(Plugin(name, function))

    return register


def figure(name: str, frame: FrameName = "samples") -> Callable[[_F], _F]:
    """Register a figure: a function from a polars DataFrame to a matplotlib ``Figure``.

    What it is given:

    - ``samples``: one row a sample, layer and gate: ``sample_id, vid, layer, gate, clips, channels, count,
      mean, std, …`` (the columns of :data:`~gatescope.analysis.statistics.statistic.STATISTICS`).
    - ``layers``: one row a layer and gate, the same statistics over all samples.
    - ``statistics``: one row a sample: ``sample_id, vid``, and a column for every value of the user's own
      statistics, ``name`` or ``name.key``.

    Names are as in :func:`statistic`. Raises :class:`~gatescope.runtime.errors.GatescopeError` for another
    name, one that is taken, or another frame.
    """
    _check_name("figure", name)
    if frame not in get_args(FrameName):
        raise GatescopeError(
            f"the figure '{name}' asks for a frame that is not there",
            received=repr(frame),
            expected=f"one of {', '.join(get_args(FrameName))}",
        )

    def register(function: _F) -> _F:
        return _register(Plugin(name, function, frame))

    return register


def registered() -> tuple[Plugin, ...]:
    """Everything registered so far, in that order."""
    return tuple(_registered.values())


def forget_files() -> None:
    """Forget what files of ``--plugin`` registered; what modules and notebooks did, stays."""
    for key, plugin in list(_registered.items()):
        if plugin.module.startswith(FILE_MODULE):
            del _registered[key]
    for name in [name for name in sys.modules if name.startswith(FILE_MODULE)]:
        del sys.modules[name]


def _check_name(what: str, name: Any) -> None:
    # Callers are not all type-checked, and "@statistic" without a name gives the function itself.
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        raise GatescopeError(
            f"this cannot be the name of a {what}",
            received=repr(name),
            expected=f"letters, digits, spaces, - and _, at most 60, and not {' or '.join(sorted(_TAKEN))}",
            fix=f'@{what}("my {what}")',
        )


def _register(plugin: Plugin) -> Any:
    key = plugin.what, plugin.slug
    earlier = _registered.get(key)
    # A notebook's cell that runs again replaces what it registered.
    if earlier is not None and not plugin.module == earlier.module == _NOTEBOOK:
        raise GatescopeError(
            f"two {plugin.what}s have the name '{plugin.name}'",
            received=f"one at {earlier.place} and one at {plugin.place}",
            fix="give one of them another name",
        )
    _registered[key] = plugin
    return plugin.function
