"""The angle of a rotated digit, learned in four ways: how far off is each, around the circle?

python examples/rotated_digits.py ROTATED
python benchmarks/angles.py ROTATED/angles.csv --out runs
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path
from typing import Any

import convsmith as cs
from record import keep

SEEDS = (0, 1, 2)
NET = ["model=lenet5", "train.epochs=30", "data.batch_size=64", "data.augment={}"]
# The rate of each: the best of 0.003, 0.01, 0.03 on validation with seed 0.
RATES = (0.003, 0.01, 0.03)
WAYS = {
    "the number itself, squared error": ["data.target=numbers", "objective={squared_error: {}, l2: {}}"],
    "the number itself, Tukey": ["data.target=numbers", "objective={tukey: {}, l2: {}}"],
    "cosine and sine, squared error": ["data.target=angle", "objective={squared_error: {}, l2: {}}"],
    "circular distribution, KL": ["data.target=circular", "objective={kl_divergence: {}, l2: {}}"],
}


def off(run: Path, table: Path, split: str) -> list[float]:
    """Degrees between the predicted and the true angle, the short way round, for each image of a split."""
    with open(table, newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == split]
    found = cs.load(run).predict([table.parent / row["path"] for row in rows])
    differences = [own["values"]["angle"] - float(row["target_angle"]) for own, row in zip(found, rows)]
    return [abs((difference + 180) % 360 - 180) for difference in differences]


def measure(way: list[str], table: Path, out: Path) -> dict[str, Any]:
    def train(rate: float, seed: int) -> Path:
        run = out / f"{rate}_{seed}"
        words = [*NET, *way, f"optimizer.sgd.lr={rate}", f"train.seed={seed}"]
        try:
            cs.train(table, out=run, set=words)
        except cs.UserError as error:
            print(error)
        return run

    tried = {}
    for rate in RATES:
        run = train(rate, 0)
        if (run / "model.json").exists():
            tried[rate] = statistics.mean(off(run, table, "val"))
    best = min(tried, key=lambda rate: tried[rate])
    runs = [out / f"{best}_0", *(train(best, seed) for seed in SEEDS[1:])]
    errors = [off(run, table, "test") for run in runs]
    return {
        "set": way,
        "lr": best,
        "val_mean_of_rates": {str(rate): value for rate, value in tried.items()},
        "test_mean_degrees": [statistics.mean(own) for own in errors],
        "test_median_degrees": [statistics.median(own) for own in errors],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, help="angles.csv of examples/rotated_digits.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    options = parser.parse_args()
    ways = {
        name: measure(way, options.table, options.out / str(number))
        for number, (name, way) in enumerate(WAYS.items())
    }
    keep("angles", {"net": NET, "seeds": SEEDS, "ways": ways})


if __name__ == "__main__":
    main()
