"""Near duplicates among images: copies that were resized, compressed again, made brighter, or mirrored."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from convsmith.data.item import Item
from convsmith.data.pixels import Store
from convsmith.data.thumbnails import thumbnails, tinted, unlikeness
from convsmith.errors import shown
from convsmith.findings import Finding

# Largest distance of two thumbnails (of length 16) of one picture; small JPEGs of quality 50 are at 1.6.
FAR = 1.6
# Largest `unlikeness` of copies where different pictures are nowhere near it, and where they are.
COPY, SURE = 0.05, 0.004
# Different pictures are looked for from COPY up to here, to see how near they come.
OTHERS = 0.2
# Least length of a thumbnail, 16 at most, that shows anything, and difference in color of copies in levels.
TOLD, TINT = 8.0, 4.0
# Directions of the first look, and how many neighbors of an image are looked at closely at most.
DIRECTIONS, CLOSE = 16, 64
# Distances held at once: 64 MiB.
CELLS = 1 << 24


def pairs(small: Tensor, *, mirrored: bool = False) -> list[tuple[int, int]]:
    """Pairs of images that show one picture, by their thumbnails.

    No pair is left out by chance: all whose thumbnails are within ``FAR`` of each other are found, along the
    first principal direction, and of these the 64 nearest of each image are compared closely. How alike
    copies must be depends on how alike different pictures are: on white pages, some are by chance. The number
    of pairs below a limit falls as a power of it; the limit is set where less than half a pair of
    different pictures is expected.

    Args:
        small: thumbnails (N, 256).
        mirrored: the second picture of a pair is the first one's mirror image.

    >>> one, other = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    >>> pairs(torch.stack([one, other, one + 0.01]))
    [(0, 2)]
    """
    if len(small) < 2:
        return []
    first, second = _near(small, mirrored)
    unlike = torch.cat(
        [
            unlikeness(_turned(small[one], mirrored), small[other])
            for one, other in zip(torch.split(first, 4096), torch.split(second, 4096))
        ]
        or [torch.zeros(0)]
    )
    chosen = unlike <= limit(unlike)
    return sorted(zip(first[chosen].tolist(), second[chosen].tolist()))


def copies(store: Store, small: Tensor, rows: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of images, by place, that show one picture in the same colors, mirrored ones too.

    Args:
        store: their pixels.
        small: their thumbnails (N, 256).
        rows: where they lie in the store, N.
    """
    # Even images have no picture that could be the same.
    told = (small.float().norm(dim=1) > TOLD).nonzero()[:, 0]
    own = small[told]
    plain = pairs(own)
    found = [(pair, False) for pair in plain]
    found += [(pair, True) for pair in set(pairs(own, mirrored=True)) - set(plain)]
    if not found:
        return []
    places = told.tolist()
    met = sorted({place for pair, _ in found for place in pair})
    tints = dict(zip(met, tinted(store, torch.tensor([rows[places[place]] for place in met]))))
    kept = [
        pair
        for pair, mirrored in found
        if same_colors(tints[pair[0]].flip(1) if mirrored else tints[pair[0]], tints[pair[1]])
    ]
    return sorted((places[one], places[other]) for one, other in kept)


def same_colors(one: Tensor, other: Tensor) -> bool:
    """Whether two pictures (16, 16, 3), less their grey, have the same colors, but for compression and tone.

    >>> red, blue = torch.zeros(2, 16, 16, 3); red[..., 0] = 90; blue[..., 2] = 90
    >>> same_colors(red, red * 0.9), same_colors(red, blue)
    (True, False)
    """
    return bool((one - other).abs().mean() <= TINT + 0.25 * (one.abs().mean() + other.abs().mean()))


def limit(unlike: Tensor) -> float:
    """Largest unlikeness of copies among pairs of which some are different pictures that are alike.

    >>> limit(torch.tensor([0.0, 0.001, 0.9]))
    0.05
    """
    far = int(((unlike > OTHERS / 2) & (unlike <= OTHERS)).sum())
    near = int(((unlike > OTHERS / 4) & (unlike <= OTHERS / 2)).sum())
    if far + near < 3:
        return COPY
    # N(x) = N (x / OTHERS)^power; at least 2, so that a few pairs don't say that it hardly falls.
    power = max(2.0, math.log2((far + 1) / (near + 1)))
    everything = (far + near) / (1 - 4**-power)
    return min(COPY, max(SURE, OTHERS * math.exp(math.log(0.5 / everything) / power)))


def _turned(small: Tensor, mirrored: bool) -> Tensor:
    return small.view(-1, 16, 16).flip(2).flatten(1) if mirrored else small


