"""A forked child: what it makes again, because threads, held locks and temporary folders are the parent's.

Only the thread that forks lives on in the child. A lock that another thread held stays locked there, and a
pool's threads are gone without the pool's knowing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import weakref
from pathlib import Path
from typing import Protocol

from .errors import DeviceError


class Renewed(Protocol):
    """What :meth:`after_fork` is called of, in the child, before anything else runs there."""

    def after_fork(self) -> None:
        """Make new locks and threads; it must be quick, and wait for nothing."""
        ...


# By identity: some of them compare by what they hold.
_renewed: weakref.WeakValueDictionary[int, Renewed] = weakref.WeakValueDictionary()


def renew_after_fork(thing: Renewed) -> None:
    """Have ``thing`` renewed in every child that is forked while it lives."""
    _renewed[id(thing)] = thing


def remove_with(owner: object, folder: Path) -> None:
    """Remove ``folder`` once ``owner`` is gone or this process ends; a forked child leaves it alone."""
    weakref.finalize(owner, _remove, os.getpid(), folder)


def never_end(thing: object) -> None:
    """Keep ``thing`` until this process is gone, also while the interpreter ends.

    For what waits at its end for threads that a forked child does not have, and would wait for ever: a
    session of ONNX Runtime with more than one thread.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def end_without_parents() -> None:
    """In a forked child: have the process end by itself, once Python has ended, with the exit code it has.

    ONNX Runtime since 1.29 has a thread from its import on, and at the end of a process it waits for it; in
    a child, where that thread is not, for ever, or it crashes. What the C library would call at the very end
    for libraries that were loaded before the fork is left out; its own streams are written.
    """
    library = ctypes.CDLL(None)
    # Called in the opposite order, with the exit code as their first argument. Only glibc has them.
    for name in ("_exit", "fcloseall"):
        with contextlib.suppress(AttributeError):
            library.on_exit(ctypes.cast(getattr(library, name), ctypes.c_void_p), None)


def not_after_fork(origin: str) -> DeviceError:
    """CUDA knows nothing of a child that is forked once it is in use."""
    return DeviceError(
        f"{origin} was opened on CUDA before this process was forked",
        expected="a session that is opened in the process that runs it: CUDA does not survive a fork",
        fix="open the GateSession in the child (gunicorn: in post_fork, or without --preload), or start"
        " children with 'spawn'",
    )


def _remove(process: int, folder: Path) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _in_child() -> None:
    for thing in list(_renewed.values()):
        thing.after_fork()


os.register_at_fork(after_in_child=_in_child)
