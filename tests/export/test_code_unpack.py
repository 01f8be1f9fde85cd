"""A code.zip from a stranger: what it may hold, and that nothing of it gets out of its folder."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gatescope.export.user.apart import unpack as limits
from gatescope.export.user.apart.unpack import unpack
from gatescope.runtime.errors import ExportError
from tests.export import coded


def written(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def linked(name: str, mode: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (mode | 0o777) << 16
    return entry


MODULE = ("code/model.py", b"x = 1\n")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../model.py", b"")], "'../model.py'"),
        ([MODULE, ("code/../../model.py", b"")], "nothing of it was run"),
        ([("/tmp/model.py", b"")], "'/tmp/model.py'"),
        ([("C:/model.py", b"")], "names inside the archive"),
        ([MODULE, ("code\\..\\..\\model.py", b"")], "names inside the archive"),
        ([MODULE, (linked("code/data.py"), b"/etc/passwd")], "a link or device"),
        ([MODULE, (linked("code/pipe", stat.S_IFIFO), b"")], "a link or device"),
        ([MODULE, ("code/model.py/inner.py", b"")], "inside a file"),
        ([MODULE, ("code/" + "n" * 300 + ".py", b"")], "names inside the archive"),
    ],
    ids=lambda value: None if isinstance(value, str) else value[-1][0],
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, entries, words: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = written(tmp_path / "code.zip", *entries)
    with pytest.raises(ExportError) as raised:
        unpack(archive, inside)
    assert words in str(raised.value) and "--code DIR" in str(raised.value)
    assert list(inside.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code.zip", "inside"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    archive = written(tmp_path / "code.zip", MODULE, ("code/model.py", b"x = 2\n"))
    with pytest.raises(ExportError, match=r"'code/model\.py' twice"):
        unpack(archive, tmp_path)


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("MOST_ARCHIVE_BYTES", 20, "too large for an archive of code"),
        ("MOST_CODE_ENTRIES", 3, "6 entries"),
        ("MOST_MODULE_BYTES", 100, r"code/.*\.py of 0\.0 MB"),
        ("MOST_UNPACKED_BYTES", 100, r"0\.0 MB unpacked"),
    ],
)
def test_more_than_code_is(tmp_path: Path, monkeypatch, limit: str, value: int, words: str) -> None:
    monkeypatch.setattr(limits, limit, value)
    with pytest.raises(ExportError, match=words):
        unpack(coded.zipped(tmp_path / "code.zip"), tmp_path / "inside")
    assert not (tmp_path / "inside").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """100 MB of zeros are 100 kB in the archive."""
    zeros = bytes(100 << 20)
    with pytest.raises(ExportError, match=r"code/bomb\.py of 104\.9 MB"):
        unpack(written(tmp_path / "code.zip", MODULE, ("code/bomb.py", zeros)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["code.zip"]


def test_an_archive_of_10_gb_is_not_read(tmp_path: Path) -> None:
    archive = tmp_path / "code.zip"
    with archive.open("wb") as stream:
        stream.truncate(10 * 10**9)
    with pytest.raises(ExportError, match="10,000 MB"):
        unpack(archive, tmp_path)


def test_large_files_that_are_not_code_are_left_out(tmp_path: Path) -> None:
    large = b"\0" * (limits.MOST_DATA_BYTES + 1)
    archive = written(tmp_path / "code.zip", MODULE, ("code/words.json", b"{}"), ("code/weights.bin", large))
    inside = tmp_path / "inside"
    assert unpack(archive, inside) == ["code/weights.bin (8.4 MB)"]
    there = sorted(str(path.relative_to(inside)) for path in inside.rglob("*") if path.is_file())
    assert there == ["code/model.py", "code/words.json"]


def cut(path: Path) -> None:
    path.write_bytes(coded.zipped(path).read_bytes()[:-40])


def flipped(path: Path) -> None:
    content = bytearray(coded.zipped(path).read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)


def locked(path: Path) -> None:
    content = bytearray(written(path, MODULE).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag that says: encrypted
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (lambda path: path.write_bytes(b"not a zip\n"), "not a zip file"),
        (cut, "not a zip file"),
        (flipped, "complete zip archive"),
        (locked, "password"),
        (lambda path: written(path), "holds no Python code"),
        (lambda path: written(path, ("code/readme.txt", b"")), "holds no Python code"),
    ],
    ids=["empty", "text", "cut", "flipped", "locked", "nothing in it", "no code"],
)
def test_what_is_no_archive_of_code(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "code.zip")
    with pytest.raises(ExportError) as raised:
        unpack(tmp_path / "code.zip", tmp_path / "inside")
    assert words in str(raised.value) and "--code DIR" in str(raised.value)
