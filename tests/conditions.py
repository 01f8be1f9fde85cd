"""The suite under conditions that other machines have: ``python -m tests.conditions [NAME …] [-- PYTEST …]``.

- ``avx2``: the kernels of a CPU without AVX-512; the C locale.
- ``plain``: the kernels of a CPU without AVX2, one thread, and the modules in random order.
- ``one-core``: a single core.
- ``busy``: next to a busy loop on every core.
- ``user``: a user who is not root and cannot write to the checkout, with a umask that shares nothing. Needs
  root, to become another user.

Without names, all of them, one after the other. What follows ``--`` goes to pytest. Prints counts, time and
failures of each, and exits with 1 where one failed. ONNX Runtime chooses its kernels by the CPU alone, so
these conditions do not change them.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534
#: Two workers, as ``make test`` has them.
WORKERS = ["-n", "2", "--dist", "worksteal"]


@dataclass(frozen=True)
class Condition:
    """``prefix``: what the command is run by. ``workers``: pytest's own options for them."""

    environment: dict[str, str] = field(default_factory=dict[str, str])
    prefix: Sequence[str] = ()
    workers: Sequence[str] = tuple(WORKERS)
    random_order: bool = False
    busy: bool = False
    another_user: bool = False


CONDITIONS = {
    "avx2": Condition(
        {
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "LC_ALL": "C",
        }
    ),
    "plain": Condition(
        {
            "MKL_CBWR": "COMPATIBLE",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OMP_NUM_THREADS": "1",
            "TZ": "Pacific/Chatham",
        },
        random_order=True,
    ),
    "one-core": Condition(prefix=("taskset", "-c", "0"), workers=()),
    "busy": Condition(busy=True),
    "user": Condition(prefix=("unshare", "--mount", "sh", "-c"), another_user=True),
}


def why_not(condition: Condition) -> str:
    """Why it cannot be tried here; empty where it can."""
    if condition.prefix and shutil.which(condition.prefix[0]) is None:
        return f"{condition.prefix[0]} is not installed"
    if condition.another_user and os.geteuid() != 0:
        return "only root may become another user, and the other conditions were not tried as root"
    return ""


@contextmanager
def busy_cores() -> Iterator[None]:
    """A loop on every core this process may use."""
    with ExitStack() as stack:
        for core in sorted(os.sched_getaffinity(0)):
            code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code]))
            stack.callback(process.kill)
        yield


@contextmanager
def as_another_user() -> Iterator[tuple[str, Path]]:
    """A shell command that runs what it is given as ``NOBODY``, and a home for that user.

    The interpreter may lie below root's home, which others may not enter: for this command alone, nothing but
    the interpreter is in that home, and it is open.
    """
    with tempfile.TemporaryDirectory(prefix="gatescope-user-") as folder:
        home, shown = Path(folder, "home"), Path(folder, "shown")
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        Path(folder).chmod(0o755)
        python = Path(sys.base_prefix)
        closed = [one for one in reversed(python.parents) if not one.stat().st_mode & stat.S_IXOTH]
        steps = ["set -e"]
        if closed:
            place = shown / python.relative_to(closed[0])
            place.mkdir(parents=True)
            steps += [f"mount --bind '{python}' '{place}'", f"mount --rbind '{shown}' '{closed[0]}'"]
        steps += ["umask 077", f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "$@"']
        yield "\n".join(steps), home


def run(name: str, pytest_arguments: Sequence[str]) -> bool:
    """Try one condition; whether the suite passed."""
    condition = CONDITIONS[name]
    environment = {**os.environ, **condition.environment}
    command = [sys.executable, "-m", "pytest", *condition.workers, "-rfEs", "--tb=short", *pytest_arguments]
    with ExitStack() as stack:
        prefix = list(condition.prefix)
        if condition.random_order:
            environment["GATESCOPE_TEST_ORDER"] = seed = str(random.randrange(2**32))
            print(f"{name}: modules in the order of GATESCOPE_TEST_ORDER={seed}", flush=True)
        if condition.busy:
            stack.enter_context(busy_cores())
        if condition.another_user:
            shell, home = stack.enter_context(as_another_user())
            prefix += [shell, "sh"]
            environment |= {"HOME": str(home), "TMPDIR": str(home)}
        began = time.monotonic()
        done = subprocess.run([*prefix, *command], cwd=ROOT, env=environment, check=False)
    seconds = time.monotonic() - began
    print(f"{name}: {'passed' if done.returncode == 0 else 'FAILED'} in {seconds:.0f} s\n", flush=True)
    return done.returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Exit code."""
    own, _, rest = " ".join(["", *arguments, ""]).partition(" -- ")
    parser = argparse.ArgumentParser(prog="python -m tests.conditions", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONDITIONS)}")
    names = parser.parse_args(own.split()).names or list(CONDITIONS)
    if unknown := [name for name in names if name not in CONDITIONS]:
        parser.error(f"no such condition: {', '.join(unknown)}; there are {', '.join(CONDITIONS)}")
    results: dict[str, str] = {}
    for name in names:
        reason = why_not(CONDITIONS[name])
        results[name] = (
            f"not tried: {reason}" if reason else "passed" if run(name, rest.split()) else "FAILED"
        )
    print("\n".join(f"{name}: {result}" for name, result in results.items()))
    return int("FAILED" in results.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
