"""What a training that goes on may be given: its own words again, and new ones for what may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.recipe.checking import Keys, Strict, marks, value_at
from convsmith.recipe.schema import Recipe

# Keys that say how long and on what machine a training goes on, but not what it trains on what.
FREE = frozenset(
    {
        *("data.path", "data.workers", "data.memory_share", "data.disk_share"),
        *("train.epochs", "train.minutes", "train.seed", "train.early_stopping", "train.auto"),
        *("train.device", "train.devices", "train.nodes", "train.strategy", "train.precision"),
        *("train.channels_last", "train.compile", "train.accumulate", "train.clip", "train.allocator"),
        *("train.validate_every", "train.checkpoint_minutes", "train.tensorboard"),
    }
)


def changes(given: Recipe, own: Recipe) -> dict[str, Any]:
    """The values of ``own`` that ``given`` changes, by dotted key; what it says alike is no change.

    Args:
        given: what the user says now, with gaps.
        own: the run's recipe.

    Raises:
        UserError: if something would be changed that a training that goes on can't change.

    >>> from convsmith.recipe import load
    >>> own = load(overrides=["model=resnet20", "train.epochs=3", "optimizer.sgd.lr=0.1"])
    >>> changes(load(overrides=["model=resnet20", "train.epochs=5"]), own)
    {'train.epochs': 5}
    >>> changes(load(overrides=["optimizer.sgd.lr=0.2"]), own)
    Traceback (most recent call last):
    convsmith.errors.UserError: the run has optimizer.sgd.lr=0.1, and goes on so; \
optimizer.sgd.lr=0.2 is another training: leave it out, or start a new run
    """
    found: dict[str, Any] = {}
    said = _plain(given, given.model_dump(exclude_unset=True))
    has = _plain(own, own.model_dump())
    for keys, value in _leaves(said):
        if _same(value, _at(has, keys)):
            continue
        section = ".".join(keys[:2])
        if section not in FREE:
            _refuse(keys, said, has)
        found[section] = value_at(given, tuple(section.split(".")))
    return found


def _refuse(keys: Keys, said: Any, has: Any) -> None:
    """Refuse a value, at the section in which the run has something else."""
    least = 2 if keys[0] in ("data", "train") else 1
    while len(keys) > least and _at(has, keys) is None:
        keys = keys[:-1]
    dotted, before = ".".join(keys), _word(_at(has, keys))
    raise UserError(
        f"the run has {'no ' + dotted if before == 'null' else f'{dotted}={before}'}, and goes on so; "
        f"{dotted}={_word(_at(said, keys))} is another training: leave it out, or start a new run"
    )


def differences(now: Recipe, before: Recipe) -> dict[str, Any]:
    """The values of what may change in which two recipes of one training differ, by dotted key."""
    found = {dotted: value_at(now, tuple(dotted.split("."))) for dotted in sorted(FREE)}
    return {
        dotted: value.model_dump() if isinstance(value, Strict) else value
        for dotted, value in found.items()
        if value != value_at(before, tuple(dotted.split(".")))
    }


def _plain(recipe: Recipe, tree: dict[str, Any]) -> dict[str, Any]:
    """The recipe as a tree in which each technique is ``{name: {argument: value}}``."""
    for keys, mark in marks(type(recipe)).items():
        node: Any = tree
        for key in keys[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        value = node.get(keys[-1]) if isinstance(node, dict) else None
        if value is None:
            continue
        settled = catalog.settled(mark, value)
        node[keys[-1]] = {settled: {}} if isinstance(settled, str) and hasattr(mark, "names") else settled
    return tree


def _leaves(node: Any, keys: Keys = ()) -> list[tuple[Keys, Any]]:
    if isinstance(node, Mapping) and node:
        return [leaf for key, value in node.items() for leaf in _leaves(value, (*keys, str(key)))]
    return [(keys, node)] if keys else []


def _at(tree: Any, keys: Keys) -> Any:
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def _same(value: Any, before: Any) -> bool:
    """Whether a value says what is there: an empty section asks for nothing of it."""
    if isinstance(value, Mapping) and not value:
        return isinstance(before, Mapping)
    return bool(value == before)


def _word(value: Any) -> str:
    """A value as a recipe's override says it."""
    if isinstance(value, Mapping):
        inner = {key: _word(own) for key, own in value.items()}
        alone = [key for key, own in inner.items() if own == "{}"]
        if len(inner) == 1 and alone:
            return str(alone[0])
        return "{" + ", ".join(f"{key}: {own}" for key, own in inner.items()) + "}"
    return "null" if value is None else str(value)