def _near(small: Tensor, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Rows of pairs within FAR of each other, the smaller first; all, up to CLOSE for each image."""
    directions = _directions(small)
    where = torch.cat([part.float() @ directions for part in torch.split(small, 65536)])
    order = where[:, 0].argsort()
    where = where[order]
    asked, own = where, order
    if mirrored:
        parts = torch.split(small, 65536)
        asked = torch.cat([_turned(part, mirrored).float() @ directions for part in parts])
        own = asked[:, 0].argsort()
        asked = asked[own]
    # Sorted along the first direction, neighbors within FAR are one stretch of rows.
    if mirrored:
        starts = torch.searchsorted(where[:, 0].contiguous(), asked[:, 0] - FAR)
    else:  # those before have looked at this one
        starts = torch.arange(len(where))
    ends = torch.searchsorted(where[:, 0].contiguous(), asked[:, 0] + FAR, right=True)
    found = []
    start = 0
    while start < len(asked):
        stop = min(len(asked), start + max(1, CELLS // max(1, int(ends[start] - starts[start]))))
        # the stretch grows with the block
        stop = min(stop, start + max(1, CELLS // max(1, int(ends[stop - 1] - starts[start]))))
        low, high = int(starts[start]), int(ends[stop - 1])
        one, other = _within(asked[start:stop], where[low:high], others=not mirrored)
        one, other = own[one + start], order[other + low]
        if mirrored:  # every pair is met from both sides
            once = one < other
            one, other = one[once], other[once]
        else:
            one, other = torch.minimum(one, other), torch.maximum(one, other)
        close = torch.cat(
            [
                (_turned(small[a], mirrored).float() - small[b].float()).norm(dim=1) <= FAR
                for a, b in zip(torch.split(one, 65536), torch.split(other, 65536))
            ]
            or [torch.zeros(0, dtype=torch.bool)]
        )
        found.append((one[close], other[close]))
        start = stop
    return torch.cat([one for one, _ in found]), torch.cat([other for _, other in found])


def _within(asked: Tensor, where: Tensor, others: bool) -> tuple[Tensor, Tensor]:
    """Places of pairs within FAR along the directions; of each asked one, the CLOSE nearest at most.

    With ``others`` the asked ones are the first of ``where``, and are compared with those behind them.
    """
    squares = torch.addmm(where.square().sum(1), asked, where.T, alpha=-2)
    squares += asked.square().sum(1)[:, None]
    if others:
        n = len(asked)
        squares[:, :n].masked_fill_(torch.ones(n, n, dtype=torch.bool).tril(), torch.inf)
    near = squares <= FAR**2
    if int(near.sum()) <= CLOSE * len(asked):
        one, other = near.nonzero(as_tuple=True)
        return one, other
    nearest = squares.topk(min(CLOSE, squares.shape[1]), largest=False)
    one, place = (nearest.values <= FAR**2).nonzero(as_tuple=True)
    return one, nearest.indices[one, place]


def _directions(small: Tensor) -> Tensor:
    """Principal directions of the thumbnails, (256, DIRECTIONS), of some of them."""
    some = small[torch.linspace(0, len(small) - 1, min(len(small), 20000)).long()].double()
    some = some - some.mean(0)
    directions = torch.linalg.eigh(some.T @ some).eigenvectors[:, -DIRECTIONS:].flip(1)
    found: Tensor = directions.float()
    return found


def findings(store: Store, items: Sequence[Item]) -> list[Finding]:
    """Findings about near duplicates across splits, under two labels, and within one split."""
    rows = [row for row, item in enumerate(items) if item.split]
    own = [items[row] for row in rows]
    groups: dict[str, list[tuple[Item, Item]]] = defaultdict(list)
    mirrored: Counter[str] = Counter()
    if not rows:
        return []
    small = thumbnails(store, torch.tensor(rows))
    plain = pairs(small)
    turned = sorted(set(pairs(small, mirrored=True)) - set(plain))
    for number, (a, b) in enumerate([*plain, *turned]):
        one, other = own[a], own[b]
        kinds = ["across" if one.split != other.split else "within"]
        kinds += ["labels"] if one.label != other.label else []
        for kind in kinds:
            groups[kind].append((one, other))
            mirrored[kind] += number >= len(plain)
    texts = {
        "across": (
            "in two splits",
            "accuracy on the second is too good to be true",
            "put each pair on one side",
        ),
        "labels": ("under two labels", "at least one label of each pair is wrong", "look at them"),
        "within": ("within one split", "they count double", "keep one of each, if they are no accident"),
    }
    return [
        Finding(
            seen=f"{_count(groups[kind])} of nearly equal pictures {where}"
            f"{_mirrored(mirrored[kind])}: {_examples(groups[kind])}",
            means=means,
            change=change,
            why="a copy teaches nothing new, and tests nothing",
            source="thumbnails compared, mirrored ones too",
            name=f"near_duplicates_{kind}",
        )
        for kind, (where, means, change) in texts.items()
        if groups[kind]
    ]


def _count(pairs: Sequence[object]) -> str:
    return "1 pair" if len(pairs) == 1 else f"{len(pairs):,} pairs"


def _mirrored(count: int) -> str:
    return f" ({count:,} of them mirrored)" if count else ""


def _examples(found: Sequence[tuple[Item, Item]]) -> str:
    names = [f"{shown(one.path)} = {shown(other.path)}" for one, other in found[:2]]
    return ", ".join(names) + (", ..." if len(found) > 2 else "")
