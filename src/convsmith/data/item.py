"""One image file of DATA, and the words by which data say its split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "holdout", "heldout"), "test"),
}
# The words that a recipe itself uses.
PLAIN = ("train", "val", "test")
# What is often joined to them: train_set, testdata, valid-images.
JOINED = ("set", "sets", "data", "dataset", "images", "imgs", "split", "samples", "folder")


@dataclass(frozen=True)
class Item:
    """One image file; ``split`` is None where the layout doesn't say.

    Where the targets are numbers, ``target`` holds them and the label is empty. ``costs`` are what each
    decision about this image costs, in the order of the CSV's columns ``cost_CLASS``. ``group`` is what it
    belongs to, by the CSV's own column.
    """

    path: Path
    label: str
    split: str | None = None
    target: tuple[float, ...] | None = None
    costs: tuple[float, ...] | None = None
    group: str | None = None


@dataclass(frozen=True)
class SplitWord:
    """A name that says a split, what else it says, and whether it is the plain word."""

    split: str
    rest: tuple[str, ...]
    plain: bool


def split_word(name: str) -> SplitWord | None:
    """What a name says about a split; None if it doesn't, or isn't clear.

    >>> split_word("Training").split, split_word("test_set").split, split_word("seg_train").rest
    ('train', 'test', ('seg',))
    >>> split_word("trainers") is split_word("cats") is split_word("train_test") is None
    True
    """
    words = re.findall(r"[a-z]+|\d+", name.lower())
    splits, rest = [], []
    for word in words:
        ends = [end for end in JOINED if word.endswith(end) and word[: -len(end)] in SPLITS]
        if word in SPLITS:
            splits.append(SPLITS[word])
        elif ends:
            splits.append(SPLITS[word[: -len(ends[0])]])
        elif word not in JOINED:
            rest.append(word)
    return SplitWord(splits[0], tuple(rest), name.lower() in PLAIN) if len(splits) == 1 else None
