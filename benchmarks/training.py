"""One real training each: test accuracy, measured once, of recipes that were chosen on validation.

python benchmarks/training.py cifar10 CIFAR10_FOLDER --out runs
python benchmarks/training.py mnist MNIST_FOLDER --out runs
python benchmarks/training.py digits digits --out runs
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import convsmith as cs
from convsmith.recipe import load
from record import keep

RECIPES = Path(__file__).parent / "recipes"
EXAMPLES = Path(__file__).parents[1] / "examples"
PLANS = {
    "cifar10": [RECIPES / "cifar10.yaml"],
    "cifar10_long": [RECIPES / "cifar10_long.yaml"],
    "mnist": [RECIPES / "lenet5.yaml", RECIPES / "lenet300_100.yaml"],
    "digits": [EXAMPLES / "digits.yaml"],
}


def measure(recipe: Path, data: str, out: Path) -> dict[str, Any]:
    started = time.perf_counter()
    found = cs.train(data, out=out, recipe=recipe, progress=True)
    # With reading, validation, test and report; "seconds" are those of the training loop alone.
    wall = time.perf_counter() - started
    kept = ("split", "accuracy", "loss", "val_accuracy", "best_epoch", "epochs", "parameters", "seconds")
    resolved = load(out / "recipe.yaml").model_dump(exclude_none=True)
    resolved["data"].pop("path")
    return {**{key: found[key] for key in kept}, "wall_seconds": wall, "recipe": resolved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument("data", help="image folder with train/ and test/, or a built-in name")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    options = parser.parse_args()
    runs = {
        recipe.stem: measure(recipe, options.data, options.out / recipe.stem)
        for recipe in PLANS[options.plan]
    }
    keep(options.plan, {"runs": runs})


if __name__ == "__main__":
    main()
