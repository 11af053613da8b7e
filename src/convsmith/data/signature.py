"""What a net's inputs and outputs mean, as plain data: what travels with its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from convsmith.data.fit import Fit
from convsmith.data.levels import WIDE, Levels


@dataclass(frozen=True)
class Signature:
    """How images become a net's input, and what its outputs are.

    Args:
        classes: names of the K outputs.
        size: side in pixels of the images that the net reads.
        channels: 1 or 3.
        stored: side in pixels at which files are decoded before they are brought to ``size``; 0: ``size``.
        columns: names of numeric targets; none for classes.
        encoding: how numeric targets become outputs, ``{name: {argument: value}}``; None for classes.
        state: what the encoding has found in the training targets.
        costs: (K, K) of each decision (column) about each class (row): the decision of least expected cost is
            the answer. None takes the likeliest class.
        fit: how a picture is made square: ``"crop"`` (all that older files mean), ``"pad"`` or ``"squash"``.
        levels: the values of more than 8 bits that become 0 and 255; older files mean those of 16 bits. None
            where the net has seen none of the kind: each file's own values decide.

    >>> Signature(("cat", "dog"), 32, 3).to_json()
    {'classes': ['cat', 'dog'], 'size': 32, 'channels': 3}
    """

    classes: tuple[str, ...]
    size: int
    channels: int
    stored: int = 0
    columns: tuple[str, ...] = ()
    encoding: Mapping[str, Mapping[str, Any]] | None = None
    state: Mapping[str, Any] | None = None
    costs: tuple[tuple[float, ...], ...] | None = None
    fit: Fit = "crop"
    levels: Levels | None = WIDE

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored", self.stored or self.size)

    def to_json(self) -> dict[str, Any]:
        """The fields that say something, as JSON's types."""
        found: dict[str, Any] = {
            "classes": list(self.classes),
            "size": self.size,
            "channels": self.channels,
        }
        if self.stored != self.size:
            found["stored"] = self.stored
        if self.fit != "crop":
            found["fit"] = self.fit
        if self.levels != WIDE:
            found["levels"] = None if self.levels is None else list(self.levels)
        if self.costs is not None:
            found["costs"] = [list(row) for row in self.costs]
        if self.encoding is not None:
            found["target"] = {
                "encoding": {name: dict(arguments) for name, arguments in self.encoding.items()},
                "columns": list(self.columns),
                "state": dict(self.state or {}),
            }
        return found

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Signature:
        """The signature that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: if it isn't one.
        """
        target = given.get("target")
        classes = _names(given["classes"])
        costs = given.get("costs")
        return cls(
            classes,
            _whole(given["size"], LARGEST),
            _whole(given["channels"], 3),
            _whole(given.get("stored") or given["size"], LARGEST),
            _names(target["columns"]) if target else (),
            dict(target["encoding"]) if target else None,
            dict(target["state"]) if target else None,
            _square(costs, len(classes)) if costs is not None else None,
            _fit(given.get("fit", "crop")),
            _levels(given.get("levels", WIDE)),
        )

    @property
    def since(self) -> int:
        """The oldest format of a model's file whose readers prepare pictures as this says."""
        return 3 if self.fit != "crop" or self.levels not in (None, WIDE) else 2


# Side in pixels: one image of this size takes gigabytes in a net.
LARGEST = 1 << 14


def _names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise TypeError(f"{str(given)[:50]!r} is no list of names")
    return tuple(given)


def _whole(value: Any, largest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise ValueError(f"{value!r} is no number of pixels or channels from 1 to {largest}")
    return value


def _fit(word: Any) -> Fit:
    if word not in ("crop", "pad", "squash"):
        raise ValueError(f"{str(word)[:50]!r} is no way to make a picture square")
    return cast(Fit, word)


def _levels(given: Any) -> Levels | None:
    if given is None:
        return None
    low, high = given
    if not all(isinstance(n, int) and not isinstance(n, bool) and abs(n) < 1 << 32 for n in (low, high)):
        raise ValueError(f"{str(given)[:50]!r} are no levels")
    if low >= high:
        raise ValueError(f"levels rise, and {low} to {high} doesn't")
    return low, high


def _square(rows: Any, size: int) -> tuple[tuple[float, ...], ...]:
    found = tuple(tuple(map(float, row)) for row in rows)
    if [len(row) for row in found] != [size] * size or not all(map(math.isfinite, sum(found, ()))):
        raise ValueError(f"costs of {size} classes are {size} rows of {size} numbers")
    return found
