"""The nets of the catalogue as parameters of a test; deep ones are marked slow, as smaller ones are alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

# Layers from which on a net is deep: each family has a smaller one. With bottlenecks that is resnet50.
DEEP, KEPT = 44, ("resnet50",)


def marked(names: Iterable[str]) -> list[Any]:
    """Names as parameters, deep nets' marked slow."""
    return [
        pytest.param(name, marks=pytest.mark.slow)
        if _layers(name) >= DEEP and name not in KEPT
        else pytest.param(name)
        for name in names
    ]


def _layers(name: str) -> int:
    """The number at the end of a net's name, 0 where there is none."""
    found = re.fullmatch(r"[a-z_]+(\d+)", name)
    return int(found[1]) if found else 0
