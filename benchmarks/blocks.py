"""What each building block does to accuracy and to the time of a step, one at a time, on real images.

Three parts, each kept when done, so that an interrupted run goes on:

python benchmarks/blocks.py accuracy --mnist MNIST_FOLDER --cifar10 CIFAR10_FOLDER --work WORK --jobs 2
python benchmarks/blocks.py steps --mnist MNIST_FOLDER --cifar10 CIFAR10_FOLDER --work WORK   # alone
python benchmarks/blocks.py layers --work WORK                                               # alone

``--quick`` is a rehearsal in a minute: one seed, one epoch, few images, one variant of each kind; it keeps
no figures.

Every variant differs from its net's base in one thing; nothing is tuned for it. Test accuracy is that of the
last epoch of a fixed schedule, with three seeds, which change weights, order and draws.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from convsmith import recipe as recipes
from convsmith.advice.choices import planned
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.errors import UserError
from convsmith.nn.normalization import L2Norm, LocalResponseNorm, feature_norm
from convsmith.nn.p_norm_pooling import PNormPool2d
from convsmith.nn.stochastic_pooling import StochasticPool2d
from convsmith.training.assemble import assemble
from convsmith.training.loop import Fit, fit
from record import keep

QUICK = False
SEEDS: tuple[int, ...] = (0, 1, 2)
TRAIN, VAL = 1000, 100  # images of each class
NETS = {"mnist": "lenet5", "cifar10": "vgg11"}
BASE = {
    "mnist": [
        "model.lenet5.init={he: {fan: in}}",
        "optimizer.sgd.lr=0.01",
        "train.epochs=4",
        "data.augment={}",
    ],
    "cifar10": [
        "model.vgg11.width=16",
        "model.vgg11.hidden=128",
        "model.vgg11.dropout=none",
        "model.vgg11.init={he: {fan: in}}",
        "optimizer.sgd.lr=0.02",
        "train.epochs=8",
        "data.augment={flip: {}, crop: {pad: 4}}",
    ],
}
COMMON = ["objective.l2=null", "data.batch_size=64", "schedule={cosine: {warmup: 0.5}}"]
# kind of block -> name shown -> what is set; NET stands for the net's name.
VARIANTS: dict[str, dict[str, list[str]]] = {
    "base": {"ReLU, max, He (fan in), cross-entropy": []},
    "activation": {
        "leaky ReLU 0.01": ["model.NET.activation=leaky_relu"],
        "PReLU": ["model.NET.activation=prelu"],
        "PReLU per channel": ["model.NET.activation={prelu: {per_channel: true}}"],
        "randomized ReLU": ["model.NET.activation=rrelu"],
        "ELU": ["model.NET.activation=elu"],
        "tanh": ["model.NET.activation=tanh"],
        "sigmoid": ["model.NET.activation=sigmoid"],
    },
    "pooling": {
        "average": ["model.NET.pooling=average"],
        "stochastic": ["model.NET.pooling=stochastic"],
        "p-norm, p = 2": ["model.NET.pooling={p_norm: {p: 2}}"],
        "p-norm, p = 4": ["model.NET.pooling={p_norm: {p: 4}}"],
        "p-norm, learned": ["model.NET.pooling={p_norm: {p: 3, learn: true}}"],
        "strided convolution": ["model.NET.pooling=strided_convolution"],
    },
    "initialization": {
        "He, fan out": ["model.NET.init=he"],
        "Xavier": ["model.NET.init=xavier"],
        "Xavier, fan in": ["model.NET.init={xavier: {fan: in}}"],
        "Gaussian 0.01": ["model.NET.init=gaussian"],
        "uniform 0.05": ["model.NET.init=uniform"],
        "pattern filters": ["model.NET.init=patterns"],
    },
    "objective": {
        "label smoothing 0.1": ["objective.cross_entropy.smoothing=0.1"],
        "hinge": ["objective.cross_entropy=null", "objective.hinge={}"],
        "hinge, squared": ["objective.cross_entropy=null", "objective.hinge.squared=true"],
        "ramp": ["objective.cross_entropy=null", "objective.ramp={}"],
        "large margin, m = 2": [
            "objective.cross_entropy=null",
            "objective.large_margin={m: 2, decay: 0.001}",
        ],
        "large margin, m = 4": [
            "objective.cross_entropy=null",
            "objective.large_margin={m: 4, decay: 0.001}",
        ],
        "center 0.003": ["objective.center={}"],
    },
    "regularization": {
        "L2 0.0005": ["objective.l2.weight=0.0005"],
        "L1 0.00001": ["objective.l1.weight=0.00001"],
        "elastic net": ["objective.elastic_net={l1: 0.00001, l2: 0.0005}"],
        "max-norm 3": ["objective.max_norm.limit=3"],
        "max-norm 1": ["objective.max_norm.limit=1"],
        "classifier noise 0.5": ["objective.classifier_noise.ratio=0.5"],
        "dropout 0.5": ["model.NET.dropout=inverted"],
        "classic dropout 0.5": ["model.NET.dropout=classic"],
    },
    "normalization": {
        "batch": ["model.NET.norm=batch"],
        "group": ["model.NET.norm=group"],
        "layer": ["model.NET.norm=layer"],
        "instance": ["model.NET.norm=instance"],
        "local response": ["model.NET.norm=local_response"],
        "L2": ["model.NET.norm=l2"],
        "feature normalization": ["model.NET.neck=feature_norm"],
    },
}


def table(folder: Path, work: Path, name: str) -> Path:
    """A CSV of 1,000 training and 100 validation images a class, and all test images."""
    file = work / f"{name}.csv"
    if file.exists():
        return file
    rows = []
    for label in sorted(path.name for path in (folder / "train").iterdir()):
        images = sorted((folder / "train" / label).iterdir())[: TRAIN + VAL]
        rows += [(image, label, "train" if n < TRAIN else "val") for n, image in enumerate(images)]
        rows += [(image, label, "test") for image in sorted((folder / "test" / label).iterdir())]
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        writer.writerows(rows)
    return file


def plan(data: str, changes: list[str], seed: int, path: Path) -> recipes.Recipe:
    words = [f"model={NETS[data]}", f"data.path={path}", "train.device=cpu", "train.precision=32-true"]
    own = [change.replace("NET", NETS[data]) for change in changes]
    return recipes.load(overrides=[*words, *COMMON, *BASE[data], *own, f"train.seed={seed}"])


def start(recipe: recipes.Recipe, dataset: Dataset) -> Fit:
    complete, _ = planned(recipe, dataset)
    return assemble(complete, dataset, Fabric(accelerator="cpu", devices=1))


@torch.inference_mode()
def accuracy(model: nn.Module, dataset: Dataset, split: str) -> float:
    rows = dataset.split(split)
    assert rows is not None
    model.eval()
    right = 0
    parts = torch.split(torch.arange(len(rows)), 500)
    streams = rows.store.stream([rows.rows[part] for part in parts])
    for part, pixels in zip(parts, streams):
        images = dataset.normalizer(pixels).contiguous(memory_format=torch.channels_last)
        right += int((model(images).argmax(1) == rows.targets[part]).sum())
    return right / len(rows)


def jobs() -> Iterator[tuple[str, str, str, int]]:
    for seed in SEEDS:
        for data in NETS:
            for kind, variants in VARIANTS.items():
                for name in variants:
                    yield data, kind, name, seed


def work_off(options: argparse.Namespace) -> None:
    """This process's share of the trainings, one line of JSON each."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.jobs))
    datasets: dict[str, tuple[Path, Dataset]] = {}
    log = options.work / f"accuracy.{options.job}.jsonl"
    for number, (data, kind, name, seed) in enumerate(jobs()):
        key = [data, kind, name, seed]
        if number % options.jobs != options.job or key in [row["key"] for row in lines(options.work)]:
            continue
        if data not in datasets:
            path = table(getattr(options, data), options.work, data)
            datasets[data] = path, open_data(recipes.Data(path=str(path)))
        path, dataset = datasets[data]
        state = start(plan(data, VARIANTS[kind][name], seed, path), dataset)
        row: dict[str, Any] = {"key": key}
        try:
            fit(state)
            row["test"] = accuracy(state.model, dataset, "test")
            row["val"] = state.history[-1]["val_accuracy"]
            row["train"] = state.history[-1]["train_accuracy"]
        except UserError as error:  # the loss exploded
            row.update(test=0.1, val=0.1, train=0.1, failed=str(error).partition(":")[0])
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(key, row["test"], flush=True)


