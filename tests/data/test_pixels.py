from __future__ import annotations

import io
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from convsmith.data import pixels, reading
from convsmith.data.item import Item
from convsmith.data.picture import decode
from convsmith.data.pixels import Decoded, OnTheFly, open_store
from convsmith.data.scan import scan


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_modes_are_read_as_they_look() -> None:
    """Each mode's picture of one known color decodes to that color."""
    red = Image.new("RGB", (8, 8), (250, 20, 30))
    assert (decode(encoded(red, "png"), 8, 3) == (250, 20, 30)).all()
    cmyk = decode(encoded(red.convert("CMYK"), "jpeg", quality=95), 8, 3).astype(int)
    assert np.abs(cmyk - (250, 20, 30)).max() <= 6
    palette = red.quantize(4)
    assert np.abs(decode(encoded(palette, "gif"), 8, 3).astype(int) - (250, 20, 30)).max() <= 2
    assert (decode(encoded(red.convert("L"), "png"), 8, 1) == red.convert("L").getpixel((0, 0))).all()
    assert (decode(encoded(Image.new("1", (8, 8), 1), "png"), 8, 1) == 255).all()


def test_sixteen_bits_keep_their_brightness() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    found = decode(encoded(Image.fromarray(values), "png"), 8, 1)[:, :, 0].astype(int)
    assert np.abs(found - values / 257).max() <= 1


def test_transparency_shows_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (decode(encoded(clear, "png"), 8, 3) == 255).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0] * 256)
    assert (decode(encoded(palette, "png", transparency=0), 8, 3) == 255).all()


def test_exif_orientation_is_applied() -> None:
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 255  # bright above
    lying = Image.fromarray(np.rot90(upright, 1).copy())  # as a camera held sideways stores it
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(encoded(lying, "png", exif=exif), 8, 3)
    assert (found == upright).all()


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("blue", "red", "green")]
    content = encoded(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert (decode(content, 8, 3) == (0, 0, 255)).all()


def test_resize_keeps_proportions_and_center() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (decode(encoded(Image.fromarray(wide), "png"), 10, 3) == 200).all()


def stored(folder: Path, count: int = 10) -> tuple[list[tuple[Path, Any]], np.ndarray]:
    draws = np.random.default_rng(0)
    truth = draws.integers(0, 255, (count, 6, 6, 3), dtype=np.uint8)
    items = []
    for number, picture in enumerate(truth):
        Image.fromarray(picture).save(folder / f"{number}.png")
        items.append(Item(folder / f"{number}.png", "a"))
    rows, _ = scan(items)
    return [(item.path, header) for item, header in rows], truth


@pytest.mark.parametrize(
    ("memory", "disk", "kind", "where"),
    [(0.5, 0.5, Decoded, "memory"), (0.0, 0.5, Decoded, "cache file"), (0.0, 0.0, OnTheFly, "on the fly")],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_every_store_gives_the_same_pixels(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: float,
    disk: float,
    kind: type,
    where: str,
    workers: int,
) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    rows, truth = stored(tmp_path)
    store, broken = open_store(rows, size=6, channels=3, memory=memory, disk=disk, workers=workers)
    assert isinstance(store, kind)
    assert where in store.where
    assert broken == []
    batches = [torch.tensor([3, 1]), torch.tensor([9]), torch.tensor([0, 3, 8])]
    for batch, found in zip(batches, store.stream(batches), strict=True):
        assert (found.numpy() == truth[batch]).all()


def cached(rows: Any) -> tuple[Decoded, Any]:
    store, broken = open_store(rows, size=6, channels=3, memory=0.0)
    assert isinstance(store, Decoded)
    return store, broken


def test_cache_is_found_by_content_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    rows, truth = stored(tmp_path)
    truncated = rows[4][0]
    truncated.write_bytes(truncated.read_bytes()[:60])
    _, first = cached(rows)
    monkeypatch.setattr(pixels, "decode", lambda *_: pytest.fail("decoded again"))
    store, second = cached(rows)
    assert [b.path for b in first] == [b.path for b in second] == [truncated]
    assert (store.pixels[0].numpy() == truth[0]).all()


def test_half_written_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    rows, truth = stored(tmp_path)
    cached(rows)
    (file,) = (tmp_path / "cache/pixels").glob("*.u8")
    file.write_bytes(file.read_bytes()[:50])
    stale = file.with_name(f"{file.stem}.999999.partial")
    stale.write_bytes(b"left by a killed process")
    store, _ = cached(rows)
    assert (store.pixels.numpy() == truth).all()
    assert not stale.exists()


def _open_in_a_process(folder: str, answers: Any) -> None:
    os.environ["CONVSMITH_CACHE"] = folder + "/cache"
    torch.set_num_threads(1)
    rows = [
        (Path(folder, f"{n}.png"), scan([Item(Path(folder, f"{n}.png"), "a")])[0][0][1]) for n in range(10)
    ]
    store, _ = cached(rows)
    answers.put(int(store.pixels.sum()))


@pytest.mark.slow
def test_concurrent_runs_share_one_cache(tmp_path: Path) -> None:
    _, truth = stored(tmp_path)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [context.Process(target=_open_in_a_process, args=(str(tmp_path), answers)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=120) for _ in processes] == [int(truth.sum())] * 3
    for process in processes:
        process.join()
    assert len(list((tmp_path / "cache/pixels").glob("*.u8"))) == 1
    assert not list((tmp_path / "cache/pixels").glob("*.partial"))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (640, 640)])
def test_scaled_decoding_looks_like_full_decoding(width: int, height: int) -> None:
    """A photograph decoded at half its size and resized, against Pillow's own resizing of all of it."""
    photo = Image.fromarray(load_sample_images().images[0]).resize((width, height))
    file = io.BytesIO()
    photo.save(file, "jpeg", quality=92)
    found = decode(file.getvalue(), size=100, channels=3).astype(int)
    full = ImageOps.fit(Image.open(io.BytesIO(file.getvalue())), (100, 100), Image.Resampling.BILINEAR)
    difference = np.abs(found - np.asarray(full).astype(int))
    assert difference.mean() < 3
    # shifted by a pixel of the 100, it would be far off
    assert np.abs(np.roll(found, 1, 1) - np.asarray(full).astype(int)).mean() > 2 * difference.mean()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{"quality": 95, "subsampling": 0}, {"quality": 75}, {"progressive": True}]
)
def test_the_quick_way_to_a_jpeg_gives_pillows_pixels(mode: str, options: dict[str, Any]) -> None:
    square = Image.fromarray(load_sample_images().images[1][:400, :400]).convert(mode)
    content = encoded(square, "jpeg", **options)
    assert reading._plain_jpeg(Image.open(io.BytesIO(content)), content)
    channels = 3 if mode == "RGB" else 1
    found = decode(content, 400, channels).reshape(np.asarray(square).shape).astype(int)
    # other builds of the same library may round elsewhere
    assert np.abs(found - np.asarray(Image.open(io.BytesIO(content))).astype(int)).max() <= 2


def test_a_jpeg_without_its_end_is_left_to_pillow() -> None:
    content = encoded(Image.fromarray(load_sample_images().images[1]), "jpeg")[:-2000]
    with pytest.raises(OSError, match="truncated"):
        decode(content, 400, 3)
