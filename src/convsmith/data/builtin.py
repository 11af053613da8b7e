"""Data sets by name, as image folders in a cache: scikit-learn's digits, and torchvision's downloads."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

from convsmith.errors import UserError

# A picture, its class and its split.
Labelled = tuple[str, str, Any]
# torchvision's sets that give a picture and its class, and download by themselves.
_DOWNLOADS = {
    name.lower(): name
    for name in (
        "Caltech101",
        "Caltech256",
        "CIFAR10",
        "CIFAR100",
        "Country211",
        "DTD",
        "EuroSAT",
        "FashionMNIST",
        "FGVCAircraft",
        "Flowers102",
        "Food101",
        "GTSRB",
        "Imagenette",
        "KMNIST",
        "MNIST",
        "OxfordIIITPet",
        "PCAM",
        "RenderedSST2",
        "SEMEION",
        "STL10",
        "SUN397",
        "SVHN",
        "USPS",
    )
}


def cache_folder() -> Path:
    """Where downloads and decoded pixels are kept: ``$CONVSMITH_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("CONVSMITH_CACHE") or platformdirs.user_cache_dir("convsmith"))


def is_builtin(name: str) -> bool:
    """Whether ``name`` is a data set that :func:`folder` can make; case and hyphens don't matter.

    >>> is_builtin("digits"), is_builtin("fashion-mnist"), is_builtin("photos")
    (True, True, False)
    """
    return _plain(name) in names()


def names() -> list[str]:
    """All built-in data sets."""
    return ["digits", *_DOWNLOADS]


def folder(name: str) -> Path:
    """The image folder of a built-in data set, made on first use; safe against concurrent runs.

    ``digits`` are the 1,797 real handwritten digits (8x8) that ship with scikit-learn, split 80/20
    into train and test, stratified; they need no network. Other names are torchvision's
    (``cifar10``, ``fashion-mnist``, ...), with torchvision's own splits where it has any.

    Raises:
        UserError: if the data set isn't there yet and cannot be downloaded.
    """
    target = cache_folder() / "datasets" / _plain(name)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_dir():
            return target
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            _write(
                _digits() if _plain(name) == "digits" else _download(name, target.parent / "downloads"),
                partial,
            )
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _write(pictures: Iterable[Labelled], root: Path) -> None:
    counts: dict[tuple[str, str], int] = {}
    for split, label, picture in pictures:
        number = counts[split, label] = counts.get((split, label), -1) + 1
        place = root / split / label.replace("/", "-")
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number:05d}.png")


def _digits() -> Iterator[Labelled]:
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, test = train_test_split(range(1797), test_size=0.2, stratify=digits.target, random_state=0)
    for split, rows in (("train", train), ("test", test)):
        for row in sorted(rows):
            # Values run from 0 to 16.
            pixels = (digits.images[row] * 255 / 16).round().astype("uint8")
            yield split, str(digits.target[row]), Image.fromarray(pixels)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _download(name: str, place: Path) -> Iterator[Labelled]:
    """The pictures of a torchvision set; those without splits of their own come with split ""."""
    from torchvision import datasets

    make = getattr(datasets, _DOWNLOADS[_plain(name)])
    arguments = inspect.signature(make.__init__).parameters
    options: list[tuple[str, dict[str, Any]]] = [("", {})]
    if "train" in arguments:
        options = [("train", {"train": True}), ("test", {"train": False})]
    elif "split" in arguments:
        options = [(split, {"split": split}) for split in ("train", "val", "valid", "test")]
    for split, option in options:
        try:
            dataset = make(str(place), download=True, **option)
        except ValueError:  # torchvision's answer to a split that this set doesn't have
            continue
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"the data set {name!r} is not in the cache and cannot be downloaded "
                f"({str(error).splitlines()[0][:80]}); connect to the network, or give a folder of images"
            ) from None
        classes = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
        for picture, target in dataset:
            label = classes[target] if classes else target
            yield split, str(label[0] if isinstance(label, tuple) else label), picture
