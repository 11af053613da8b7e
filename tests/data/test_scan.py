from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.data.item import Item
from convsmith.data.picture import decode, pixels_of, whole
from convsmith.data.pixels import open_store
from convsmith.data.quiet import quiet
from convsmith.data.scan import (
    Broken,
    Header,
    broken_findings,
    duplicate_findings,
    no_track,
    parallel,
    read,
    scan,
)


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "png")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims 30,000 x 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + png(1, 1)[33:]


def reason(folder: Path, content: bytes) -> str:
    file = folder / "f.png"
    file.write_bytes(content)
    answer = read(file)
    assert isinstance(answer, Broken), answer
    return answer.reason


def test_broken_files_are_sorted_out_by_reason(tmp_path: Path) -> None:
    assert reason(tmp_path, b"") == "empty file"
    assert reason(tmp_path, b"hello, I am a text") == "not an image"
    assert reason(tmp_path, bomb()).startswith("decompression bomb")
    assert reason(tmp_path, png(1, 9)) == "a side of 1 pixel (1x9)"
    tiff = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tiff, "tiff")
    assert reason(tmp_path, tiff.getvalue()).startswith("floating-point pixels")
    gone = read(tmp_path / "gone.png")
    assert isinstance(gone, Broken)
    assert "cannot be read" in gone.reason
    assert isinstance(read(tmp_path), Broken)


def test_truncated_files_are_found_when_decoded_and_the_rest_goes_on(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    picture = Image.fromarray(draws.integers(0, 255, (40, 40, 3), dtype=np.uint8))
    items = []
    for number in range(70):
        file = tmp_path / f"{number:02d}.jpg"
        picture.save(file)
        items.append(Item(file, "a"))
    for number in (3, 65):
        content = items[number].path.read_bytes()
        items[number].path.write_bytes(content[: len(content) // 2])
    rows, broken = scan(items)
    assert (len(rows), broken) == (70, [])
    _, damaged = open_store([(item.path, header) for item, header in rows], size=8, channels=3)
    assert [(file.path.name, file.reason) for file in damaged] == [
        ("03.jpg", "truncated image"),
        ("65.jpg", "truncated image"),
    ]
    finding = broken_findings(damaged)[0]
    assert "2 files left out: truncated image" in finding.seen
    assert "03.jpg" in finding.seen


def test_hashes_find_copies_across_splits_and_labels(tmp_path: Path) -> None:
    def header(digest: str) -> Header:
        return Header(8, 8, "RGB", digest)

    rows = [
        (Item(Path("t/a/1"), "a", "train"), header("x")),
        (Item(Path("v/a/2"), "a", "val"), header("x")),
        (Item(Path("t/a/3"), "a", "train"), header("y")),
        (Item(Path("t/b/4"), "b", "train"), header("y")),
        (Item(Path("v/b/5"), "b", "val"), header("z")),
    ]
    leak, torn = duplicate_findings(rows)
    assert "1 image in train and in val alike: t/a/1 = v/a/2" in leak.seen
    assert "1 image under several labels, in 2 of 5 files: t/a/3 = t/b/4" in torn.seen
    assert duplicate_findings(rows[2:3] + rows[4:]) == []


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(4, 4))
    (tmp_path / "b.PNG").write_bytes(png(4, 4))
    (tmp_path / "c.png").write_bytes(png(4, 5))
    a, b, c = (read(tmp_path / name) for name in ("a.png", "b.PNG", "c.png"))
    assert isinstance(a, Header)
    assert isinstance(c, Header)
    assert isinstance(b, Header)
    assert a.digest == b.digest
    assert a.digest != c.digest
    assert decode(tmp_path / "b.PNG", 4, 3).shape == (4, 4, 3)


def test_all_broken_files_are_one_finding() -> None:
    broken = [Broken(Path(f"{n}.png"), reason) for n, reason in enumerate(("empty file", "not an image") * 3)]
    (found,) = broken_findings(broken)
    assert found.seen.startswith("6 files left out: empty file: 0.png, 2.png, 4.png; not an image: 1.png")
    assert broken_findings([]) == []


def test_pillow_is_quiet_while_files_are_read_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow warns of each of these files, which are larger than its limit; no thread lets it be heard."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    files = [tmp_path / f"{number}.png" for number in range(300)]
    for file in files:
        file.write_bytes(png(8, 8))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        with pytest.warns(Image.DecompressionBombWarning):
            Image.open(files[0]).close()
        for work in (read, lambda file: decode(file, 4, 3), lambda file: whole(file, lambda side: side, 3)):
            list(parallel(work, files, no_track, "", threads=8))
        corrupt = Image.open(io.BytesIO(png(4, 4)))
        corrupt.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\xff\xff\xff\xff"
        pixels_of(corrupt, 4, 3)
        assert [str(one.message) for one in heard] == []
        assert list(warnings.filters) == filters, "in a process that goes on after this"
        with quiet:
            warnings.warn("something else", stacklevel=1)
        assert [str(one.message) for one in heard] == ["something else"]


def test_threads_that_leave_in_another_order_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with quiet:
            inside.set()
            leave.wait(timeout=10)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(timeout=10)
    with quiet:
        leave.set()
        thread.join(timeout=10)
        with warnings.catch_warnings(record=True) as heard:
            warnings.warn_explicit("of Pillow's", UserWarning, "Image.py", 1, module="PIL.Image")
        assert heard == []
    assert list(warnings.filters) == before
