"""The archive that PyTorch keeps a TorchScript or pt2 file in, judged without PyTorch.

It is a zip file with one folder. Every entry is read once here and compared with its checksum, because
PyTorch itself reads damaged weights without a word; sizes are limited before anything is unpacked.

Damage and foreign files are what this finds. It is no defence against malice: TorchScript is a program
that may call any operator PyTorch has, and a pt2 file holds expressions that PyTorch evaluates. Open files
only from those whose code you would run. What is refused nonetheless is a pt2 file with pickled objects,
which an export never needs.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ..errors import ManifestError, ModelFileError
from ..gates.manifest import METADATA_KEY

ArchiveFormat = Literal["torchscript", "pt2"]

# Weights are stored as they are; what is compressed is code and its line numbers, a few hundred kilobytes.
MOST_COMPRESSED_CONTENT = 64 * 2**20
MOST_MANIFEST_BYTES = 16 * 2**20
MOST_ENTRIES = 100_000
_PIECE = 2**20


@dataclass(frozen=True)
class ModelArchive:
    """What an archive is, and the manifest it carries as it was stored."""

    format: ArchiveFormat
    manifest: bytes


def read_archive(path: Path, content: bytes) -> ModelArchive:
    """Judge the archive ``content`` of the file ``path``.

    Raises :class:`ModelFileError` where it is damaged, unpacks to more than a model could hold, is a
    checkpoint or another kind of archive, or holds pickled objects; :class:`ManifestError` where it carries
    no manifest or several.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _refuse_odd_entries(path, entries, len(content))
            root = entries[0].filename.split("/")[0] if entries else ""
            kind = _kind(path, archive, root)
            _read_everything(archive, entries)
            if kind == "pt2":
                _refuse_pickles(path, archive, entries)
            return ModelArchive(kind, _manifest(path, archive, f"{root}/extra/{METADATA_KEY}", kind))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # zipfile raises RuntimeError for encrypted entries, NotImplementedError for unknown compression.
        raise _damaged(path, str(error) or type(error).__name__) from error


def _refuse_odd_entries(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    """Limits that hold before anything is unpacked, and names that mean one thing to every reader."""
    names = [entry.filename for entry in entries]
    if holds_only_a_part(entries):
        raise _damaged(path, "its own list of entries is gone")
    if len(names) > MOST_ENTRIES or len(set(names)) != len(names):
        raise _damaged(path, f"{len(names):,} entries, {len(set(names)):,} different names")
    roots = {name.split("/")[0] for name in names if "/" in name}
    if len(roots) != 1 or any("/" not in name for name in names):
        raise ModelFileError(
            f"{path} is a zip archive, but not a model",
            received=", ".join(names[:5]) or "an empty archive",
            expected="an ONNX, TorchScript or pt2 file written by 'gatescope export'",
        )
    odd = [entry.filename for entry in entries if entry.compress_type not in (0, zipfile.ZIP_DEFLATED)]
    if odd:
        raise _damaged(path, f"an unknown compression of {odd[0]}")
    unpacked = sum(entry.file_size for entry in entries if entry.compress_type)
    stored = sum(entry.file_size for entry in entries if not entry.compress_type)
    if unpacked > MOST_COMPRESSED_CONTENT or stored > size:
        raise ModelFileError(
            f"{path} unpacks to more than an exported model could hold",
            received=f"{unpacked + stored:,} bytes in a file of {size:,}",
            expected=f"at most {MOST_COMPRESSED_CONTENT:,} bytes of compressed content",
            fix="export the model again",
        )


def holds_only_a_part(entries: list[zipfile.ZipInfo]) -> bool:
    """Whether a reader took a smaller archive inside for the whole one, whose end was cut off."""
    return bool(entries) and min(entry.header_offset for entry in entries) > 0


def _kind(path: Path, archive: zipfile.ZipFile, root: str) -> ArchiveFormat:
    names = set(archive.namelist())
    mark = f"{root}/archive_format"
    if mark in names and archive.getinfo(mark).file_size < 16 and archive.read(mark) == b"pt2":
        return "pt2"
    if f"{root}/constants.pkl" in names:
        return "torchscript"
    if f"{root}/data.pkl" in names:
        raise ModelFileError(
            f"{path} is a PyTorch checkpoint, not an exported model",
            fix=f"gatescope export --checkpoint {path} --output model.onnx",
        )
    raise ModelFileError(
        f"{path} is a zip archive, but not a model",
        received=", ".join(sorted(names)[:5]),
        expected="an ONNX, TorchScript or pt2 file written by 'gatescope export'",
    )


def _read_everything(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Read each entry to its end, which compares it with its checksum."""
    for entry in entries:
        with archive.open(entry) as stream:
            while stream.read(_PIECE):
                pass


def _refuse_pickles(path: Path, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """PyTorch unpickles without restriction what these lists mark as pickled."""
    for entry in entries:
        if not entry.filename.endswith("_config.json"):
            continue
        try:
            listed: Any = json.loads(archive.read(entry))
            items = cast("dict[str, dict[str, Any]]", listed["config"]).items()
            pickled = [name for name, item in items if item.get("use_pickle") is not False]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path, f"{entry.filename} is not a list of tensors") from error
        if pickled:
            raise ModelFileError(
                f"{path} holds pickled objects, which are not loaded from a file of unknown origin",
                received=", ".join(pickled[:5]),
                expected="tensors only, as 'gatescope export' writes them",
                fix="export the model again with 'gatescope export'",
            )


def _manifest(path: Path, archive: zipfile.ZipFile, name: str, kind: ArchiveFormat) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError as error:
        raise ManifestError(
            f"{path} was not exported by gatescope: it carries no manifest",
            received=f"a {kind} archive",
            fix=f"gatescope export --checkpoint … --format {kind}",
        ) from error
    if entry.file_size > MOST_MANIFEST_BYTES:
        raise ManifestError(
            f"the manifest of {path} is too large",
            received=f"{entry.file_size:,} bytes",
            expected=f"at most {MOST_MANIFEST_BYTES:,}",
            fix="export the model again",
        )
    return archive.read(entry)


def _damaged(path: Path, received: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is a damaged archive",
        received=received,
        expected="a TorchScript or pt2 file as 'gatescope export' writes it",
        fix="copy the file again, or export the model again",
    )
