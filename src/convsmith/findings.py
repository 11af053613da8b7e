"""The one voice in which the toolkit says what it noticed and what follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

_SENTENCES = ("seen", "means", "change", "why", "source")


@dataclass(frozen=True)
class Finding:
    """One observation with its consequence.

    Args:
        seen: the facts, with their numbers.
        means: what the facts mean for the result.
        change: what to do, naming recipe keys where there are any.
        why: the reason that the change helps.
        source: where the rule comes from.
        name: of what was found, one word for programs; empty where nobody asks.
        set: overrides of the recipe, ``"a.b=c"``, that carry the change out.
        epochs: the first and the last epoch in which it shows.

    >>> Finding("class 'cat' has 1 image", "no split holds it twice", "add images").as_dict()["why"]
    ''
    """

    seen: str
    means: str = ""
    change: str = ""
    why: str = ""
    source: str = ""
    name: str = ""
    set: tuple[str, ...] = ()
    epochs: tuple[int, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields that say something; the five sentences always."""
        fields = asdict(self)
        return {key: value for key, value in fields.items() if value or key in _SENTENCES}

    def __str__(self) -> str:
        parts = [self.seen, self.means and f"so {self.means}", self.change]
        return "; ".join(part for part in parts if part)
