"""Kinds of techniques, and the annotations by which an argument says that it names one."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from convsmith.errors import UserError, nearest

# A section of a recipe: ``"sgd"`` or ``{"sgd": {"lr": 0.1}}``.
Spec = str | Mapping[str, Any]

# docs/architecture.md says what a technique of each kind is called with, and what it gives.
KINDS = (
    "model",
    "term",
    "regularizer",
    "target",
    "optimizer",
    "schedule",
    "sampler",
    "finetuning",
    "cost",
    "class_weight",
    "augmentation",
    "activation",
    "norm",
    "pooling",
    "dropout",
    "neck",
    "convolution",
    "global_pooling",
    "init",
    "vector_norm",
    "matrix_norm",
)


class Kind:
    """Marks an argument or a recipe field that names one technique, of the first kind that has the name.

    >>> Kind("term", "regularizer").names
    ('term', 'regularizer')
    """

    def __init__(self, *names: str) -> None:
        for name in names:
            known(name)
        self.names = names

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.names))})"


class SetOf(Kind):
    """Marks a mapping ``{name: {argument: value}}`` of several techniques.

    Args:
        names: kinds.
        example: a technique to begin with, where the set must not be empty.
    """

    def __init__(self, *names: str, example: str = "") -> None:
        super().__init__(*names)
        self.example = example


class ListOf(Kind):
    """Marks a list of sections: steps that are taken in order and may repeat."""


class Place:
    """Marks the path of a file or folder; a recipe keeps it absolute, so that it holds from any folder."""


class Fetched:
    """Marks a switch that fetches something from elsewhere; rebuilding an object leaves it off."""


Marker = Kind | Place | Fetched


def known(kind: str) -> str:
    """The kind itself, if there is such a kind.

    Raises:
        UserError: if there is none, with the nearest.
    """
    if kind not in KINDS:
        raise UserError(f"there is no kind of technique {kind!r}{nearest(kind, KINDS)}")
    return kind


def marker(hint: Any) -> Marker | None:
    """The first marker in a type hint, also one inside of ``... | None``.

    >>> marker(typing.Annotated[str, Kind("norm")] | None)
    Kind('norm')
    """
    for found in getattr(hint, "__metadata__", ()):
        if isinstance(found, Kind | Place | Fetched):
            return found
    inner = (marker(part) for part in typing.get_args(hint) if typing.get_origin(hint) is not dict)
    return next((m for m in inner if m is not None), None)


def markers(target: Callable[..., Any]) -> dict[str, Marker]:
    """The marked arguments of a technique, by name."""
    found = {name: marker(hint) for name, hint in hints(signed(target)).items()}
    return {name: mark for name, mark in found.items() if mark is not None}


def signed(target: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose signature a technique has as written: a class's ``__init__``, or itself."""
    call: Callable[..., Any] = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    return call


def hints(call: Callable[..., Any]) -> dict[str, Any]:
    """Type hints with their annotations.

    Raises:
        UserError: if a hint names something that isn't defined.
    """
    try:
        return typing.get_type_hints(call, include_extras=True)
    except NameError as error:
        raise UserError(
            f"{call.__qualname__}: the annotation {error.name!r} can't be found; import or define it at the "
            f"top of the module"
        ) from None
