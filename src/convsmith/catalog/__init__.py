"""The catalogue of techniques: one decorator registers, names and checks everything a recipe can say.

A technique is a function or class with its card on top:

    @technique("optimizer", "sgd", source="Robbins & Monro 1951", chapter="10 网络训练 training", use="...")
    def sgd(params, lr: float = 0.1, momentum: float = 0.9): ...

The card's arguments are literals, so :func:`index` reads those of convsmith from the source text and never
imports torch. A technique defined elsewhere, in a notebook or in an installed package with an entry point in
the group ``convsmith.techniques``, is registered when its definition runs.

An argument that is itself a technique, or a file, says so in its annotation:

    def resnet20(activation: Annotated[Spec, Kind("activation")] = "relu"): ...
    def table(classes, file: Annotated[str, Place()] | None = None): ...
"""

from convsmith.catalog.calls import call_of, describe
from convsmith.catalog.cards import Card
from convsmith.catalog.kinds import KINDS, Fetched, Kind, ListOf, Place, SetOf, Spec
from convsmith.catalog.lazy import exports, lazily
from convsmith.catalog.register import card, index, kind_of, listed, load, names, opens_everywhere, technique
from convsmith.catalog.sections import base_name, build, rebuild, renamed, settled, split, validate

__all__ = [
    "KINDS",
    "Card",
    "Fetched",
    "Kind",
    "ListOf",
    "Place",
    "SetOf",
    "Spec",
    "base_name",
    "build",
    "call_of",
    "card",
    "describe",
    "exports",
    "index",
    "kind_of",
    "lazily",
    "listed",
    "load",
    "names",
    "opens_everywhere",
    "rebuild",
    "renamed",
    "settled",
    "split",
    "technique",
    "validate",
]
