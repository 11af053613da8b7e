"""Long tails and wrong labels made on purpose, for comparison with the literature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from convsmith.data.item import Item
from convsmith.data.shuffle import generator
from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.recipe import Data

Shape = Literal["exp", "step"]
Noise = Literal["symmetric", "pair"]
# Random streams of their own, apart from the split's.
IMBALANCE, NOISE = 101, 102


def degraded(items: Sequence[Item], section: Data, seed: int) -> tuple[list[Item], list[Finding]]:
    """Degrade the items as the recipe says; an item that is left out has no split.

    Raises:
        UserError: if the targets are numbers.
    """
    kept = list(items)
    findings = []
    tail, noise = section.imbalance, section.label_noise
    if (tail or noise) and any(item.target is not None for item in items):
        raise UserError("data.imbalance and data.label_noise are for classes; the targets here are numbers")
    if tail is not None:
        left_out = thinned(kept, ratio=tail.ratio, shape=tail.type, seed=seed)
        for number in left_out:
            kept[number] = replace(kept[number], split=None)
        seen = f"{len(left_out)} training images were left out: data.imbalance has a ratio of {tail.ratio:g}"
        findings.append(Finding(seen=seen, means="results are those of a long tail made on purpose"))
    if noise is not None:
        changed = mislabeled(kept, rate=noise.rate, kind=noise.type, seed=seed)
        kept = [changed.get(number, item) for number, item in enumerate(kept)]
        seen = f"{len(changed)} training images have a wrong label: data.label_noise.rate is {noise.rate:g}"
        findings.append(Finding(seen=seen, means="results are those of wrong labels made on purpose"))
    return kept, findings


def profile(largest: int, classes: int, ratio: float, shape: Shape) -> list[int]:
    """Images of each class so that the first has ``ratio`` times those of the last.

    ``exp``: largest * ratio^(-k / (K - 1)) (Cui et al. 2019); ``step``: the second half of the classes
    has largest / ratio (Buda et al. 2018).

    >>> profile(5000, 10, 100, "exp")
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    >>> profile(100, 4, 10, "step")
    [100, 100, 10, 10]
    """
    if shape == "step":
        return [
            largest if number < classes / 2 else max(1, int(largest / ratio)) for number in range(classes)
        ]
    last = max(1, classes - 1)
    # the epsilon: 5000 * 100^-1 must not become 49
    return [max(1, int(largest * ratio ** (-number / last) + 1e-9)) for number in range(classes)]


def thinned(items: Sequence[Item], *, ratio: float, shape: Shape, seed: int) -> list[int]:
    """Numbers of the training items to leave out; which ones is drawn, classes stay in their order.

    Args:
        items: all, with their splits; only "train" is touched.
        ratio: largest class over smallest.
        shape: how the classes between fall.
        seed: of the draw.
    """
    groups = _by_class(items)
    largest = max(map(len, groups.values()))
    left_out = []
    wanted = profile(largest, len(groups), ratio, shape)
    for number, (label, count) in enumerate(zip(sorted(groups), wanted)):
        own = groups[label]
        order = torch.randperm(len(own), generator=generator(seed, IMBALANCE, number)).tolist()
        left_out += [own[place] for place in order[count:]]
    return sorted(left_out)


def mislabeled(items: Sequence[Item], *, rate: float, kind: Noise, seed: int) -> dict[int, Item]:
    """Training items with a wrong label, by their number.

    Args:
        items: all, with their splits; only "train" is touched.
        rate: share of the training items whose label becomes another one, for certain.
        kind: ``symmetric``: any other class alike; ``pair``: the next class (Han et al. 2018).
        seed: of the draw.
    """
    classes = sorted({item.label for item in items})
    place = {label: number for number, label in enumerate(classes)}
    train = [number for number, item in enumerate(items) if item.split == "train"]
    draws = generator(seed, NOISE)
    chosen = torch.randperm(len(train), generator=draws)[: round(rate * len(train))].tolist()
    steps = torch.randint(1, len(classes), (len(chosen),), generator=draws).tolist()
    changed = {}
    for number, step in zip((train[spot] for spot in chosen), steps):
        item = items[number]
        other = (place[item.label] + (step if kind == "symmetric" else 1)) % len(classes)
        changed[number] = replace(item, label=classes[other])
    return changed


def _by_class(items: Sequence[Item]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        if item.split == "train":
            groups.setdefault(item.label, []).append(number)
    return groups
