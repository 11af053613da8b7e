"""On which side of the split a run had each of its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from convsmith import recipe as recipes
from convsmith.data.layout import name_within
from convsmith.errors import UserError
from convsmith.run.directory import RunDirectory


@dataclass(frozen=True)
class Recorded:
    """Sides of files, by the digest of their bytes and by their name within DATA; "" for those left out."""

    digests: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def recorded(run: RunDirectory) -> Recorded:
    """Read the sides from a run's ``files.csv``.

    Raises:
        UserError: if it is missing or damaged.
    """
    path = recipes.load(run.recipe).data.path
    root = None if path is None else Path(path).expanduser().absolute()
    digests: dict[str, str] = {}
    names: dict[str, str] = {}
    for file, side, digest in run.read_sides():
        names[name_within(file, root)] = side
        # Of two copies on two sides, as earlier versions left them, the one that was trained on counts.
        if digest and side and digests.get(digest) != "train":
            digests[digest] = side
    return Recorded(digests, names)


def source_sides(place: str | None) -> dict[str, str]:
    """The sides that the images of a source had, by digest; none where it is no run, or can't be read.

    Its floor was validated on by nobody, and counts as validation here.
    """
    if place is None or not RunDirectory(place).begun:
        return {}
    try:
        found = recorded(RunDirectory(place)).digests
    except UserError:
        return {}
    return {digest: "val" if side == "floor" else side for digest, side in found.items()}
