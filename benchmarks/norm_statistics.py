"""What becomes of a solved classifier while the net below it is tuned, by what batch norms use.

    python benchmarks/norm_statistics.py SOURCES --work WORK

SOURCES as for defaults.py. All layers of EfficientNet-Lite0 at 96 pixels, the classifier solved first, 8
epochs of batches of 32, augmented as the advice chooses.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import convsmith as cs
from convsmith.inference.intervals import of_share
from convsmith.run.directory import RunDirectory
from photographs import SETS, Set, made
from record import keep

DATA = {
    "CIFAR-10, 50 a class": Set("cifar10", 50, 30),
    "MNIST, 50 a class": Set("mnist", 50, 30, side=64),
    "digits, 20 a class": Set("digits", 20, 20, side=64),
}
WAYS = [(False, 0.01), (False, 0.003), (True, 0.01), (True, 0.003)]
EPOCHS = 8


def trained(data: Path, place: Path, frozen: bool, rate: float) -> dict[str, Any]:
    """One training: validation accuracy from the solved classifier on, and the test's."""
    shutil.rmtree(place, ignore_errors=True)
    words = [f"train.frozen_statistics={str(frozen).lower()}", f"optimizer.sgd.lr={rate}", "data.size=96"]
    words += ["train.finetune=all_stages", "train.head_first=true", f"train.epochs={EPOCHS}"]
    run = cs.train(data, out=place, set=words, progress=False)
    rows = RunDirectory(place).read_metrics()
    return {
        "val": [row["val_accuracy"] for row in rows],
        "train_loss": [row["train_loss"] for row in rows],
        "best_epoch": run["best_epoch"],
        "test": run["accuracy"],
        "interval": of_share(run["accuracy"], run["n"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    SETS.update(DATA)
    rows: dict[str, dict[str, Any]] = {}
    for name in DATA:
        data = made(name, given.sources, given.work)
        for frozen, rate in WAYS:
            way = f"{'frozen' if frozen else 'batch'} {rate:g}"
            rows.setdefault(name, {})[way] = found = trained(data, given.work / "run", frozen, rate)
            print(name, way, [round(value, 2) for value in found["val"]], found["test"], flush=True)
            keep("norm_statistics", {"epochs": EPOCHS, "seed": 0, "sets": rows})


if __name__ == "__main__":
    main()