def lines(work: Path) -> list[dict[str, Any]]:
    files = sorted(work.glob("accuracy.*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def measure_accuracy(options: argparse.Namespace) -> None:
    for data in NETS:
        table(getattr(options, data), options.work, data)
    words = [sys.executable, *sys.argv]
    processes = [
        subprocess.Popen([*words, "--job", str(job)], env={**os.environ, "OMP_NUM_THREADS": "1"})
        for job in range(options.jobs)
    ]
    if any(process.wait() for process in processes):
        raise SystemExit("a job failed; run the same command again")
    rows = lines(options.work)
    found: dict[str, Any] = {}
    for data in NETS:
        found[data] = {}
        for kind, variants in VARIANTS.items():
            for name in variants:
                own = [row for row in rows if row["key"][:3] == [data, kind, name]]
                found[data].setdefault(kind, {})[name] = {
                    "test": [row["test"] for row in own],
                    "val": [row["val"] for row in own],
                    "train": [row["train"] for row in own],
                    "failed": [row["failed"] for row in own if "failed" in row],
                    "set": [change.replace("NET", NETS[data]) for change in variants[name]],
                }
    keep_part("accuracy", {"base": BASE, "common": COMMON, "images_a_class": TRAIN, "seeds": SEEDS, **found})


def measure_steps(options: argparse.Namespace, rounds: int = 3, steps: int = 8) -> None:
    """Milliseconds of a training step of each variant, and its ratio to the base in the same round."""
    found: dict[str, Any] = {}
    for data in NETS:
        path = table(getattr(options, data), options.work, data)
        dataset = open_data(recipes.Data(path=str(path)))
        states = {
            (kind, name): start(plan(data, changes, 0, path), dataset)
            for kind, variants in VARIANTS.items()
            for name, changes in variants.items()
        }
        batch = next(iter(next(iter(states.values())).train.epoch(0)))
        times: dict[tuple[str, str], list[float]] = {key: [] for key in states}
        for number in range(rounds + 1):
            for key, state in states.items():
                seconds = step_time(state, batch.images, batch.targets, steps)
                if number:  # the first round warms up
                    times[key].append(seconds)
        base = times["base", next(iter(VARIANTS["base"]))]
        found[data] = {}
        for (kind, name), own in times.items():
            ratios = [a / b for a, b in zip(own, base)]
            found[data].setdefault(kind, {})[name] = {
                "milliseconds": 1000 * statistics.median(own),
                "ratio": statistics.median(ratios),
                "ratios": ratios,
            }
    keep_part("steps", {"rounds": rounds, "steps": steps, **found})


def step_time(state: Fit, images: Tensor, targets: Tensor, steps: int) -> float:
    state.task.train()
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        terms, _ = state.wrapped(images, targets)
        state.fabric.backward(torch.stack(list(terms.values())).sum())
        state.optimizer.step()
        state.optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


# ours, the nearest built-in, and what the built-in doesn't do
RIVALS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    "p-norm pooling, p = 2, against LPPool2d": (
        lambda: PNormPool2d(2, p=2.0),
        lambda: nn.LPPool2d(2.0, 2),
        (64, 64, 32, 32),
    ),
    "p-norm pooling, p = 3, against LPPool2d": (
        lambda: PNormPool2d(2, p=3.0),
        lambda: nn.LPPool2d(3.0, 2),
        (64, 64, 32, 32),
    ),
    "p-norm pooling, p = 3, windows of 3, against LPPool2d": (
        lambda: PNormPool2d(3, 2, p=3.0),
        lambda: nn.LPPool2d(3.0, 3, 2),
        (64, 64, 32, 32),
    ),
    "p-norm pooling, learned p, against LPPool2d": (
        lambda: PNormPool2d(2, p=3.0, learn=True),
        lambda: nn.LPPool2d(3.0, 2),
        (64, 64, 32, 32),
    ),
    "stochastic pooling, training, against MaxPool2d": (
        lambda: StochasticPool2d(2),
        lambda: nn.MaxPool2d(2),
        (64, 64, 32, 32),
    ),
    "stochastic pooling, training, against FractionalMaxPool2d": (
        lambda: StochasticPool2d(2),
        lambda: nn.FractionalMaxPool2d(2, output_ratio=0.5),
        (64, 64, 32, 32),
    ),
    "stochastic pooling, test, against MaxPool2d": (
        lambda: StochasticPool2d(2).eval(),
        lambda: nn.MaxPool2d(2).eval(),
        (64, 64, 32, 32),
    ),
    "local response normalization against LocalResponseNorm": (
        lambda: LocalResponseNorm(96),
        lambda: nn.LocalResponseNorm(5),
        (64, 96, 27, 27),
    ),
    "L2 normalization against BatchNorm2d": (
        lambda: L2Norm(64),
        lambda: nn.BatchNorm2d(64),
        (64, 64, 32, 32),
    ),
    "feature normalization against BatchNorm1d": (
        lambda: feature_norm(512),
        lambda: nn.BatchNorm1d(512),
        (128, 512),
    ),
}


def measure_layers(options: argparse.Namespace, rounds: int = 7) -> None:
    """Forward and backward in channels_last; in test mode, forward alone."""
    found = {}
    for name, (ours, built_in, shape) in RIVALS.items():
        layers = {"ours": ours(), "built_in": built_in()}
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).abs()
        x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
        times: dict[str, list[float]] = {key: [] for key in layers}
        for number in range(rounds + 2):
            for key, layer in layers.items():
                seconds = layer_time(layer, x)
                if number > 1:
                    times[key].append(seconds)
        middle = {key: 1000 * statistics.median(own) for key, own in times.items()}
        found[name] = {
            **{f"{key}_milliseconds": value for key, value in middle.items()},
            "ratio": statistics.median(a / b for a, b in zip(times["ours"], times["built_in"])),
            "shape": shape,
        }
    keep_part("layers", {"rounds": rounds, "layers": found})


