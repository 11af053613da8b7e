"""What label-guided crops gain: scenes in which the class is a small part, somewhere.

python benchmarks/guided_crop.py MNIST_FOLDER --work WORK

A scene is a 64 x 64 image with one whole digit at a random place among six pieces (8 x 8) of other
digits; its class is the digit. 6,000 scenes to train on, 500 to validate, 2,000 to test. A first net,
trained without crops, makes the response maps; then the same net is trained anew, with random area crops
and with the same crops guided by the maps. Test accuracy of the best validation epoch, 3 seeds (weights,
order, draws).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import convsmith as cs
from record import keep

SEEDS = (0, 1, 2)
SIDE, DIGIT, PIECE, PIECES = 64, 28, 8, 6
COUNTS = {"train": 6000, "val": 500, "test": 2000}
NET = [
    "model.vgg11.width=8",
    "model.vgg11.hidden=64",
    "model.vgg11.dropout=none",
    "model.vgg11.norm=batch",
    "model.vgg11.init={he: {fan: in}}",
    "optimizer.sgd.lr=0.02",
    "data.batch_size=64",
    "train.epochs=12",
]
CROP = "scale: [0.25, 0.8]"


def scenes(mnist: Path, place: Path) -> Path:
    """The images, made once; digits of different splits are different images of MNIST."""
    draws = np.random.default_rng(0)
    files = {
        split: sorted((mnist / folder).rglob("*.png"))
        for split, folder in (("train", "train"), ("val", "train"), ("test", "test"))
    }
    order = draws.permutation(len(files["train"]))
    own = {
        "train": [files["train"][n] for n in order[: COUNTS["train"]]],
        "val": [files["val"][n] for n in order[-COUNTS["val"] :]],
        "test": [files["test"][n] for n in draws.permutation(len(files["test"]))[: COUNTS["test"]]],
    }
    for split, chosen in own.items():
        for number, file in enumerate(chosen):
            target = place / split / file.parent.name / f"{number:05d}.png"
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene(file, chosen, draws)).save(target)
    return place


def scene(file: Path, others: list[Path], draws: np.random.Generator) -> np.ndarray[Any, Any]:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(PIECES):
        other = np.asarray(Image.open(others[draws.integers(len(others))]))
        y, x = draws.integers(4, DIGIT - PIECE - 4, 2)
        top, left = draws.integers(0, SIDE - PIECE, 2)
        canvas[top : top + PIECE, left : left + PIECE] = other[y : y + PIECE, x : x + PIECE]
    top, left = draws.integers(0, SIDE - DIGIT, 2)
    part = canvas[top : top + DIGIT, left : left + DIGIT]
    np.maximum(part, np.asarray(Image.open(file)), out=part)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    data = scenes(options.mnist, options.work / "scenes")
    ways: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS:
        folder = options.work / str(seed)
        maps = folder / "maps.npz"
        for name, words in {
            "no crops": ["data.augment={}"],
            "random area crops": [f"data.augment={{area_crop: {{{CROP}}}}}"],
            "guided crops": [f"data.augment={{guided_crop: {{{CROP}, maps: {maps}}}}}"],
        }.items():
            run = folder / name.replace(" ", "_")
            result = cs.train(data, out=run, set=[*NET, *words, f"train.seed={seed}"])
            if name == "no crops":
                cs.response_maps(run, maps)
            row = {"accuracy": result["accuracy"], "val_accuracy": result["val_accuracy"]}
            ways.setdefault(name, []).append(row)
            print(seed, name, row, flush=True)
    gain = [
        guided["accuracy"] - plain["accuracy"]
        for guided, plain in zip(ways["guided crops"], ways["random area crops"])
    ]
    report = {"net": NET, "crop": CROP, "seeds": SEEDS, "images": COUNTS, "ways": ways}
    keep("guided_crop", {**report, "gain_over_random_crops": statistics.mean(gain)})


if __name__ == "__main__":
    main()
