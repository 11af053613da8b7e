"""The one voice in which the toolkit says what it noticed and what follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Finding:
    """One observation with its consequence.

    Args:
        seen: the facts, with their numbers.
        means: what the facts mean for the result.
        change: what to do, naming recipe keys where there are any.
        why: the reason that the change helps.
        source: where the rule comes from.

    >>> Finding("class 'cat' has 1 image", "no split holds it twice", "add images").as_dict()["why"]
    ''
    """

    seen: str
    means: str = ""
    change: str = ""
    why: str = ""
    source: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [self.seen, self.means and f"so {self.means}", self.change]
        return "; ".join(part for part in parts if part)
