"""Small public sets as photographs: enlarged, compressed and, where asked, uneven, mislabelled or grey.

Each set is a folder with train/, val/ and test/, drawn from CIFAR-10, MNIST, scikit-learn's digits, or the
cut-out photographs of the stamps of Tux Paint (Debian's package tuxpaint-stamps-default: its folder
usr/share/tuxpaint/stamps as SOURCES/stamps). A fifth of the drawn training images is val. Wrong labels are in
train alone.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from convsmith.data import builtin


@dataclass(frozen=True)
class Set:
    """One set: its source, images a class, side in pixels, and what is special.

    Args:
        source: ``cifar10``, ``mnist``, ``digits`` or ``stamps``.
        train: drawn images of a class, of which a fifth is val.
        test: images of a class.
        side: of the JPEGs, in pixels.
        tail: largest class over the smallest.
        noise: share of wrong labels in train.
        grey: saved in one channel.
    """

    source: str
    train: int
    test: int
    side: int = 96
    tail: float = 1.0
    noise: float = 0.0
    grey: bool = False


# Rules were frozen while only the first half had been looked at.
LOOKED_AT = {
    "cifar10, 10 a class": Set("cifar10", 10, 100),
    "cifar10, 50 a class": Set("cifar10", 50, 100),
    "mnist, 50 a class": Set("mnist", 50, 100),
    "digits, 50 a class": Set("digits", 50, 30),
}
HELD_BACK = {
    "cifar10, 500 a class": Set("cifar10", 500, 200),
    "cifar10, long tail": Set("cifar10", 300, 100, tail=50),
    "cifar10, 30% wrong labels": Set("cifar10", 200, 100, noise=0.3),
    "cifar10, 64 pixels": Set("cifar10", 100, 100, side=64),
    "mnist, grey, 64 pixels": Set("mnist", 200, 100, side=64, grey=True),
    "stamps, photographs": Set("stamps", 1000, 1000, side=224),
}
# Kinds of stamps and where they lie; what is drawn instead of photographed is left out.
STAMPS = {
    "bird": "animals/birds",
    "mammal": "animals/mammals",
    "fruit": "food/fruit",
    "vegetable": "food/vegetables",
    "flower": "plants/flowers",
    "household": "household",
    "vehicle": "vehicles",
    "clothes": "clothes",
}
SETS = {**LOOKED_AT, **HELD_BACK}


def made(name: str, sources: Path, work: Path) -> Path:
    """The folder of a set, made if it isn't there.

    Args:
        name: of :data:`SETS`.
        sources: folder with ``cifar10`` and ``mnist``, each with train/CLASS and test/CLASS.
        work: where the set's folder lies.
    """
    own = SETS[name]
    folder = work / "".join(letter if letter.isalnum() else "_" for letter in name)
    if folder.exists():
        return folder
    # Renamed once it is whole: a set whose making was interrupted would be taken for a smaller one.
    making = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(making, ignore_errors=True)
    source = builtin.folder("digits") if own.source == "digits" else sources / own.source
    drawn = _stamps(source) if own.source == "stamps" else _folders(source)
    classes = sorted(drawn["train"])
    draws = random.Random(0)
    for number, label in enumerate(classes):
        for split, count in (("train", own.train), ("test", own.test)):
            files = drawn[split][label]
            random.Random(f"{label} {split}").shuffle(files)
            if split == "train":
                count = max(5, round(count * own.tail ** (-number / (len(classes) - 1))))
            for place, file in enumerate(files[:count]):
                part = "val" if split == "train" and place % 5 == 4 else split
                wrong = part == "train" and draws.random() < own.noise
                given = draws.choice([other for other in classes if other != label]) if wrong else label
                target = making / part / given / f"{label}_{file.stem}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                image = _on_white(Image.open(file)).convert("L" if own.grey else "RGB")
                image.resize((own.side, own.side), Image.Resampling.BICUBIC).save(target, quality=92)
    making.rename(folder)
    return folder


def _folders(source: Path) -> dict[str, dict[str, list[Path]]]:
    """Files by split and class."""
    return {
        split: {place.name: sorted(place.iterdir()) for place in (source / split).iterdir()}
        for split in ("train", "test")
    }


def _stamps(source: Path) -> dict[str, dict[str, list[Path]]]:
    """Files by split and kind; a third is test."""
    found: dict[str, dict[str, list[Path]]] = {"train": {}, "test": {}}
    for label, place in STAMPS.items():
        files = [file for file in sorted((source / place).rglob("*.png")) if "cartoon" not in file.parts]
        random.Random(label).shuffle(files)
        found["test"][label], found["train"][label] = files[: len(files) // 3], files[len(files) // 3 :]
    return found


def _on_white(image: Image.Image) -> Image.Image:
    """The picture on white paper, where it was cut out."""
    if image.mode not in ("RGBA", "LA", "P"):
        return image
    cut = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", cut.size, "white"), cut)
