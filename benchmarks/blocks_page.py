"""Write docs/blocks.md from the committed results: python benchmarks/blocks_page.py"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "blocks.md"
DATA = ("mnist", "cifar10")
LIMIT = 1.5
# Why a layer of ours takes longer than its nearest built-in.
STABLE = "each window's largest value is divided out first, so that no power leaves float32's range"
WHY = {
    "p-norm pooling, p = 2, against LPPool2d": STABLE,
    "p-norm pooling, p = 3, against LPPool2d": STABLE,
    "stochastic pooling, training, against FractionalMaxPool2d": "a random number for each window, not "
    "one or two for each map",
    "p-norm pooling, p = 3, windows of 3, against LPPool2d": "overlapping windows: each value is raised to "
    "its power in every window, after division by that window's largest value; torch raises it once, and "
    "gives inf or 0 where x^p leaves the range of float32",
    "p-norm pooling, learned p, against LPPool2d": "torch's p is fixed; the slope for p takes a logarithm "
    "of every value",
    "stochastic pooling, training, against MaxPool2d": "a random number and a running sum for each window; "
    "torch has no such layer, its random one is FractionalMaxPool2d",
    "stochastic pooling, test, against MaxPool2d": "two poolings, of the values and of their squares, and "
    "a division",
    "L2 normalization against BatchNorm2d": "no fused kernel: square, sum, root, division and scale pass "
    "over the maps one by one (it is torch's own normalize, and a scale)",
}
HEAD = """# What each building block does

Each row differs from its net's base in one thing; nothing was tuned for it, so a block that wants another
learning rate shows it. Mean and standard deviation over {seeds} seeds of the test accuracy after the last
epoch (and the difference from the base), and the time of a training step over that of the base in the same
round (median of {rounds} rounds). Differences below the spreads are none.

- **MNIST**: LeNet-5, {images} images a class, {mnist_epochs} epochs. Base: He (fan in), ReLU after the hidden
  layer, max pooling, cross-entropy, no penalty.
- **CIFAR-10** (JPEGs of quality 75): VGG-11 of width 16 with 128 hidden units, no normalization, {images}
  images a class, {cifar10_epochs} epochs, flips, shifts. Base: He (fan in), ReLU, max pooling, cross-entropy,
  no penalty, no dropout. Eleven layers without normalization are a hard case on purpose: they show what
  initialization and normalization are for.

`benchmarks/blocks.py`, batch 64, SGD with momentum 0.9, cosine to 0, on {processor}, {cores} cores,
torch {torch}.
"""


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def accuracy(values: list[float], base: float) -> str:
    mean = 100 * statistics.mean(values)
    spread = 100 * statistics.stdev(values) if len(values) > 1 else 0.0
    change = mean - 100 * base
    return f"{mean:.2f} ± {spread:.2f} ({change:+.2f})"


def blocks() -> str:
    found, steps = results("blocks_accuracy"), results("blocks_steps")
    bases = {data: statistics.mean(next(iter(found[data]["base"].values()))["test"]) for data in DATA}
    lines = []
    for kind in found["mnist"]:
        lines += [f"\n## {kind.capitalize()}\n"]
        lines += ["| block | MNIST test % | step | CIFAR-10 test % | step |", "|---|---:|---:|---:|---:|"]
        for name in found["mnist"][kind]:
            cells = []
            for data in DATA:
                own = found[data][kind][name]
                cells.append(accuracy(own["test"], bases[data]) + (" exploded" if own["failed"] else ""))
                cells.append(f"{steps[data][kind][name]['ratio']:.2f}")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def layers() -> str:
    lines = [
        "\n## Layers against their nearest built-in\n",
        "Forward and backward in channels_last (test: forward alone), time over the built-in's, medians of "
        f"{results('blocks_layers')['rounds']} rounds.\n",
        "| layer | ratio | |",
        "|---|---:|---|",
    ]
    for name, row in results("blocks_layers")["layers"].items():
        reason = WHY[name] if row["ratio"] > LIMIT else ""
        lines.append(f"| {name} | {row['ratio']:.2f} | {reason} |")
    return "\n".join(lines)


def angles() -> str:
    found = results("angles")
    lines = [
        "\n## An angle as a number, a point or a distribution\n",
        "Handwritten digits turned by any angle (`examples/rotated_digits.py`), LeNet-5; degrees between the "
        "predicted and the true angle, the short way round, mean over seeds of the test split's mean (and "
        "median). A number that jumps from 359 to 0 can't be learned across the jump; a point on the circle "
        "and a circular distribution have none.\n",
        "| target | mean error | median error |",
        "|---|---:|---:|",
    ]
    for name, row in found["ways"].items():
        mean, spread = statistics.mean(row["test_mean_degrees"]), statistics.stdev(row["test_mean_degrees"])
        median = statistics.mean(row["test_median_degrees"])
        lines.append(f"| {name} | {mean:.1f}° ± {spread:.1f} | {median:.1f}° |")
    return "\n".join(lines)


def rendered() -> str:
    found, steps = results("blocks_accuracy"), results("blocks_steps")
    machine = found["conditions"]

    def epochs(data: str) -> str:
        return next(word for word in found["base"][data] if word.startswith("train.epochs=")).partition("=")[
            2
        ]

    head = HEAD.format(
        seeds=len(found["seeds"]),
        rounds=steps["rounds"],
        images=f"{found['images_a_class']:,}",
        mnist_epochs=epochs("mnist"),
        cifar10_epochs=epochs("cifar10"),
        processor=machine["processor"],
        cores=machine["cores"],
        torch=machine["packages"]["torch"],
    )
    parts = [head.rstrip(), blocks(), layers()]
    if (RESULTS / "angles.json").exists():
        parts.append(angles())
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
