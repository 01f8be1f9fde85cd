"""Golden cases exported once for the whole suite, because capturing a graph takes seconds."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from tests.golden.case import Case


def settle() -> None:
    """Give each worker process a core of its own: the numeric libraries take their threads from that.

    They count cores once, when they are loaded: so this runs first, and nothing before it may load torch or
    numpy. Two threads that wait for each other on one core are slower than one by far.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        assert not {"numpy", "torch"} & set(sys.modules), "loaded too early: they have counted all cores"
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


settle()

# Examples are neither timed, as a busy machine is slow, nor kept: the checkout may not be writable.
settings.register_profile("anywhere", deadline=None, database=None)
settings.load_profile("anywhere")


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With ``GATESCOPE_TEST_ORDER=NUMBER``, modules come in the random order that the number gives.

    Tests of one module stay as they are; every worker process gets the same order.
    """
    if seed := os.environ.get("GATESCOPE_TEST_ORDER"):
        modules = sorted({item.path for item in items})
        random.Random(int(seed)).shuffle(modules)
        items.sort(key=lambda item: modules.index(item.path))


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """New files are for all to read, whoever runs the tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all worker processes of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def checkpoint(shared_folder: Path) -> Callable[[str], Path]:
    """The checkpoint of a golden case, written as a training run writes it."""

    from tests.golden.case import load_case

    def write(name: str) -> Path:
        path = shared_folder / f"{name}.ckpt"
        with FileLock(f"{path}.lock"):
            return path if path.exists() else load_case(name).save_checkpoint(path)

    return write


@pytest.fixture(scope="session")
def exported(shared_folder: Path, checkpoint: Callable[[str], Path]) -> Callable[..., Path]:
    """The exported file of a golden case in either batching and any format."""
    from gatescope.export import Choices, export_checkpoint
    from tests.golden.case import load_case

    def export(name: str, batching: str = "exact", suffix: str = ".onnx") -> Path:
        path = shared_folder / f"{name}-{batching}{suffix}"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                choices = Choices(batching=batching, family=load_case(name).family)
                export_checkpoint(checkpoint(name), path, choices)
        return path

    return export


@pytest.fixture(scope="session")
def dataset(shared_folder: Path) -> tuple[Case, Path]:
    """The golden dataset on disk: the case and its annotation file, features beside it."""
    from tests.golden.case import load_case

    case = load_case("dataset_clipwise")
    root = shared_folder / "dataset"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            case.save_dataset(root)
    return case, root / "val.jsonl"
