from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from convsmith.data.layout import Item
from convsmith.data.picture import decode
from convsmith.data.pixels import open_store
from convsmith.data.scan import Broken, Header, broken_findings, duplicate_findings, read, scan


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
    assert a == b
    assert a.digest != c.digest
    assert decode(tmp_path / "b.PNG", 4, 3).shape == (4, 4, 3)


def test_all_broken_files_are_one_finding() -> None:
    broken = [Broken(Path(f"{n}.png"), reason) for n, reason in enumerate(("empty file", "not an image") * 3)]
    (found,) = broken_findings(broken)
    assert found.seen.startswith("6 files left out: empty file: 0.png, 2.png, 4.png; not an image: 1.png")
    assert broken_findings([]) == []
