"""Progress on stderr: a bar on a terminal, now and then a plain line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tqdm import tqdm

# Seconds between two lines where stderr is not a terminal.
_LINE_EVERY = 10.0


@contextmanager
def progress(
    what: str, total: int, *, done: int = 0, note: Callable[[], str] | None = None
) -> Generator[Callable[[int], None]]:
    """Show how many of ``total`` samples are through ``what``; yields the function to tell how many more are.

    ``done`` samples were through before (a resumed run) and do not count into samples per second. ``note`` is
    asked for a word to stand behind the numbers.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, initial=done, desc=what, unit=" samples", file=sys.stderr) as bar:

            def update(more: int) -> None:
                if note is not None:
                    bar.set_postfix_str(note(), refresh=False)
                bar.update(more)

            yield update
    else:
        yield _lines(what, total, done, note)


def _lines(what: str, total: int, done: int, note: Callable[[], str] | None) -> Callable[[int], None]:
    began = told = time.monotonic()
    count = done

    def advance(more: int) -> None:
        nonlocal count, told
        count += more
        now = time.monotonic()
        if now - told >= _LINE_EVERY:
            told = now
            rate = (count - done) / max(now - began, 1e-9)
            line = f"{what}: {count} of {total} samples, {rate:.1f} samples/s"
            line += f", {note()}" if note is not None else ""
            print(line, file=sys.stderr, flush=True)

    return advance
