"""Rotated handwritten digits with a CSV of their angles: regression that everybody can check by eye.

python examples/rotated_digits.py rotated
convsmith train rotated/angles.csv --out runs/angle --set data.target=circular
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

# Digits that look like themselves in one direction only, and like no other when turned.
DIGITS = (2, 3, 4, 5, 7)
TURNS = 6
SIDE = 28


def make(folder: Path, seed: int = 0) -> Path:
    """Each digit is turned six times by a random angle, counterclockwise, in degrees; the CSV's path."""
    draws = np.random.default_rng(seed)
    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target)):
        if label not in DIGITS:
            continue
        # By the original, so that no digit of the test split was trained on at another angle.
        split = ("test", "val", "train", "train", "train")[number % 5]
        image = Image.fromarray((pixels * 15.9).astype(np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        for turn in range(TURNS):
            angle = draws.uniform(0, 360)
            name = f"{number:04d}_{turn}.png"
            image.rotate(angle, Image.Resampling.BICUBIC).save(folder / name)
            rows.append([name, f"{angle:.2f}", split])
    table = folder / "angles.csv"
    with open(table, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "target_angle", "split"])
        writer.writerows(rows)
    return table


if __name__ == "__main__":
    print(make(Path(sys.argv[1] if len(sys.argv) > 1 else "rotated")))
