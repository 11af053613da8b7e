"""One choice that the advice makes for a recipe, and how choices make a plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from convsmith.recipe import Plan, Recipe

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Choice:
    """A value for a key of the recipe, and the reason; empty where the value follows from what was given.

    >>> Choice("data.batch_size", 128, "the usual size").key
    'data.batch_size'
    """

    key: str
    value: Any
    why: str = ""


def changed(recipe: R, choices: Iterable[Choice]) -> R:
    """The recipe with these choices, later ones over earlier ones.

    Raises:
        UserError: if a value isn't valid for its key.
    """
    for choice in choices:
        recipe = recipe.changed({choice.key: choice.value})
    return recipe


def reasons(choices: Iterable[Choice]) -> dict[str, str]:
    """The reasons by dotted key, of those choices that have one."""
    return {choice.key: choice.why for choice in choices if choice.why}


def applied(recipe: Recipe, choices: Iterable[Choice]) -> tuple[Plan, dict[str, str]]:
    """The plan that a recipe and the choices for its gaps make, and the reasons by dotted key.

    Raises:
        UserError: if a gap is left.
    """
    choices = list(choices)
    return Plan.of(changed(recipe, choices)), reasons(choices)
