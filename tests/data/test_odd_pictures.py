"""Pictures as cameras, microscopes and broken transfers make them: what they show is what the net sees."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import convsmith as cs
from convsmith.data.fit import chosen_fit, fitted, outside, shape_findings
from convsmith.data.kinds import unread
from convsmith.data.levels import of_all
from convsmith.data.opened import open_data
from convsmith.data.picture import decode
from convsmith.data.scan import Broken, Header, read
from convsmith.recipe import Data


def picture(side: int = 32, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)  # type: ignore[arg-type]
    return file.getvalue()


# ---- more than 8 bits


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (lambda grey: grey.astype(np.int32), (0, 255)),
        (lambda grey: grey.astype(np.int32) * 4 - 1024, None),
        (lambda grey: grey.astype(np.uint16) * 16, (0, 4095)),
        (lambda grey: grey.astype(np.uint16) // 4 + 2000, None),
        (lambda grey: grey.astype(np.uint16) * 257, (0, 65535)),
    ],
)
def test_wide_values_keep_what_they_show(tmp_path: Path, values, levels) -> None:  # type: ignore[no-untyped-def]
    """Against numpy's own scaling by the range of all images; the fifth is what 16 bits always were."""
    greys = []
    for number in range(10):
        grey = np.asarray(picture(seed=number).convert("L")).copy()
        grey[0, :2] = 0, 255
        greys.append(values(grey))
        place = (
            tmp_path / "ab"[number % 2] / f"{number:02d}.{'tif' if greys[-1].dtype == np.int32 else 'png'}"
        )
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(greys[-1]).save(place)
    dataset = open_data(Data(path=str(tmp_path), size=32))
    low, high = levels or (min(g.min() for g in greys), max(g.max() for g in greys))
    assert dataset.levels == (low, high)
    for row, item in enumerate(dataset.items):
        own = greys[int(item.path.stem)].astype(np.int64)
        (pixels,) = dataset.store.stream([np_rows([row])])
        np.testing.assert_array_equal(pixels[0, :, :, 0], (own - low) * 255 // (high - low))
    assert not [finding for finding in dataset.findings if finding.name == "flat_images"]


def np_rows(rows: list[int]):  # type: ignore[no-untyped-def]
    import torch

    return torch.tensor(rows)


@given(st.lists(st.tuples(st.integers(-3000, 70000), st.integers(1, 70000)), min_size=1, max_size=5))
def test_levels_hold_nearly_all_values(ranges: list[tuple[int, int]]) -> None:
    low, high = of_all([(low, low, low + more, low + more) for low, more in ranges])
    assert low < high
    assert low <= min(own for own, _ in ranges)
    assert high >= max(own + more for own, more in ranges)


def test_levels_travel_with_the_net(tmp_path: Path) -> None:
    """A run of 12-bit pictures reads a single one as it was trained to, not by the picture's own range."""
    for number in range(20):
        grey = np.full((16, 16), 100 + 150 * (number % 2), np.uint16) * 8
        grey += np.random.default_rng(number).integers(0, 40, (16, 16)).astype(np.uint16)
        place = tmp_path / "data" / ("dark", "light")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(place)
    words = ["data.augment={}", "train.epochs=8", "data.batch_size=8"]
    run = cs.train(tmp_path / "data", out=tmp_path / "run", model="lenet5", set=words)
    model = cs.load(run)
    assert model.signature.levels is not None
    answers = model.predict([tmp_path / "data/dark/0.png", tmp_path / "data/light/1.png"])
    assert [row["label"] for row in answers] == ["dark", "light"]


# ---- notes, ends, transparency


def test_odd_exif_costs_no_picture(tmp_path: Path) -> None:
    """A rational of -1/0 beside the orientation: the picture is upright, as with the orientation alone."""

    def exif(*more: tuple[int, int, int, bytes], extra: bytes = b"") -> bytes:
        tags = [(0x0112, 3, 1, struct.pack("<HH", 6, 0)), *more]
        fields = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in tags)
        return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + fields + b"\0\0\0\0" + extra

    plain = encoded(picture(), "jpeg", exif=exif())
    odd = encoded(
        picture(), "jpeg", exif=exif((0x011A, 10, 1, struct.pack("<I", 38)), extra=struct.pack("<ii", -1, 0))
    )
    np.testing.assert_array_equal(decode(odd, 32, 3), decode(plain, 32, 3))
    assert (decode(plain, 32, 3) != decode(encoded(picture(), "jpeg"), 32, 3)).any()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"iCCP", b"p\0\0" + zlib.compress(bytes(2 << 20))),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * (2 << 20))),
        (b"eXIf", b"\0\x08\0\2\1\x12\0\3"),
        (b"tIME", b"\xff" * 7),
    ],
)
def test_odd_notes_of_a_png_cost_no_picture(tmp_path: Path, kind: bytes, body: bytes) -> None:
    plain = encoded(picture(), "png")
    note = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "odd.png").write_bytes(plain[:33] + note + plain[33:])
    assert isinstance(read(tmp_path / "odd.png"), Header)
    np.testing.assert_array_equal(decode(tmp_path / "odd.png", 32, 3), decode(plain, 32, 3))


