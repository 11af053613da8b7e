"""The verb that lists the catalogue."""

from __future__ import annotations

from convsmith import catalog
from convsmith.catalog.kinds import known


def techniques(kind: str | None = None) -> list[catalog.Card]:
    """The catalogue's cards by kind and name, of one kind or of all.

    Raises:
        UserError: if there is no such kind.
    """
    if kind is not None:
        known(kind)
    return [card for (k, _), card in sorted(catalog.listed()[0].items()) if kind in (None, k)]
