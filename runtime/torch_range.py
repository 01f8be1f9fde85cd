"""Which releases of PyTorch gatescope works with; the only such place besides pyproject's ``torch>=``.

What each release does is in ``tests/matrix/TABLE.md``, which ``make matrix`` writes.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from .errors import UnsupportedTorchError

OLDEST = (2, 9)
NEWEST_TESTED = (2, 15)


def refuse_old_torch() -> None:
    """Raise :class:`~gatescope.runtime.errors.UnsupportedTorchError` where the installed PyTorch is too old.

    It is not imported for that: one that is too old may lack what we import from it. Where none is installed
    nothing happens; whoever imports it says which extra brings it.
    """
    installed = _installed()
    if installed is None or installed[1] >= OLDEST:
        return
    raise UnsupportedTorchError(
        "the installed torch is too old for gatescope",
        received=f"torch {installed[0]}",
        expected=f"torch {_dotted(OLDEST)} or newer (tested up to {_dotted(NEWEST_TESTED)})",
        fix="install gatescope in an environment of its own: it reads checkpoints that older releases "
        "saved, and training may keep its torch. There: pip install "
        f"'gatescope[all,cpu]' 'torch>={_dotted(OLDEST)}'",
    )


def untested_torch() -> str | None:
    """A warning where the installed PyTorch is newer than any that was tried; None otherwise."""
    installed = _installed()
    if installed is None or installed[1] <= NEWEST_TESTED:
        return None
    return (
        f"torch {installed[0]} is newer than the newest that gatescope was tested with "
        f"({_dotted(NEWEST_TESTED)}); the file was compared with PyTorch like any other"
    )


def tested_releases() -> str:
    """The releases that were tried, for messages."""
    return f"torch {_dotted(OLDEST)} to {_dotted(NEWEST_TESTED)}"


def _installed() -> tuple[str, tuple[int, int]] | None:
    """The installed release as it is written and as numbers; None where none is known."""
    try:
        written = version("torch")
    except PackageNotFoundError:
        return None
    numbers = re.match(r"(\d+)\.(\d+)", written)
    return None if numbers is None else (written, (int(numbers[1]), int(numbers[2])))


def _dotted(release: tuple[int, int]) -> str:
    return f"{release[0]}.{release[1]}"