@pytest.mark.parametrize("size", [160, 64, 16])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_was_cut_and_closed_is_found_at_any_size(size: int, progressive: bool) -> None:
    content = encoded(picture(160), "jpeg", quality=92, progressive=progressive)
    cut = content[: len(content) * 45 // 100] + b"\xff\xd9"
    with pytest.raises(OSError, match="truncated"):
        decode(cut, size, 3)
    # Without its last two bytes every pixel is there.
    np.testing.assert_array_equal(decode(content[:-2], size, 3), decode(content, size, 3))


@given(cut=st.floats(0.2, 0.98), seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_no_part_of_a_jpeg_is_missed(cut: float, seed: int) -> None:
    content = encoded(picture(96, seed), "jpeg", quality=90)
    for torn in (content[: int(len(content) * cut)], content[: int(len(content) * cut)] + b"\xff\xd9"):
        with pytest.raises(OSError, match="(?i)truncated|broken"):
            decode(torn, 96, 3)


def test_an_alpha_of_nothing_means_nothing() -> None:
    colors = np.asarray(picture())
    clear = Image.fromarray(np.dstack([colors, np.zeros((32, 32), np.uint8)]), "RGBA")
    np.testing.assert_array_equal(decode(encoded(clear, "png"), 32, 3), colors)
    half = np.dstack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32), 255, np.uint8)])
    half[:, 16:, 3] = 0
    on_white = decode(encoded(Image.fromarray(half, "RGBA"), "png"), 32, 3)
    assert on_white[:, :16].max() == 0
    assert on_white[:, 16:].min() == 255


# ---- shapes


def test_wide_pictures_are_seen_whole(tmp_path: Path) -> None:
    """The mark lies outside the center square; the fit is chosen, noted, and travels with the net."""
    for number in range(40):
        strip = np.random.default_rng(number).integers(0, 90, (16, 128, 3), dtype=np.uint8)
        strip[:, :16, number % 2] = 230
        place = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(strip).save(place)
    words = ["train.epochs=8", "data.batch_size=8", "data.augment={}", "data.size=32"]
    run = cs.train(tmp_path / "data", out=tmp_path / "run", model="lenet5", set=words)
    assert run["accuracy"] > 0.9
    assert cs.load(run).signature.fit == "squash"
    assert "the center square would leave" in (tmp_path / "run/recipe.yaml").read_text()
    assert cs.predict(run, tmp_path / "data/a/0.png")[0]["label"] == "a"


@pytest.mark.parametrize(
    ("shapes", "fit"),
    [
        ([(100, 100), (120, 100)], "crop"),
        ([(400, 100)] * 10, "squash"),
        ([(300, 100)] * 5 + [(100, 300)] * 5, "pad"),
        ([(900, 100)] * 5 + [(100, 900)] * 5, "squash"),
    ],
)
def test_the_fit_follows_from_the_shapes(shapes: list[tuple[int, int]], fit: str) -> None:
    reasons: dict[str, str] = {}
    assert chosen_fit(shapes, reasons) == fit
    assert (fit == "crop") == ("data.fit" not in reasons)
    assert bool(shape_findings(shapes, "crop")) == (outside(shapes) >= 0.35)


def test_fits_keep_what_they_promise() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, :5] = 255
    assert fitted(wide, 20, "crop").max() == 0
    squashed = fitted(wide, 20, "squash")
    assert squashed[:, 0].min() == 255
    padded = fitted(wide, 20, "pad")
    assert (padded[:7] == 128).all() and (padded[13:] == 128).all()  # noqa: PT018
    assert padded[10, 0].min() == 255


# ---- what is no picture


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC; install pillow-heif"),
        (b"%PDF-1.7", "PDF; export its pages"),
        (b"<svg xmlns='x'>", "SVG; draw it with pixels"),
        (b"PK\3\4", "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\0\0\0\x1cftypmp42", "a video; save its frames"),
    ],
)
def test_what_a_file_is_is_said(tmp_path: Path, head: bytes, said: str) -> None:
    assert said in unread(head + bytes(100))
    (tmp_path / "x.jpg").write_bytes(head + bytes(5000))
    found = read(tmp_path / "x.jpg")
    assert isinstance(found, Broken)
    assert said in found.reason


def test_pipes_are_no_files_and_large_ones_arent_read_whole(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = read(tmp_path / "pipe")
    assert isinstance(found, Broken)
    assert "a pipe" in found.reason
    with open(tmp_path / "large.zip", "wb") as file:
        file.write(b"PK\3\4")
        file.truncate(3 << 40)
    found = read(tmp_path / "large.zip")
    assert isinstance(found, Broken)
    assert "a zip archive" in found.reason


def test_flat_pictures_are_reported_with_their_cause(tmp_path: Path) -> None:
    for number in range(12):
        place = tmp_path / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        image = Image.new("RGB", (16, 16), (number, 0, 0)) if number < 4 else picture(16, number)
        image.save(place)
    (finding,) = [own for own in open_data(Data(path=str(tmp_path))).findings if own.name == "flat_images"]
    assert finding.seen.startswith("4 of 12 images are as good as one flat color")
    assert "the files themselves are of one color" in finding.seen


# ---- the cache


def test_a_spoiled_cache_is_made_again(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    section = Data(path=str(images), memory_share=0.0)

    def pixels() -> np.ndarray:
        dataset = open_data(section)
        assert dataset.store.where.startswith("cache file")
        (found,) = dataset.store.stream([np_rows(list(range(len(dataset.items))))])
        return np.asarray(found)

    first = pixels()
    for content in (None, b""):
        for pattern in ("*.u8", "*.json"):
            (file,) = (tmp_path / "cache/pixels").glob(pattern)
            file.write_bytes(bytes(file.stat().st_size) if content is None else content)
            np.testing.assert_array_equal(pixels(), first)


def test_without_a_cache_it_goes_on(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "file"))
    dataset = open_data(Data(path=str(images), memory_share=0.0, workers=0))
    assert "on the fly" in dataset.store.where
    assert [finding.name for finding in dataset.findings] == ["not_cached"]
