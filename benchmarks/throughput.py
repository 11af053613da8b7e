"""Training throughput on a JPEG folder, side by side in one process run: images/s of whole epochs.

    python benchmarks/throughput.py CIFAR10_FOLDER --out runs [--images 12800] [--rounds 2]

Every contender trains ResNet-20 (the same module) with SGD, momentum 0.9, Nesterov and weight decay on
the same images, in batches of 128, with pad-crop and flip, in float32 on all cores, and is timed over
whole epochs, the first with everything that it must do before it (scanning, decoding, starting workers).
Validation is left out everywhere. The limit is the bare step (forward, backward, update) on one fixed
batch, measured before and after each round. Peers run in their own default memory format (NCHW); so that
the format's share of the difference can be seen, the plain loop is measured in channels_last as well.

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

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from convsmith import catalog
from convsmith.recipe import load
from record import keep

BATCH = 128
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
TRANSFORM = T.Compose(
    [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
)


def net(channels_last: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = catalog.build("model", "resnet20")
    return model.to(memory_format=torch.channels_last) if channels_last else model


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Any, targets: Any) -> None:
    F.cross_entropy(model(images), targets).backward()
    optimizer.step()
    optimizer.zero_grad()


def limit(seconds: float = 8.0, channels_last: bool = True) -> float:
    """The bare step on one batch, in the faster memory format."""
    model = net(channels_last).train()
    optimizer = sgd(model)
    images, targets = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    for _ in range(3):
        step(model, optimizer, images, targets)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step(model, optimizer, images, targets)
        count += BATCH
    return count / (time.perf_counter() - started)


def plain(data: Path, epochs: int, workers: int, channels_last: bool = False) -> list[float]:
    started = time.perf_counter()
    dataset = ImageFolder(str(data / "train"), TRANSFORM)
    loader = DataLoader(
        dataset, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    model = net(channels_last).train()
    optimizer = sgd(model)
    rates = []
    for _ in range(epochs):
        for images, targets in loader:
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            step(model, optimizer, images, targets)
        rates.append(len(dataset) / (time.perf_counter() - started))
        started = time.perf_counter()
    return rates


def lightning(data: Path, epochs: int) -> list[float]:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Any, index: int) -> Any:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return sgd(self.net)

    class Clock(L.Callback):
        def __init__(self) -> None:
            self.started = time.perf_counter()
            self.rates: list[float] = []

        def on_train_epoch_end(self, *_: Any) -> None:
            self.rates.append(count / (time.perf_counter() - self.started))
            self.started = time.perf_counter()

    clock = Clock()
    dataset = ImageFolder(str(data / "train"), TRANSFORM)
    count = len(dataset)
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(Module(), loader)
    return clock.rates


def timm_loader(data: Path, epochs: int) -> list[float]:
    from timm.data import create_dataset, create_loader

    started = time.perf_counter()
    dataset = create_dataset("", root=str(data / "train"))
    loader = create_loader(
        dataset,
        input_size=(3, 32, 32),
        batch_size=BATCH,
        is_training=True,
        no_aug=False,
        hflip=0.5,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        train_crop_mode="rkrc",  # pad and crop, as everybody else here
        color_jitter=0.0,
        mean=MEAN,
        std=STD,
        num_workers=2,
        use_prefetcher=False,
        persistent_workers=True,
    )
    loader.dataset.transform = TRANSFORM
    model = net().train()
    optimizer = sgd(model)
    rates = []
    for _ in range(epochs):
        for images, targets in loader:
            step(model, optimizer, images, targets)
        rates.append(len(dataset) / (time.perf_counter() - started))
        started = time.perf_counter()
    return rates


def fastai(data: Path, epochs: int) -> list[float]:
    from fastai.vision.all import (
        Callback,
        CategoryBlock,
        DataBlock,
        Flip,
        ImageBlock,
        Learner,
        Normalize,
        OptimWrapper,
        PILImage,
        Transform,
        get_image_files,
        parent_label,
    )

    crop = T.RandomCrop(32, padding=4)

    class PadCrop(Transform):
        def encodes(self, thing: Any) -> Any:  # images and labels pass here
            return PILImage.create(crop(thing)) if isinstance(thing, PILImage) else thing

    class Clock(Callback):
        def before_train(self) -> None:
            if rates:
                began[0] = time.perf_counter()

        def after_train(self) -> None:
            rates.append(count / (time.perf_counter() - began[0]))

    rates: list[float] = []
    began = [time.perf_counter()]
    files = get_image_files(data / "train")
    count = len(files)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=lambda names: (list(range(len(names))), [0]),  # a learner wants something to validate
        item_tfms=[PadCrop()],
        batch_tfms=[Flip(), Normalize.from_stats(MEAN, STD)],
    )
    learner = Learner(
        block.dataloaders(files, bs=BATCH, num_workers=2),
        net(),
        loss_func=nn.CrossEntropyLoss(),
        opt_func=lambda groups, lr: OptimWrapper(
            groups, torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4
        ),
        cbs=[Clock()],
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, 0.1)
    return rates


def convsmith(data: Path, epochs: int, *words: str) -> list[float]:
    """Scan, decode and train as `convsmith train` does; validation and checkpoints left out as elsewhere."""
    from lightning_fabric import Fabric

    from convsmith.advice.choices import planned
    from convsmith.data.opened import open_data
    from convsmith.training.assemble import assemble
    from convsmith.training.loop import train_epoch

    started = time.perf_counter()
    overrides = [
        f"data.path={data}",
        "model=resnet20",
        "data.batch_size=128",
        f"train.epochs={epochs}",
        *words,
    ]
    recipe = load(overrides=overrides)
    dataset = open_data(recipe.data)
    plan, _ = planned(recipe, dataset)
    state = assemble(plan, dataset, Fabric(accelerator="cpu", devices=1))
    count = len(dataset.train)
    rates = []
    for epoch in range(epochs):
        state.epoch, state.batch, state.sums = epoch, 0, {}
        train_epoch(state, lambda event: None)
        rates.append(count / (time.perf_counter() - started))
        started = time.perf_counter()
    return rates


CONTENDERS: dict[str, Callable[[Path, int], list[float]]] = {
    "convsmith": convsmith,
    "convsmith, compiled": lambda data, epochs: convsmith(data, epochs, "train.compile=true"),
    "plain loop, 0 workers": lambda data, epochs: plain(data, epochs, 0),
    "plain loop, 2 workers": lambda data, epochs: plain(data, epochs, 2),
    "plain loop, 2 workers, channels_last": lambda data, epochs: plain(data, epochs, 2, True),
    "timm loader, 2 workers": timm_loader,
    "Lightning Trainer, 2 workers": lightning,
    "fastai, 2 workers": fastai,
}


def subset(data: Path, place: Path, images: int) -> Path:
    """Links to the first images of every class."""
    for split in ("train", "test"):
        classes = sorted(folder for folder in (data / split).iterdir() if folder.is_dir())
        for folder in classes:
            target = place / ("train" if split == "train" else "val") / folder.name
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(folder.iterdir())[: images // len(classes) if split == "train" else 1]:
                (target / file.name).symlink_to(file.resolve())
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="new folder for links to the images")
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    data = subset(options.data, options.out / "images", options.images)
    rows: dict[str, list[list[float]]] = {name: [] for name in CONTENDERS}
    limits: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    slow_limits = []
    for number in range(options.rounds):
        slow_limits.append(limit(channels_last=False))
        # The other way round the second time: machines warm up and slow down.
        for name in list(CONTENDERS)[:: 1 if number % 2 == 0 else -1]:
            before = limit()
            rows[name].append(CONTENDERS[name](data, options.epochs))
            limits[name].append((before + limit()) / 2)
            gc.collect()
            print(f"{name}: {[round(r) for r in rows[name][-1]]} (limit {limits[name][-1]:.0f})", flush=True)
    keep("throughput", report(options, rows, limits, slow_limits))


def report(
    options: argparse.Namespace,
    rows: dict[str, list[list[float]]],
    limits: dict[str, list[float]],
    slow_limits: list[float],
) -> dict[str, Any]:
    """Medians over rounds; each rate also as a share of the limit measured around it."""
    contenders: dict[str, dict[str, Any]] = {}
    for name, runs in rows.items():
        whole = [len(run) / sum(1 / rate for rate in run) for run in runs]
        later = [statistics.mean(run[1:]) for run in runs]
        contenders[name] = {
            "images_per_second": [[round(rate, 1) for rate in run] for run in runs],
            "limit_around_it": [round(value, 1) for value in limits[name]],
            "share_of_limit_later_epochs": statistics.median(a / b for a, b in zip(later, limits[name])),
            "share_of_limit_whole": statistics.median(a / b for a, b in zip(whole, limits[name])),
        }
    peers = {name: row for name, row in contenders.items() if not name.startswith("convsmith")}
    defaults = {name: row for name, row in peers.items() if "channels_last" not in name}
    best = max(defaults, key=lambda name: defaults[name]["share_of_limit_whole"])
    own = contenders["convsmith"]["share_of_limit_whole"]
    return {
        "images": options.images,
        "epochs": options.epochs,
        "rounds": options.rounds,
        "batch_size": BATCH,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "limit_channels_last": statistics.median(v for values in limits.values() for v in values),
        "limit_nchw": statistics.median(slow_limits),
        "best_peer": best,
        "ratio_to_best_peer_first_epoch_included": own / peers[best]["share_of_limit_whole"],
        "ratio_to_channels_last_loop_first_epoch_included": own
        / peers["plain loop, 2 workers, channels_last"]["share_of_limit_whole"],
        "contenders": contenders,
    }


if __name__ == "__main__":
    main()
