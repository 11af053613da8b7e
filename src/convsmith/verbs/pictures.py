"""The pictures that a user names: files, folders, patterns."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith.data import layout
from convsmith.errors import UserError, shown


def pictures(given: Any) -> list[Any]:
    """The pictures that are meant: of a folder all in it, of a pattern ``*.jpg`` all that match, sorted.

    Args:
        given: a file, folder or pattern, a picture in memory, or several.

    Raises:
        UserError: if a folder or pattern holds no picture, or an address of the net is given.
    """
    several = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    return [one for own in (list(given) if several else [given]) for one in _of(own)]


def _of(given: Any) -> list[Any]:
    if not isinstance(given, str | Path):
        return [given]
    if "://" in str(given):
        raise UserError(f"{shown(str(given))} is an address; download the picture first")
    place = Path(given).expanduser()
    if place.is_dir():
        found = sorted(path for path in layout.files(place) if layout.is_picture(path.name))
        if not found:
            raise UserError(f"there is no picture in the folder {shown(place)}")
        return found
    if not place.exists() and any(sign in str(place) for sign in "*?["):
        matched = sorted(glob.glob(str(place), recursive=True))  # noqa: PTH207, of any folder
        if not matched:
            raise UserError(f"nothing matches {shown(str(given))}")
        return [Path(match) for match in matched if Path(match).is_file()]
    return [place if str(given).startswith("~") else given]
