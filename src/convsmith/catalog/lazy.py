"""Techniques as names of their package: ``from convsmith.objectives import CenterLoss``."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convsmith.catalog.cards import own


def exports(package: str) -> dict[str, str]:
    """Names of convsmith's techniques within a package, each with the module that defines it.

    A name that two techniques have, or a module of the package, is left out: it would be ambiguous.

    >>> exports("convsmith.objectives")["CenterLoss"]
    'convsmith.objectives.center'
    """
    inside = {(c.attribute, c.module) for c in own().values() if c.module.startswith(f"{package}.")}
    count = Counter(name for name, _ in inside)
    folder = Path(__file__).parents[1].joinpath(*package.split(".")[1:])
    modules = {path.stem for path in folder.iterdir()}
    return {name: module for name, module in sorted(inside) if count[name] == 1 and name not in modules}


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose techniques are its names."""

    def get(name: str) -> Any:
        if name == "__all__":
            return list(exports(package))
        # Python asks for __path__ and the like; the catalogue is not read for those.
        module = None if name.startswith("_") else exports(package).get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(module), name)

    def names() -> list[str]:
        return sorted(exports(package))

    return get, names
