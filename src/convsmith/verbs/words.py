"""Recipes from the arguments of a verb."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convsmith import recipe as recipes
from convsmith.errors import expect
from convsmith.recipe import Recipe

# A YAML file, the same as nested dictionaries, or a recipe.
RecipeWords = str | Path | Mapping[str, Any] | Recipe | None
# Overrides "a.b=c", or values by dotted key.
Overrides = Sequence[str] | str | Mapping[str, Any]


def recipe_of(
    data: str | Path | None,
    model: str | None,
    start_from: str | os.PathLike[str] | None,
    recipe: RecipeWords,
    overrides: Overrides = (),
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Make a recipe, which may have gaps, from the arguments of a verb.

    Args:
        data, model, start_from: as in :func:`convsmith.train`; None leaves the recipe's.
        recipe: what the others change.
        overrides: ``"a.b=c"`` or a list of such, or values by dotted key.
        options: of the section ``train``; None leaves the recipe's.

    Raises:
        UserError: on anything unknown or out of range.
    """
    path = (str, os.PathLike, type(None))
    expect("start_from", start_from, path, "a run, a model folder, a weight file or timm:NAME")
    expect("recipe", recipe, (*path, Mapping, Recipe), "a YAML file, nested dictionaries or a recipe")
    expect("set", overrides, (str, Sequence, Mapping), 'a list of "a.b=c", or values by dotted key')
    words = [f"model={model}"] if model else []
    found = recipes.load(recipe, [*words, *as_words(overrides)])
    changes: dict[str, Any] = dict(overrides) if isinstance(overrides, Mapping) else {}
    changes |= {f"train.{key}": value for key, value in (options or {}).items() if value is not None}
    if data is not None:
        changes["data.path"] = os.fspath(data)
    if start_from is not None:
        changes["train.start_from"] = os.fspath(start_from)
    return found.changed(changes)


def as_words(overrides: Overrides) -> list[str]:
    """Overrides that are texts ``"a.b=c"``; an empty list for values by key.

    >>> as_words("train.epochs=3"), as_words({"train.epochs": 3})
    (['train.epochs=3'], [])
    """
    if isinstance(overrides, Mapping):
        return []
    words = [overrides] if isinstance(overrides, str) else list(overrides)
    for word in words:
        expect("set", word, str, 'a list of "a.b=c", or values by dotted key')
    return words
