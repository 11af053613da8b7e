"""Selective joint fine-tuning: a net that knows five classes of CIFAR-10 learns the others from few images.

python benchmarks/finetune_joint.py CIFAR10_FOLDER --work WORK

ResNet-20 of width 16, trained on 1,000 images of each of five classes (15 epochs), then on ten of each of the
other five, by the classifier alone, by all stages, and by all stages together with source images: the nearest
ones, or all. Three seeds; 100 test images a class are reported once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from finetune import subset, trained
from record import keep

SEEDS = 3


def joint(cifar: Path, work: Path) -> dict[str, Any]:
    """A small net trained on five classes, tuned on the other five with ten images each."""
    names = sorted(folder.name for folder in (cifar / "train").iterdir())
    known, new = names[::2], names[1::2]
    wealthy = subset(cifar, work / "joint source", 1000, known)
    target = subset(cifar, work / "joint target", 10, new)
    net = ["model={resnet20: {width: 16}}", "data.batch_size=64"]
    source = work / "run joint source"
    trained(wealthy, source, [*net, "train.epochs=15"], None)
    rows: dict[str, Any] = {}
    tunings = {
        "head": "head",
        "all stages": "all_stages",
        "joint, 20 nearest": {"joint": {"source": str(wealthy), "neighbors": 20}},
        "joint, all source images": {"joint": {"source": str(wealthy), "neighbors": 100000}},
    }
    for label, tuning in tunings.items():
        accuracies = []
        for seed in range(SEEDS):
            words = [
                "data.batch_size=16",
                "train.epochs=60",
                f"train.seed={seed}",
                f"train.finetune={tuning}",
            ]
            figures = trained(target, work / f"run joint {label} {seed}", words, source)
            accuracies.append(figures["accuracy"])
        rows[label] = accuracies
        print(label, accuracies, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    keep("finetune_joint", {"seeds": list(range(SEEDS)), "rows": joint(options.cifar, options.work)})


if __name__ == "__main__":
    main()
