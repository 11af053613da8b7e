from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsmith as cs
from convsmith.verbs.disk import new_file, save_arrays

CODE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from convsmith.errors import UserError
from convsmith.verbs.disk import save
try:
    save(Path(sys.argv[1]), "x" * 5000)
except UserError as error:
    sys.exit(str(error))
"""


def test_a_file_that_finds_no_room_is_one_sentence_and_the_old_one_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    done = subprocess.run([sys.executable, "-c", CODE, page], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "larger than allowed" in done.stderr
    assert done.stderr.strip().endswith("make room, then try again")
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def test_arrays_are_written_in_parts_as_numpy_writes_the_whole(tmp_path: Path) -> None:
    """Each part is gone when the one after the next is made."""
    whole = np.random.default_rng(0).normal(size=(10, 3, 2)).astype(np.float16)
    alive: list[weakref.ref[Any]] = []

    def parts() -> Iterator[Any]:
        for start in range(0, 10, 3):
            assert sum(other() is not None for other in alive) <= 1
            part = whole[start : start + 3].copy()
            alive.append(weakref.ref(part))
            yield part
            del part

    file = tmp_path / "a.npz"
    assert save_arrays(file, ("x", 10, parts()), names=np.array(["ä", "b"])) == (10, 3, 2)
    with np.load(file, allow_pickle=False) as content:
        assert np.array_equal(content["x"], whole)
        assert content["x"].dtype == np.float16
        assert content["names"].tolist() == ["ä", "b"]


def test_an_error_between_two_parts_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"old")

    def parts() -> Iterator[Any]:
        yield np.zeros((2, 3))
        raise RuntimeError("an image is gone")

    with pytest.raises(RuntimeError, match="an image is gone"):
        save_arrays(file, ("x", 4, parts()))
    assert file.read_bytes() == b"old"
    assert [own.name for own in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    "verb",
    [
        lambda out: cs.advise("nowhere", write=out),
        lambda out: cs.lr_range("nowhere", out=out),
        lambda out: cs.augment("nowhere", out=out),
        lambda out: cs.compare(["nowhere"], out=out),
        lambda out: cs.features("nowhere", "fc", out),
        lambda out: cs.response_maps("nowhere", out),
    ],
)
def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, verb: Callable[[Path], Any]) -> None:
    """It is refused before anything is read, so that no work is lost either."""
    theirs = tmp_path / "mine.txt"
    theirs.write_text("hours of work")
    with pytest.raises(cs.UserError, match=r"mine\.txt is there already; choose another name, or delete it"):
        verb(theirs)
    assert theirs.read_text() == "hours of work"
    with pytest.raises(cs.UserError, match="nowhere"):
        verb(tmp_path / "new.txt")


def test_a_device_is_no_file_to_lose() -> None:
    assert new_file("/dev/null") == Path("/dev/null")
