"""Recipes from YAML files and from overrides."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.recipe.checking import Keys, Tree, Where, modernized, put, validated
from convsmith.recipe.schema import Plan, Recipe

R = TypeVar("R", bound=Recipe)
Source = str | Path | Mapping[str, Any] | Recipe | None


def load(source: Source = None, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and apply overrides ``a.b=c`` to it; old names of keys are noted in its ``notes``.

    Args:
        source: a YAML file, the same as nested dictionaries, a recipe, or None for the defaults.
        overrides: texts ``"a.b=c"``, applied in order. Naming another choice in
            ``model``, ``optimizer`` or ``schedule`` replaces the choice; ``objective`` and
            ``data.augment`` are sets, into which a name is merged and from which ``name=null`` takes it.

    Raises:
        UserError: on anything unknown or out of range, with the file's line and the nearest right word.

    >>> load(overrides=["optimizer.adam.lr=0.001"]).optimizer
    {'adam': {'lr': 0.001}}
    """
    return _loaded(Recipe, source, overrides)


def load_plan(source: Source, overrides: Iterable[str] = ()) -> Plan:
    """Read the recipe that a run wrote: one without gaps.

    Raises:
        UserError: as :func:`load`, and if something is left open.
    """
    return _loaded(Plan, source, overrides)


def _loaded(model: type[R], source: Source, overrides: Iterable[str]) -> R:
    where: Where = {}
    notes: list[Finding] = []
    if source is None:
        tree: Tree = {}
    elif isinstance(source, Recipe):
        tree = source.model_dump(exclude_unset=True)
        notes += source.notes
    elif isinstance(source, Mapping):
        tree = copy.deepcopy(dict(source))
    else:
        tree = _read(Path(source), where)
    notes += modernized(model, tree, where)
    for override in overrides:
        keys, value = _parsed(override)
        notes += put(model, tree, keys, value, f"`{override}`", where)
    recipe = validated(model, tree, where, notes)
    return recipe.noted(tuple(notes)) if notes else recipe


def _parsed(override: str) -> tuple[Keys, Any]:
    path, equals, text = override.partition("=")
    keys = tuple(key.strip() for key in path.split("."))
    if not equals or not all(keys):
        raise UserError(f"`set` takes key.key=value, e.g. `optimizer.sgd.lr=0.05`; got {override!r}")
    try:
        return keys, YAML(typ="safe").load(text)
    except YAMLError:
        raise UserError(f"`{override}`: {text!r} is not a YAML value") from None


def _read(file: Path, where: Where) -> Tree:
    """The file's content; ``where`` gets for each key the place ``file:line`` where it stands."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the recipe {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"the recipe {file} is not UTF-8 text") from None
    try:
        content = YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or "broken YAML").splitlines()[0]
        raise UserError(f"{file}{line}: not valid YAML: {problem}") from None
    if content is None:
        content = CommentedMap()
    if not isinstance(content, CommentedMap):
        raise UserError(f"{file}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}")
    plain: Tree = _plain(content, (), str(file), where)
    return plain


def _plain(node: Any, keys: Keys, file: str, where: Where) -> Any:
    if isinstance(node, CommentedMap):
        for key in node:
            where[*keys, str(key)] = f"{file}:{node.lc.key(key)[0] + 1}"
        return {str(key): _plain(value, (*keys, str(key)), file, where) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value, keys, file, where) for value in node]
    # ruamel's numbers remember their spelling; a recipe wants the numbers.
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node
