"""Every method for uneven classes against plain training: CIFAR-10 with an exponential imbalance of 100.

python benchmarks/imbalance.py CIFAR10_FOLDER --work WORK --jobs 2

All trainings take the same number of updates, of about the same number of images, with the same rates;
nothing is tuned for any of them. The training split (90% of train/, thinned by the recipe's
data.imbalance) is long-tailed, the 10,000 test images are even; test figures are those of the last
weights. Each seed changes the split, the images that are left, the weights, the order and the draws.
What is done is kept in WORK, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from convsmith import recipe as recipes
from convsmith.advice.choices import planned
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.inference.evaluation import Evaluation, evaluate_split
from convsmith.inference.predictor import Predictor
from convsmith.objectives.costs import class_ratio
from convsmith.training.assemble import assemble
from convsmith.training.loop import train_epoch
from record import keep

SEEDS = (0, 1, 2)
UPDATES = 2000
BASE = [
    "data.val=0.1",
    "data.imbalance={type: exp, ratio: 100}",
    "data.batch_size=64",
    "data.augment={flip: {}, crop: {pad: 4}}",
    "model.vgg11.width=16",
    "model.vgg11.hidden=128",
    "model.vgg11.dropout=none",
    "model.vgg11.norm=batch",
    "model.vgg11.init={he: {fan: in}}",
    "optimizer.sgd.lr=0.02",
    "schedule={cosine: {warmup: 0.05}}",
]
TERM = "objective.cross_entropy=null"
WEIGHTED = "objective.weighted_cross_entropy.class_weight"
# "WORK" stands for the seed's folder, where the plain net's confusion lies.
METHODS: dict[str, list[str]] = {
    "plain": [],
    "over-sampling": ["data.sampler=over_sampling"],
    "under-sampling by batch": ["data.sampler=under_sampling"],
    "over- and under-sampling": ["data.sampler=over_under_sampling"],
    "class-balanced sampling": ["data.sampler=class_balanced"],
    "label shuffling": ["data.sampler=label_shuffling"],
    "repeat factor": ["data.sampler=repeat_factor"],
    "weights, inverse": [TERM, f"{WEIGHTED}=inverse"],
    "weights, inverse root": [TERM, f"{WEIGHTED}={{inverse: {{power: 0.5}}}}"],
    "weights, effective number": [TERM, f"{WEIGHTED}={{effective_number: {{beta: 0.9999}}}}"],
    "weights, confusion of plain": [TERM, f"{WEIGHTED}={{confusion: {{run: WORK/confusion.csv}}}}"],
    "expected cost by class ratio": ["data.costs=class_ratio", "objective.expected_cost={}"],
    "expected cost, confusion of plain": [
        "data.costs.confusion.run=WORK/confusion.csv",
        "objective.expected_cost={}",
    ],
    "logit adjustment": [TERM, "objective.logit_adjustment={}"],
}
PUBLISHED = {
    "Cao et al. 2019 (LDAM), table 2, CIFAR-10, long-tailed, ratio 100, ResNet-32, validation error": {
        "ERM": 29.64,
        "focal": 29.62,
        "class-balanced re-sampling": 29.45,
        "class-balanced re-weighting": 27.63,
        "class-balanced focal": 25.43,
        "LDAM-DRW": 22.97,
    },
    "Menon et al. 2021 (logit adjustment), table 3, CIFAR-10-LT, ResNet-32, balanced error": {
        "ERM": 27.16,
        "logit adjustment after training (tau = 1)": 22.60,
        "logit adjusted loss (tau = 1)": 22.33,
    },
}


def prepared(data: Path, seed: int) -> tuple[recipes.Recipe, Dataset]:
    recipe = recipes.load(overrides=[*BASE, f"data.path={data}", f"train.seed={seed}"])
    return recipe, open_data(recipe.data, seed=seed)


def trained(words: list[str], data: Path, seed: int, dataset: Dataset) -> Predictor:
    """The last weights after UPDATES updates, whatever a sampler calls an epoch."""
    recipe = recipes.load(overrides=[*BASE, *words, f"data.path={data}", f"train.seed={seed}"])
    plan, _ = planned(recipe, dataset)
    costs = None
    if plan.data.costs is not None:
        from convsmith import catalog

        costs = catalog.build("cost", plan.data.costs, classes=dataset.classes, counts=dataset.class_counts())
    dataset = replace(dataset, costs=costs)
    state = assemble(plan, dataset, Fabric(accelerator="cpu", devices=1))
    state.epochs = round(UPDATES / len(state.train))
    for epoch in range(state.epochs):
        state.epoch, state.batch, state.sums = epoch, 0, {}
        train_epoch(state, lambda event: None)
    return Predictor.of(state.model, dataset.normalizer, dataset.signature)


def on_split(predictor: Predictor, dataset: Dataset, split: str) -> Evaluation:
    found = evaluate_split(predictor, dataset, split)
    assert isinstance(found, Evaluation)
    return found


def figures(found: Evaluation) -> dict[str, Any]:
    recalls = [row["recall"] for row in found.per_class().values()]
    return {
        "accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "macro_f1": found.macro_f1,
        "worst_class": min(recalls),
        "recalls": recalls,
    }


def one_seed(data: Path, work: Path, seed: int) -> None:
    torch.set_num_threads(1)
    folder = work / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _, dataset = prepared(data, seed)
    counts = dataset.class_counts()
    assert counts is not None
    (folder / "counts.json").write_text(json.dumps(counts.tolist()))
    for number, (name, words) in enumerate(METHODS.items()):
        file = folder / f"{number}.json"
        if file.exists():
            continue
        predictor = trained([word.replace("WORK", str(folder)) for word in words], data, seed, dataset)
        own = {name: figures(on_split(predictor, dataset, "test"))}
        if name == "plain":
            validated = on_split(predictor, dataset, "val")
            with open(folder / "confusion.csv", "w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(["true", *dataset.classes])
                writer.writerows([c, *row] for c, row in zip(dataset.classes, validated.confusion.tolist()))
            predictor.costs = class_ratio(dataset.classes, counts)
            own["plain, decisions of least cost by class ratio"] = figures(
                on_split(predictor, dataset, "test")
            )
        file.write_text(json.dumps(own))
        print(seed, {key: round(value["accuracy"], 4) for key, value in own.items()}, flush=True)


def report(work: Path) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in SEEDS:
        for number in range(len(METHODS)):
            for name, row in json.loads((work / str(seed) / f"{number}.json").read_text()).items():
                runs.setdefault(name, []).append(row)
    methods: dict[str, dict[str, Any]] = {}
    for name, rows in runs.items():
        methods[name] = {
            key: {
                "mean": statistics.mean(row[key] for row in rows),
                "deviation": statistics.stdev(row[key] for row in rows),
            }
            for key in ("accuracy", "balanced_accuracy", "macro_f1", "worst_class")
        }
        methods[name]["recalls"] = [statistics.mean(own) for own in zip(*(row["recalls"] for row in rows))]
    return {
        "base": BASE,
        "updates": UPDATES,
        "seeds": SEEDS,
        "train_images": json.loads((work / "0" / "counts.json").read_text()),
        "set": METHODS,
        "methods": methods,
        "published": PUBLISHED,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, help="only this one, and no report")
    options = parser.parse_args()
    if options.seed is not None:
        one_seed(options.data, options.work, options.seed)
        return
    waiting = list(SEEDS)
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < options.jobs:
            words = [sys.executable, *sys.argv, "--seed", str(waiting.pop(0))]
            running.append(subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}))
        running.pop(0).wait()
    keep("imbalance", report(options.work))


if __name__ == "__main__":
    main()
