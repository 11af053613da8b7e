"""One picture as pixels that a net reads, the same in training, evaluation and prediction."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from convsmith.errors import UserError

Bytes = npt.NDArray[np.uint8]


class _Quiet:
    """Within it Pillow doesn't warn, in any thread: what a file is worth is said of all files together.

    ``warnings.catch_warnings`` keeps and restores the filters of the whole process. Of several threads, each
    with one of its own, the last may restore what another had set, and all warnings are gone for good.
    """

    def __init__(self) -> None:
        self._lock, self._within = Lock(), 0
        self._kept: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._kept = warnings.catch_warnings()
                self._kept.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._within += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0 and self._kept is not None:
                self._kept.__exit__(None, None, None)


quiet = _Quiet()


def decode(source: Path | bytes, size: int, channels: int) -> Bytes:
    """One image as (size, size, channels) uint8, the same way in training, evaluation and prediction.

    EXIF orientation is applied, transparency laid over white, 16-bit values scaled to 8, the first frame
    taken; then the center square is cut out and resized to ``size`` (bilinear, antialiased). A JPEG at least
    twice as large as needed is decoded at 1/2, 1/4 or 1/8 of its size, which is quicker and as sharp.

    Raises:
        OSError: if the image is truncated or damaged.

    >>> import io; file = io.BytesIO(); Image.new("L", (9, 5), 7).save(file, "png")
    >>> decode(file.getvalue(), size=4, channels=3).shape
    (4, 4, 3)
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    with quiet:
        opened = Image.open(io.BytesIO(content))
        full = opened.size
        opened.draft(None, (size, size))  # JPEGs only; never smaller than asked
        if opened.size == full and _plain_jpeg(opened, content):
            pixels = _quickly(content, channels)
        else:
            opened.load()
            pixels = _converted(opened, channels)
    return pixels if pixels.shape[:2] == (size, size) else _fitted(pixels, size)


def pixels_of(picture: Bytes | Image.Image, size: int, channels: int) -> Bytes:
    """A picture in memory as :func:`decode` gives a file: (size, size, channels) uint8.

    Args:
        picture: uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or one of Pillow's images.
        size: side in pixels.
        channels: 1 or 3.

    Raises:
        UserError: if an array is of another type or shape.

    >>> pixels_of(np.zeros((5, 9), np.uint8), size=4, channels=3).shape
    (4, 4, 3)
    """
    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        if (
            array.dtype != np.uint8
            or array.ndim not in (2, 3)
            or array.shape[2:] not in ((), (1,), (3,), (4,))
        ):
            raise UserError(
                f"a picture as an array is uint8, (H, W) or (H, W, 3); got {array.dtype} {array.shape}"
            )
        picture = Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)
    with quiet:
        pixels = _converted(picture, channels)
    return pixels if pixels.shape[:2] == (size, size) else _fitted(pixels, size)


def whole(
    source: Path | Bytes | Image.Image, shorter: Callable[[int], int], channels: int
) -> tuple[Bytes, tuple[int, int]]:
    """A whole picture, uncut: prepared as by :func:`decode`, resized by its shorter side.

    Args:
        source: a file, or a picture in memory.
        shorter: gives the side to which the picture's own shorter side is brought, both in pixels.
        channels: 1 or 3.

    Returns:
        the pixels, (H, W, channels) uint8, and the picture's own height and width, upright.

    >>> pixels, own = whole(np.zeros((5, 9), np.uint8), lambda side: 2 * side, channels=3)
    >>> pixels.shape, own
    ((10, 18, 3), (5, 9))
    """
    with quiet:
        opened: Bytes | Image.Image = (
            Image.open(io.BytesIO(source.read_bytes())) if isinstance(source, Path) else source
        )
        picture = opened if isinstance(opened, Image.Image) else Image.fromarray(np.asarray(opened))
        pixels = _converted(picture, channels)
    full = pixels.shape[0], pixels.shape[1]
    own = min(full)
    wanted = shorter(own)
    if wanted == own:
        return pixels, full
    sides = [round(side * wanted / own) for side in full]
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    found = F.interpolate(planes, sides, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    return np.ascontiguousarray(found.numpy()), full


def _converted(image: Image.Image, channels: int) -> Bytes:
    """Upright, with 8 bits, in the channels asked for: (H, W, channels)."""
    image = _eight_bit(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
    return np.array(image).reshape(image.height, image.width, channels)


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip(wide // 257, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _plain_jpeg(opened: Image.Image, content: bytes) -> bool:
    """Whether torchvision reads this file as Pillow does: whole, of usual colors, upright.

    torchvision takes a truncated file for a whole one: what lacks its end is left to Pillow, which complains.
    """
    return (
        opened.format == "JPEG"
        and opened.mode in ("RGB", "L")
        and content.endswith(b"\xff\xd9")
        and ("exif" not in opened.info or opened.getexif().get(ExifTags.Base.Orientation, 1) == 1)
    )


def _quickly(content: bytes, channels: int) -> Bytes:
    """The same pixels as Pillow's, in three quarters of the time: torchvision makes no copy of them."""
    # Here: loading a model, and reading anything but JPEGs, need not wait a second for it.
    from torchvision.io import ImageReadMode, decode_jpeg

    mode = ImageReadMode.GRAY if channels == 1 else ImageReadMode.RGB
    planes = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode)
    return np.ascontiguousarray(planes.permute(1, 2, 0).numpy())


def _fitted(pixels: Bytes, size: int) -> Bytes:
    """The center square of (H, W, C), resized."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(pixels).unsqueeze(0)[:, top : top + side, left : left + side]
    return np.ascontiguousarray(sized(square, size)[0].numpy())


def sized(pixels: Tensor, size: int) -> Tensor:
    """Square images (N, S, S, C) uint8 at another size, bilinear and antialiased; on any device.

    >>> sized(torch.full((1, 4, 4, 3), 7, dtype=torch.uint8), 2).unique()
    tensor([7], dtype=torch.uint8)
    """
    if pixels.shape[1] == size:
        return pixels
    planes = pixels.permute(0, 3, 1, 2)
    if pixels.device.type == "cpu":
        found = F.interpolate(planes, (size, size), mode="bilinear", antialias=True)
    else:  # CUDA resizes floats only
        floats = F.interpolate(planes.float(), (size, size), mode="bilinear", antialias=True)
        found = floats.round().to(torch.uint8)
    return found.permute(0, 2, 3, 1)
