"""The classifier alone on cached features, against the loop of timm's users: a frozen net, run every epoch.

python benchmarks/finetune_speed.py WEIGHTS CIFAR10_FOLDER --work WORK [--seeds 3] [--large]

EfficientNet-Lite0 at 96 pixels, CIFAR-10 with 50 (``--large``: also 500) images a class, 20 epochs. Seconds
are of everything from the files to the last validation (20 images a class), the two side by side in one
process; test accuracy is of 200 images a class, not timed. Each augments as it does by default: convsmith's
classifier learns from the plain images (and, with 4 views, also from mirrored and shifted ones), timm's
loader cuts and resizes boxes of 80 to 100% of the area. timm's rate is the best of 0.1, 0.03, 0.01, 0.003
and 0.001 by validation accuracy with seed 0; convsmith's is what it chooses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.seed import seed_everything

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.run.directory import RunDirectory
from convsmith.training.session import train_into
from finetune import NET, SIZE, subset, weights
from record import keep

EPOCHS = 20
RATE = 0.1


def ours(data: Path, test: Path, source: Path, work: Path, views: int, seed: int) -> dict[str, float]:
    recipe = recipes.load(
        None,
        [
            f"model={NET}",
            f"data.size={SIZE}",
            f"train.epochs={EPOCHS}",
            f"train.seed={seed}",
            "data.batch_size=32",
            f"train.finetune.head.views={views}",
        ],
    )
    recipe = recipe.changed({"data.path": str(data), "train.start_from": str(source)})
    run = RunDirectory(work / f"speed {data.name} {views} {seed} {time.time():.0f}")
    seed_everything(seed, verbose=False)
    start = time.perf_counter()
    run.open_new()
    state = train_into(run, recipe).state
    seconds = time.perf_counter() - start
    run.unlock()
    assert state.best is not None
    tested: Any = cs.evaluate(run.path, test)
    return {
        "seconds": seconds,
        "val_accuracy": state.best["val_accuracy"],
        "accuracy": tested.accuracy,
        "epoch_seconds": statistics.mean(row["seconds"] for row in state.history),
    }


def timms(data: Path, test: Path, source: Path, seed: int, rate: float = RATE) -> dict[str, float]:
    """All but the classifier frozen, timm's loader and transforms, a plain loop, the best epoch kept."""
    import timm
    from safetensors.torch import load_file
    from timm.data import create_dataset, create_loader

    start = time.perf_counter()
    torch.manual_seed(seed)
    net = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    state = {k: v for k, v in load_file(source).items() if not k.startswith("classifier")}
    net.load_state_dict(state, strict=False)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    classifier = net.get_classifier()
    for parameter in classifier.parameters():
        parameter.requires_grad_(True)
    common = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "use_prefetcher": False, "num_workers": 2}
    feeds = {
        split: create_loader(
            create_dataset("", root=str(test if split == "test" else data / split)),
            (3, SIZE, SIZE),
            batch_size=32 if split == "train" else 64,
            is_training=split == "train",
            scale=(0.8, 1.0),
            persistent_workers=split != "test",
            **common,
        )
        for split in ("train", "val", "test")
    }

    @torch.inference_mode()
    def accuracy(split: str) -> float:
        net.eval()
        right = [net(images).argmax(1) == targets for images, targets in feeds[split]]
        return float(torch.cat(right).float().mean())

    optimizer = torch.optim.SGD(classifier.parameters(), lr=rate, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    best, kept = -1.0, {}
    for _ in range(EPOCHS):
        net.eval()  # frozen statistics too
        for images, targets in feeds["train"]:
            loss = torch.nn.functional.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        found = accuracy("val")
        if found > best:
            best, kept = found, {key: value.clone() for key, value in classifier.state_dict().items()}
    seconds = time.perf_counter() - start
    classifier.load_state_dict(kept)
    return {"seconds": seconds, "val_accuracy": best, "accuracy": accuracy("test")}


def compare(data: Path, test: Path, source: Path, work: Path, seeds: int) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for seed in range(seeds):
        contenders = {
            "convsmith": partial(ours, data, test, source, work, 1, seed),
            "convsmith, 4 views": partial(ours, data, test, source, work, 4, seed),
            "timm, frozen net": partial(timms, data, test, source, seed),
        }
        for label, contender in contenders.items():
            found = contender()
            print(data.name, seed, label, found, flush=True)
            for key, value in found.items():
                rows.setdefault(label, {}).setdefault(key, []).append(value)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    source = weights(options.weights, options.work)
    rows = {}
    # Apart, so that nobody's seconds are those of reading the test images.
    test = subset(options.cifar, options.work / "tested", 1, tested=200) / "test"
    for each in (50, 500) if options.large else (50,):
        data = subset(options.cifar, options.work / f"speed{each}", each, tested=0)
        rows[str(each)] = compare(data, test, source, options.work, options.seeds if each == 50 else 1)
    keep("finetune_speed", {"seeds": options.seeds, "size": SIZE, "epochs": EPOCHS, "rows": rows})


if __name__ == "__main__":
    main()
