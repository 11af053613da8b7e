from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsmith as cs
from convsmith.verbs.disk import new_file, new_folder, own_page, save, save_arrays

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
        lambda out: cs.score_map("nowhere", "nowhere.png", out),
    ],
)
def test_what_is_there_is_never_replaced(tmp_path: Path, verb: Callable[[Path], Any]) -> None:
    """It is refused before anything is read, so that no work is lost either."""
    theirs, nowhere = tmp_path / "mine.txt", tmp_path / "link.txt"
    theirs.write_text("hours of work")
    nowhere.symlink_to(tmp_path / "unmounted.txt")
    for place in (theirs, nowhere):
        with pytest.raises(cs.UserError, match=rf"{place.name} is there already; choose another name"):
            verb(place)
    assert theirs.read_text() == "hours of work"
    with pytest.raises(cs.UserError, match=r"cannot write /proc/page.txt \(.*\); choose another place"):
        verb(Path("/proc/page.txt"))
    with pytest.raises(
        cs.UserError, match=r"cannot write .*xxx \(File name too long\); choose another place"
    ):
        verb(tmp_path / ("x" * 300))
    with pytest.raises(cs.UserError, match="nowhere"):
        verb(tmp_path / "new.txt")
    assert {own.name for own in tmp_path.iterdir()} == {"mine.txt", "link.txt"}


def test_a_files_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(cs.UserError, match="there is no folder .*gone; make it, or choose another place"):
        new_file(tmp_path / "gone" / "page.html")
    with pytest.raises(cs.UserError, match="is a folder; name a file in it"):
        new_file(tmp_path)


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As a device does: replacing /dev/null would spoil the machine."""
    os.mkfifo(tmp_path / "pipe")
    for write in (
        lambda place: save(place, "page"),
        lambda place: save_arrays(place, ("x", 2, iter([np.ones((2, 3))])), y=np.zeros(1)),
    ):
        read: list[bytes] = []
        reader = threading.Thread(target=_reading, args=(tmp_path / "pipe", read), daemon=True)
        reader.start()
        write(new_file(tmp_path / "pipe"))
        reader.join(timeout=10)
        assert (tmp_path / "pipe").is_fifo()
        assert read
        assert read[0] == b"page" or np.load(io.BytesIO(read[0]))["x"].shape == (2, 3)
    assert new_file("/dev/null") == Path("/dev/null")


def _reading(place: Path, into: list[bytes]) -> None:
    into.append(place.read_bytes())


def test_a_folder_may_be_empty_but_holds_nothing_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(cs.UserError, match="full holds other files; choose a new or an empty folder"):
        new_folder(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").touch()
    assert new_folder(tmp_path / "empty") == tmp_path / "empty"
    assert new_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists(), "asked, not made"


def test_only_pages_of_convsmiths_own_are_written_again(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert own_page(page) == page
    page.write_text("<!doctype html><title>My report</title>")
    with pytest.raises(cs.UserError, match=r"report\.html is there already, and isn't convsmith's; move"):
        own_page(page)
    page.write_text("<!doctype html>\n<title>runs/a · convsmith</title>")
    assert own_page(page) == page
