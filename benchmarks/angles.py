"""The angle of a rotated digit, learned in three ways: how far off is each, around the circle?

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
NET = ["model=lenet5", "train.epochs=15", "data.batch_size=64", "data.augment={}", "optimizer.sgd.lr=0.01"]
WAYS = {
    "the number itself, squared error": ["data.target=numbers", "objective={squared_error: {}, l2: {}}"],
    "cosine and sine, squared error": ["data.target=angle", "objective={squared_error: {}, l2: {}}"],
    "circular distribution, KL": ["data.target=circular", "objective={kl_divergence: {}, l2: {}}"],
}


def off(run: Path, table: Path) -> list[float]:
    """Degrees between the predicted and the true angle, the short way round, for each test image."""
    with open(table, newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    found = cs.load(run).predict([table.parent / row["path"] for row in rows])
    differences = [own["values"]["angle"] - float(row["target_angle"]) for own, row in zip(found, rows)]
    return [abs((difference + 180) % 360 - 180) for difference in differences]


def measure(way: list[str], table: Path, out: Path) -> dict[str, Any]:
    errors = []
    for seed in SEEDS:
        cs.train(table, out=out / str(seed), set=[*NET, *way, f"train.seed={seed}"])
        errors.append(off(out / str(seed), table))
    return {
        "set": way,
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
