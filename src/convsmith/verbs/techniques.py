"""The verb that lists the catalogue."""

from __future__ import annotations

from convsmith import catalog


def techniques(kind: str | None = None) -> list[catalog.Card]:
    """The catalogue's cards by kind and name, of one kind or of all."""
    return [card for (k, _), card in sorted(catalog.listed()[0].items()) if kind in (None, k)]
