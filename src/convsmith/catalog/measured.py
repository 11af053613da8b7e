"""What benchmarks measured of a technique: the figures of docs/blocks.md, for its card."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Effect:
    """What exchanging one block of a net's base for a technique did.

    Args:
        block: the technique with its arguments, in words.
        on: data and net.
        points: percentage points of test accuracy above the base; the mean over seeds.
        spread: standard deviation of the accuracy over seeds, in points.
        step: time of a training step over that of the base.
    """

    block: str
    on: str
    points: float
    spread: float
    step: float

    def __str__(self) -> str:
        return (
            f"{self.block} on {self.on}: {self.points:+.2f} points (spread {self.spread:.2f}), a step takes "
            f"{self.step:.2f} times as long"
        )


def measured(kind: str, name: str) -> list[Effect]:
    """The effects of a technique; empty where no benchmark exchanges it alone.

    >>> [effect.on for effect in measured("activation", "prelu")][:2]
    ['MNIST, LeNet-5', 'CIFAR-10, VGG-11']
    """
    return _all().get((kind, name), [])


@functools.cache
def _all() -> dict[tuple[str, str], list[Effect]]:
    """Written by benchmarks/measured.py from the committed results."""
    text = resources.files("convsmith.catalog").joinpath("measured.json").read_text(encoding="utf-8")
    found: dict[tuple[str, str], list[Effect]] = {}
    for row in json.loads(text):
        effects = [Effect(row["block"], **effect) for effect in row["effects"]]
        found.setdefault((row["kind"], row["name"]), []).extend(effects)
    return found
