"""The quick way to read an array file gives what the general one gives, or nothing."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.runtime.data import arrays
from gatescope.runtime.data.arrays import read_array
from gatescope.runtime.data.plain import read_plain
from gatescope.runtime.data.scratch import Scratch
from gatescope.runtime.errors import DatasetError

FEATURES = np.arange(24, dtype=np.float32).reshape(8, 3) - 7


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def savez(array: np.ndarray, **others: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, features=array, **others)
    return stream.getvalue()


def archive(method: int = zipfile.ZIP_STORED, comment: bytes = b"", **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
        made.comment = comment
    return stream.getvalue()


def streamed(array: np.ndarray) -> bytes:
    """An archive written to a pipe: sizes and checksum stand behind the member, not before it."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError("a pipe")

    stream = Pipe()
    with zipfile.ZipFile(stream, "w") as made, made.open("features.npy", "w") as member:
        member.write(npy(array))
    return stream.getvalue()


def quick(content: bytes, folder: Path, *, verify: bool = True, own_key: bool = True) -> np.ndarray | None:
    path = folder / "file"
    path.write_bytes(content)
    with io.FileIO(path) as stream:
        return read_plain(stream, len(content), "features", Scratch(), own_key=own_key, verify=verify)


LAYOUTS: dict[str, bytes] = {
    "npy": npy(FEATURES),
    "npy version 2": npy(FEATURES, (2, 0)),
    "npy with bytes behind it": npy(FEATURES) + b"more",
    "half": npy(FEATURES.astype(np.float16)),
    "double": savez(FEATURES.astype(np.float64)),
    "big-endian": savez(FEATURES.astype(">f8")),
    "integers": savez(FEATURES.astype(np.int16)),
    "column order": savez(np.asfortranarray(FEATURES)),
    "one axis": savez(FEATURES[0]),
    "three axes": savez(FEATURES[None]),
    "a scalar": savez(np.asarray(np.float32(3))),
    "between other members": savez(FEATURES, a=np.ones(3), z=np.ones((4, 4))),
    "a name without .npy": archive(features=npy(FEATURES)),
    "written to a pipe": streamed(FEATURES),
}
GENERAL: dict[str, bytes] = {
    "compressed": archive(zipfile.ZIP_DEFLATED, **{"features.npy": npy(FEATURES)}),
    "with a comment": archive(comment=b"made by hand", **{"features.npy": npy(FEATURES)}),
    "many members": savez(FEATURES, **{f"other{i}": np.ones(1) for i in range(60)}),
    "twice the same name": archive(**{"features.npy": npy(FEATURES), "features": npy(FEATURES + 1)}),
    "a long header": npy(np.zeros(2, [(f"field{i}", "f4") for i in range(200)]).view("f4").reshape(2, 200)),
}


@pytest.mark.parametrize("content", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("verify", [True, False])
def test_plain_layouts_are_read_quickly(content: bytes, verify: bool, tmp_path: Path) -> None:
    found = quick(content, tmp_path, verify=verify)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "read_plain", lambda *_, **__: None)
        want = read_array(tmp_path / "file", "features").values
    assert found.dtype == want.dtype == np.float32
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("content", GENERAL.values(), ids=GENERAL.keys())
def test_every_other_layout_is_read_too(content: bytes, tmp_path: Path) -> None:
    quickly = quick(content, tmp_path)
    values = read_array(tmp_path / "file", "features").values
    if quickly is not None:
        np.testing.assert_array_equal(quickly, values)
    assert values.shape in (FEATURES.shape, (2, 200))


def test_a_single_member_of_another_name_may_stand_for_an_npy(tmp_path: Path) -> None:
    content = archive(**{"arr_0.npy": npy(FEATURES)})
    assert quick(content, tmp_path) is None
    np.testing.assert_array_equal(quick(content, tmp_path, own_key=False), FEATURES)  # type: ignore[arg-type]
    assert quick(savez(FEATURES)[:-1], tmp_path) is None


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["npy", "between other members", "written to a pipe"]),
    at=st.integers(0, 2000),
    byte=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_damage_is_never_taken_for_features(name: str, at: int, byte: int, cut: int, tmp_path: Path) -> None:
    """Of an archive nothing but the array as it was written; an .npy has no checksum, so whatever it says."""
    content = bytearray(LAYOUTS[name])
    content[at % len(content)] = byte
    whole = bytes(content[: len(content) - cut * 7])
    found = quick(whole, tmp_path)
    if found is None:
        return
    want = FEATURES
    if name == "npy":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arrays, "read_plain", lambda *_, **__: None)
            want = read_array(tmp_path / "file", "features").values
    np.testing.assert_array_equal(found, want)


def test_a_wrong_checksum_is_told_once_it_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    content = savez(FEATURES)
    place = content.index(FEATURES.tobytes())
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])
    with pytest.raises(DatasetError, match="Bad CRC-32"):
        read_array(path, "features")
    assert read_array(path, "features", verify=False).values.shape == FEATURES.shape


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_files_state_changes_with_it(change: str, tmp_path: Path) -> None:
    import os

    path = tmp_path / "v.npy"
    np.save(path, FEATURES)
    before = read_array(path, "features").state
    assert read_array(path, "features").state == before
    status = path.stat()
    if change == "size":
        path.write_bytes(path.read_bytes() + b"\0")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert read_array(path, "features").state != before


def written_during(path: Path, content: bytes) -> Callable[..., np.ndarray | None]:
    def read(*args: object, **options: object) -> np.ndarray | None:
        found = read_plain(*args, **options)  # type: ignore[arg-type]
        path.write_bytes(content)
        return found

    return read


def test_a_file_that_is_written_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.npy"
    np.save(path, FEATURES)
    monkeypatch.setattr(arrays, "read_plain", written_during(path, npy(FEATURES[:4] + 1)))
    np.testing.assert_array_equal(read_array(path, "features").values, FEATURES[:4] + 1)


def test_scratch_memory_is_given_out_again_after_a_reset(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, FEATURES)
    scratch = Scratch()
    one = read_array(path, "features", scratch=scratch).values
    two = read_array(path, "features", scratch=scratch).values
    assert not np.shares_memory(one, two)
    scratch.reset()
    np.save(path, FEATURES + 1)
    three = read_array(path, "features", scratch=scratch).values
    assert np.shares_memory(one, three)
    np.testing.assert_array_equal(one, FEATURES + 1)
    np.testing.assert_array_equal(two, FEATURES)
