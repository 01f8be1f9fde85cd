"""Progress on stderr: a bar on a terminal or in a notebook, now and then a plain line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

# Seconds between two lines where stderr is not a terminal.
LINE_EVERY_SECONDS = 10.0


@contextmanager
def progress(
    what: str, total: int, *, done: int = 0, note: Callable[[], str] | None = None
) -> Generator[Callable[[int], None]]:
    """Show how many of ``total`` samples are through ``what``; yields the function to tell how many more are.

    ``done`` samples were through before (a resumed run) and do not count into samples per second. ``note`` is
    asked for a word to stand behind the numbers.
    """
    count = done
    with _shown(what, "samples", total, done, note) as show:

        def advance(more: int) -> None:
            nonlocal count
            count += more
            show(count, total)

        yield advance


@contextmanager
def steps_progress(what: str) -> Generator[Callable[[int, int], None]]:
    """The same for work whose number of steps is known better and better as it goes on.

    Yields the function to tell how many steps are done, and how many there are as far as is known.
    """
    with _shown(what, "steps", 0, 0, None) as show:
        yield show


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


@contextmanager
def _shown(
    what: str, unit: str, total: int, done: int, note: Callable[[], str] | None
) -> Generator[Callable[[int, int], None]]:
    if sys.stderr.isatty() or in_notebook():
        with tqdm(total=total, initial=done, desc=what, unit=f" {unit}", file=sys.stderr) as bar:

            def update(count: int, of: int) -> None:
                if note is not None:
                    bar.set_postfix_str(note(), refresh=False)
                bar.total = of
                bar.update(count - bar.n)

            yield update
    else:
        yield _lines(what, unit, done, note)


def _lines(what: str, unit: str, done: int, note: Callable[[], str] | None) -> Callable[[int, int], None]:
    began = told = time.monotonic()

    def show(count: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= LINE_EVERY_SECONDS:
            told = now
            rate = (count - done) / max(now - began, 1e-9)
            line = f"{what}: {count} of {total} {unit}, {rate:.1f} {unit}/s"
            line += f", {note()}" if note is not None else ""
            print(line, file=sys.stderr, flush=True)

    return show
