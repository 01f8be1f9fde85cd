"""The code of a training run, ready to be run: unpacked where it is an archive, parsed, and named."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ....runtime.errors import UsageError
from ...reading.code import CODE_FILE, recognise_code
from .factories import FactoryFound, find_factory
from .mount import Mounts, plan_mounts
from .survey import SourceFile, read_sources
from .unpack import unpack


@dataclass(frozen=True)
class TrainedCode:
    """Code that is ready to run: where it lies, under which names, and what builds the model.

    ``place`` is the archive or folder, ``temporary`` a folder of ours for all that is made, ``label`` what
    the code is called, ``sha256`` that of its modules, ``left_out`` what was too large to unpack.
    """

    place: Path
    temporary: Path
    folder: Path
    label: str
    mounts: Mounts
    factory: FactoryFound
    sha256: str
    left_out: tuple[str, ...]


def code_name(trained: TrainedCode) -> str:
    """What a manifest calls the code: the branch it is known as, or its factory and a hash."""
    if (branch := recognise_code(trained.place).branch) is not None:
        return branch.name
    return f"{trained.factory.spec} of {trained.label} (sha256 {trained.sha256[:16]})"


@contextmanager
def opened_code(place: Path, factory: str | None = None) -> Generator[TrainedCode]:
    """The code at ``place``, unpacked where it is an archive, parsed and not run; removed afterwards.

    Raises as :func:`export_with_code`, for all that parsing shows.
    """
    if not place.exists():
        raise UsageError(
            f"there is no {place}",
            expected="code.zip, or a folder with the code that trained",
            fix="check --code",
        )
    if (place / CODE_FILE).is_file():
        place = place / CODE_FILE
    module, name = _split(factory)
    with tempfile.TemporaryDirectory(prefix="gatescope-code-", ignore_cleanup_errors=True) as temporary:
        folder, left_out = place.resolve(), list[str]()
        if not place.is_dir():
            folder = Path(temporary).resolve() / "unpacked"
            folder.mkdir()
            left_out = unpack(place, folder)
        sources = read_sources(folder)
        label = str(place) if place.is_dir() else place.name
        if not sources:
            raise UsageError(
                f"{label} holds no Python code", fix="give --code the folder with the model's code"
            )
        mounts = plan_mounts(sources, folder.name if place.is_dir() else "", module)
        digest = _digest(folder, sources)
        if not place.is_dir():
            mounts, sources = _renamed(folder, mounts, sources)
        found = FactoryFound(module, name) if module and name else find_factory(sources, mounts, label)
        yield TrainedCode(place, Path(temporary), folder, label, mounts, found, digest, tuple(left_out))


def _split(factory: str | None) -> tuple[str | None, str | None]:
    if factory is None:
        return None, None
    module, _, name = factory.partition(":")
    if not module or not name:
        raise UsageError(f"'{factory}' does not name a factory", expected="--model package.module:factory")
    return module, name


def _digest(folder: Path, sources: Sequence[SourceFile]) -> str:
    """One hash of all modules: what they are called and what is in them."""
    whole = hashlib.sha256()
    for source in sources:
        content = (folder / source.place).read_bytes()
        whole.update(f"{source.place}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _renamed(
    folder: Path, mounts: Mounts, sources: Sequence[SourceFile]
) -> tuple[Mounts, Sequence[SourceFile]]:
    """Give folders of the archive the names they are imported by: the code finds its files under them."""
    for name, place in list(mounts.places.items()):
        if len(place.parts) != 1 or place.suffix == ".py" or (folder / name).exists():
            continue
        (folder / place).rename(folder / name)
        moved = {
            one: _under(one, place, name) for one in (*mounts.places.values(), *(s.place for s in sources))
        }
        mounts = replace(mounts, places={key: moved[one] for key, one in mounts.places.items()})
        sources = [replace(one, place=moved[one.place]) for one in sources]
    return mounts, sources


def _under(one: PurePosixPath, old: PurePosixPath, new: str) -> PurePosixPath:
    return PurePosixPath(new, one.relative_to(old)) if one.is_relative_to(old) else one
