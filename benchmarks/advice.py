"""The advice against one fixed recipe: the same net, 30 epochs, batches of 128, whatever the data are like.

python benchmarks/advice.py CIFAR10_FOLDER MNIST_FOLDER --work WORK --jobs 2

Digits, MNIST and CIFAR-10 subsets: even, long-tailed, tiny, with wrong labels. A fifth of the training images
chooses the best epoch, 100 a class of the test split (digits: its own) are looked at once. Test images are
even, also where the training images are long-tailed. Three seeds, each with its own split, weights and draws.
What is done is kept in WORK, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import convsmith as cs
from record import keep

SEEDS = (0, 1, 2)
FIXED = [
    "model=resnet20",
    "data.batch_size=128",
    "data.augment={flip: {}, crop: {pad: 4}}",
    "data.sampler=shuffle",
    "objective={cross_entropy: {}, l2: {weight: 0.0005}}",
    "optimizer={sgd: {lr: 0.1}}",
    "schedule={cosine: {warmup: 1}}",
    "train.epochs=30",
]
# Training images of each class, in the order of the classes; and words for both contenders.
NOISE = "data.label_noise={type: symmetric, rate: 0.3}"
DATA: dict[str, tuple[str, list[int], list[str]]] = {
    "digits": ("digits", [], []),
    "MNIST": ("mnist", [60] * 10, []),
    "CIFAR-10, even": ("cifar", [50] * 10, []),
    "CIFAR-10, long-tailed": ("cifar", [round(100 / 33 ** (k / 9)) for k in range(10)], []),
    "CIFAR-10, tiny": ("cifar", [20] * 10, []),
    "CIFAR-10, 30% wrong labels": ("cifar", [50] * 10, [NOISE]),
}


def subset(source: Path, target: Path, counts: list[int]) -> Path:
    for label, count in zip(sorted(folder.name for folder in (source / "train").iterdir()), counts):
        for split, number in (("train", count), ("test", 100)):
            folder = target / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted((source / split / label).iterdir())[:number]:
                if not (folder / file.name).exists():
                    (folder / file.name).symlink_to(file.resolve())
    return target


def job(task: tuple[str, str, str, int, str]) -> None:
    name, contender, data, seed, work = task
    torch.set_num_threads(1)
    out = Path(work) / f"{name} {contender} {seed}"
    if out.with_suffix(".json").exists():
        return
    words = [*(FIXED if contender == "fixed" else []), *DATA[name][2], f"train.seed={seed}"]
    if contender == "fixed" and data == "digits":  # of 8 pixels: the same share
        words.append("data.augment={flip: {}, crop: {pad: 1}}")
    found = cs.train(data, out=out, set=words)
    out.with_suffix(".json").write_text(json.dumps(found))
    print(name, contender, seed, found["accuracy"], round(found["seconds"]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    sources = {"cifar": options.cifar, "mnist": options.mnist}
    tasks = []
    for seed in SEEDS:
        for name, (source, counts, _) in DATA.items():
            place = options.work / f"data {name}"
            data = "digits" if source == "digits" else str(subset(sources[source], place, counts))
            tasks += [(name, contender, data, seed, str(options.work)) for contender in ("fixed", "advice")]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        list(pool.map(job, tasks))
    rows: dict[str, Any] = {}
    for name in DATA:
        row: dict[str, Any] = {}
        for contender in ("fixed", "advice"):
            found = [
                json.loads((options.work / f"{name} {contender} {seed}.json").read_text()) for seed in SEEDS
            ]
            row[contender] = [figures["accuracy"] for figures in found]
            row[f"{contender}_seconds"] = sum(figures["seconds"] for figures in found)
        gains = [a - b for a, b in zip(row["advice"], row["fixed"])]
        row["gain"] = statistics.mean(gains)
        row["gain_spread"] = statistics.stdev(gains)
        rows[name] = row
    keep("advice", {"seeds": SEEDS, "fixed": FIXED, "data": rows})


if __name__ == "__main__":
    main()