def layer_time(layer: nn.Module, x: Tensor, repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        own = x.detach().requires_grad_(layer.training)
        begin = time.perf_counter()
        with torch.set_grad_enabled(layer.training):
            y = layer(own)
            if layer.training:
                y.backward(torch.ones_like(y))
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def keep_part(name: str, figures: dict[str, Any]) -> None:
    if QUICK:
        print(json.dumps(figures, indent=1))
    else:
        keep(f"blocks_{name}", figures)


def rehearse() -> None:
    """Shrink the benchmark to a minute's work, whose figures mean nothing."""
    global QUICK, SEEDS, TRAIN, VAL
    QUICK, SEEDS, TRAIN, VAL = True, (0,), 20, 5
    COMMON.append("train.epochs=1")
    for variants in VARIANTS.values():
        for name in list(variants)[1:]:
            del variants[name]
    for words in BASE.values():
        words[:] = [word for word in words if not word.startswith("train.epochs=")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=["accuracy", "steps", "layers"])
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done so far")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the trainings")
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a rehearsal; keeps no figures")
    options = parser.parse_args()
    if options.quick:
        rehearse()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.part == "accuracy":
        measure_accuracy(options) if options.job is None else work_off(options)
    else:
        measure = {"steps": measure_steps, "layers": measure_layers}[options.part]
        measure(options, **({"rounds": 1} if QUICK else {}))


if __name__ == "__main__":
    main()
