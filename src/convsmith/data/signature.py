"""What a net's inputs and outputs mean, as plain data: what travels with its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
        classes: Sequence[str] = given["classes"]
        costs = given.get("costs")
        if not all(isinstance(name, str) for name in classes):
            raise TypeError("classes are no names")
        return cls(
            tuple(classes),
            _positive(given["size"]),
            _positive(given["channels"]),
            _positive(given.get("stored") or given["size"]),
            tuple(target["columns"]) if target else (),
            target["encoding"] if target else None,
            target["state"] if target else None,
            tuple(tuple(map(float, row)) for row in costs) if costs is not None else None,
        )


def _positive(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no number of pixels or channels")
    return value
