"""From a folder of JPEGs to normalized batches at 224 pixels: the first epoch, and those that follow.

python benchmarks/photos.py --work WORK

Area crop and flip, batch 32, images a second from nothing (scanning, starting workers, decoding). The JPEGs
are made of scikit-learn's two sample photographs: random parts of them, quality 90; 1,000 of 500 x 375
pixels, as ImageNet's usual ones, and 200 of 2000 x 1500, nearer to a camera's. convsmith decodes every
image once, into memory, those that are large enough at half their size or less; the others decode in every
epoch.

Needs: pip install 'convsmith[benchmarks]'.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from convsmith.data.augment import Augment, build
from convsmith.data.batches import Batches
from convsmith.data.opened import open_data
from convsmith.data.shuffle import Shuffle
from convsmith.recipe import load
from record import keep

SIDE, BATCH = 224, 32
SETS = {"500 x 375": ((500, 375), 1000), "2000 x 1500": ((2000, 1500), 200)}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photographs(place: Path, size: tuple[int, int], count: int, classes: int = 10) -> Path:
    """JPEGs with a photograph's statistics."""
    from sklearn.datasets import load_sample_images

    draws = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(count):
        target = place / "train" / f"class{number % classes}" / f"{number:04d}.jpg"
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        source = sources[number % len(sources)]
        height = int(draws.uniform(0.5, 1.0) * source.height)
        width = min(source.width, height * 4 // 3)
        left, top = draws.integers(0, (source.width - width + 1, source.height - height + 1)).tolist()
        part = source.crop((left, top, left + width, top + height)).resize(size)
        part.save(target, quality=90)
    for label in range(classes):
        source_file = place / "train" / f"class{label}" / f"{label:04d}.jpg"
        target = place / "val" / f"class{label}" / "0.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source_file.read_bytes())
    return place


def timed(epochs: int, batches: Callable[[], Any], count: int, started: float) -> list[float]:
    rates = []
    for _ in range(epochs):
        seen = sum(len(images) for images in batches())
        assert seen == count
        rates.append(count / (time.perf_counter() - started))
        started = time.perf_counter()
    return rates


def read_tensor(path: str) -> torch.Tensor:
    return decode_image(path, ImageReadMode.RGB)


def torchvision_loader(data: Path, epochs: int, tensors: bool) -> list[float]:
    started = time.perf_counter()
    transform = v2.Compose(
        [
            *([] if tensors else [v2.ToImage()]),
            v2.RandomResizedCrop(SIDE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    options: dict[str, Any] = {"loader": read_tensor} if tensors else {}
    dataset = ImageFolder(str(data / "train"), transform, **options)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    return timed(epochs, lambda: (images for images, _ in loader), len(dataset), started)


def torchvision_pil(data: Path, epochs: int) -> list[float]:
    """Cut and resize in PIL, before the tensor is made: the recipe of torchvision's references."""
    started = time.perf_counter()
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    dataset = ImageFolder(str(data / "train"), transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    return timed(epochs, lambda: (images for images, _ in loader), len(dataset), started)


def timm_loader(data: Path, epochs: int) -> list[float]:
    from timm.data import create_dataset, create_loader

    started = time.perf_counter()
    dataset = create_dataset("", root=str(data / "train"))
    loader = create_loader(
        dataset,
        input_size=(3, SIDE, SIDE),
        batch_size=BATCH,
        is_training=True,
        color_jitter=0.0,
        interpolation="bilinear",
        num_workers=2,
        use_prefetcher=False,
        persistent_workers=True,
    )
    # timm leaves the last, smaller batch out
    count = len(loader) * BATCH
    return timed(epochs, lambda: (images for images, _ in loader), count, started)


def convsmith(data: Path, epochs: int) -> list[float]:
    started = time.perf_counter()
    dataset = open_data(load(overrides=[f"data.path={data}", f"data.size={SIDE}"]).data)
    train = dataset.train
    batches = Batches(
        train,
        dataset.normalizer,
        batch_size=BATCH,
        device=torch.device("cpu"),
        sampler=Shuffle(train.targets, seed=0),
        augment=Augment(build({"area_crop": {}, "flip": {}}, **dataset.facts())),
    )
    numbers = iter(range(epochs))
    return timed(
        epochs, lambda: (batch.images for batch in batches.epoch(next(numbers))), len(train), started
    )


CONTENDERS: dict[str, Callable[[Path, int], list[float]]] = {
    "convsmith": convsmith,
    "ImageFolder, v2 on PIL, 2 workers": torchvision_pil,
    "ImageFolder, v2 on tensors, 2 workers": lambda data, epochs: torchvision_loader(data, epochs, False),
    "torchvision.io, v2 on tensors, 2 workers": lambda data, epochs: torchvision_loader(data, epochs, True),
    "timm's loader, 2 workers": timm_loader,
}


def measured(data: Path, rounds: int, epochs: int) -> dict[str, Any]:
    rates: dict[str, list[list[float]]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        for name in list(CONTENDERS)[:: 1 if number % 2 == 0 else -1]:
            rates[name].append(CONTENDERS[name](data, epochs))
            gc.collect()
            print(f"{name}: {[round(own) for own in rates[name][-1]]} images/s", flush=True)
    first = {name: statistics.median(run[0] for run in runs) for name, runs in rates.items()}
    later = {name: statistics.median(statistics.mean(r[1:]) for r in runs) for name, runs in rates.items()}
    peers = [name for name in rates if name != "convsmith"]
    return {
        "images_per_second": rates,
        "best_in_the_first_epoch": max(peers, key=lambda name: first[name]),
        "first_epoch_ratio_to_best": first["convsmith"] / max(first[name] for name in peers),
        "later_epochs_ratio_to_best": later["convsmith"] / max(later[name] for name in peers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    sets = {}
    for name, (size, count) in SETS.items():
        data = photographs(options.work / name.replace(" ", ""), size, count)
        sets[name] = {"images": count, **measured(data, options.rounds, options.epochs)}
    report = {"rounds": options.rounds, "epochs": options.epochs, "batch": BATCH, "side": SIDE, "sets": sets}
    keep("photos", {**report, "cores": os.cpu_count()})


if __name__ == "__main__":
    main()
