"""Trees of plain values that become typed recipes: changes, old names, and mistakes with their place."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from convsmith import catalog
from convsmith.catalog import Kind, ListOf, Place, SetOf
from convsmith.catalog.kinds import marker
from convsmith.errors import UserError, nearest
from convsmith.findings import Finding

Keys = tuple[str, ...]
Tree = dict[str, Any]
# For each key the place where it was written: ``file:line`` or the override, `key=value`.
Where = dict[Keys, str]


class Strict(BaseModel):
    """A frozen section that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=Strict)


@dataclass(frozen=True)
class Formerly:
    """Marks a field that had another name, under which recipes still load."""

    name: str


@functools.cache
def marks(model: type[Strict]) -> dict[Keys, Kind | Place]:
    """Which fields of a recipe name techniques or places, by their keys."""
    found: dict[Keys, Kind | Place] = {}
    for name, hint in typing.get_type_hints(model, include_extras=True).items():
        if name not in model.model_fields:
            continue
        mark, inner = marker(hint), _section(hint)
        if isinstance(mark, Kind | Place):
            found[name,] = mark
        elif inner is not None:
            found |= {(name, *keys): mark for keys, mark in marks(inner).items()}
    return found


@functools.cache
def former(model: type[Strict]) -> dict[Keys, str]:
    """Keys that have another name now, with it."""
    found: dict[Keys, str] = {}
    for name, hint in typing.get_type_hints(model, include_extras=True).items():
        if name in model.model_fields:
            old = [m.name for m in getattr(hint, "__metadata__", ()) if isinstance(m, Formerly)]
            found |= {(key,): name for key in old}
            inner = _section(hint)
            found |= {(name, *keys): new for keys, new in former(inner).items()} if inner is not None else {}
    return found


def _section(hint: Any) -> type[Strict] | None:
    """The section that a field holds, if it holds one."""
    candidates = [hint, *typing.get_args(hint)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Strict)), None)


def put(
    model: type[Strict], tree: Tree, keys: Keys, value: Any, said: str, where: Where | None = None
) -> list[Finding]:
    """Write ``value`` into ``tree`` under ``keys``, and give notes on old names.

    Naming another choice of a technique replaces the choice; a set merges a name, and None takes it out.

    Args:
        model: what the tree is to become.
        tree: is changed.
        keys: of the value.
        value: plain.
        said: the user's words, for mistakes.
        where: gets the places of the keys.

    Raises:
        UserError: if a value stands where a section would have to be.
    """
    known = marks(model)
    keys, notes = _present(model, keys, said)
    here = tree
    for depth, key in enumerate(keys[:-1], start=1):
        inner = here.get(key)
        if inner is None:
            # Only what names techniques is merged with its default: the rest stays open, to be chosen.
            named = any(isinstance(known.get(keys[:length]), Kind) for length in range(1, depth + 1))
            inner = _default(model, keys[:depth]) if named else {}
        if isinstance(inner, str):
            inner = {inner: {}}
        mark = known.get(keys[:depth])
        if isinstance(mark, Kind) and not isinstance(mark, SetOf | ListOf) and set(inner) != {keys[depth]}:
            inner = {}
        if not isinstance(inner, dict):
            raise UserError(f"{said}: {'.'.join(keys[:depth])} is a value, not a section")
        here[key] = inner
        here = inner
    if value is None and isinstance(known.get(keys[:-1]), SetOf):
        here.pop(keys[-1], None)
    else:
        here[keys[-1]] = value
    for depth in range(1, len(keys) + 1):
        if where is not None:
            where.setdefault(keys[:depth], said)
    return notes


def _default(model: type[Strict], keys: Keys) -> Any:
    """The default of a field, {} if there is none."""
    node: Any = model
    for key in keys:
        fields = node.model_fields if isinstance(node, type) and issubclass(node, Strict) else {}
        if key not in fields:
            return {}
        default = fields[key].get_default()
        node = type(default) if isinstance(default, Strict) else default
    return node if isinstance(node, dict | str) else {}


def _present(model: type[Strict], keys: Keys, said: str) -> tuple[Keys, list[Finding]]:
    """Keys by their present names, with a note for each old one."""
    notes, now = [], list(keys)
    for depth in range(1, len(keys) + 1):
        new = former(model).get(tuple(now[:depth]))
        mark = marks(model).get(tuple(now[: depth - 1])) if depth > 1 else None
        if isinstance(mark, Kind) and not isinstance(mark, ListOf):
            new = _technique(mark, now[depth - 1])
        if new is not None and new != now[depth - 1]:
            notes.append(_note(said, tuple(now[:depth]), new))
            now[depth - 1] = new
    return tuple(now), notes


def _technique(mark: Kind, name: str) -> str | None:
    try:
        kind = catalog.kind_of(catalog.base_name(name), mark.names)
    except UserError:
        return None  # is said when the whole is checked
    return catalog.split(kind, name)[0]


def _note(place: str, keys: Keys, new: str) -> Finding:
    before, after = ".".join(keys), ".".join((*keys[:-1], new))
    return Finding(
        seen=f"{place}: {before} is called {after} now; the old name goes on working",
        change=f"write {after}",
        name="renamed",
    )


def modernized(model: type[Strict], tree: Tree, where: Where) -> list[Finding]:
    """Give old keys of ``tree`` their present names, in place; returns a note for each.

    Raises:
        UserError: if both the old and the new name are there.
    """
    notes = []
    for keys, new in former(model).items():
        parent: Any = tree
        for key in keys[:-1]:
            parent = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(parent, dict) or keys[-1] not in parent:
            continue
        place = where.get(keys, "recipe")
        if new in parent:
            raise UserError(
                f"{place}: {'.'.join(keys)} is the old name of {new}, which is there too; leave it out"
            )
        parent[new] = parent.pop(keys[-1])
        if keys in where:
            where[*keys[:-1], new] = where[keys]
        notes.append(_note(place, keys, new))
    return notes + _modern_techniques(model, tree, where)


def _modern_techniques(model: type[Strict], tree: Tree, where: Where) -> list[Finding]:
    """Present names for techniques too, so that overrides by either name meet them; mistakes come later."""
    notes = []
    for keys, mark in marks(model).items():
        parent: Any = tree
        for key in keys[:-1]:
            parent = parent.get(key) if isinstance(parent, dict) else None
        form = dict if isinstance(mark, SetOf) else list if isinstance(mark, ListOf) else str | dict
        value = parent.get(keys[-1]) if isinstance(parent, dict) else None
        if not isinstance(mark, Kind) or not isinstance(value, form):
            continue
        try:
            present, old = catalog.renamed(mark, value)
        except UserError:
            continue
        parent[keys[-1]] = present
        for before, after in old:
            place = next((where[k] for k in where if k[: len(keys)] == keys and k[-1] == before), None)
            notes.append(_note(place or where.get(keys, "recipe"), (*keys, before), after))
            moved = {k: at for k, at in where.items() if k[: len(keys) + 1] == (*keys, before)}
            where.update({(*keys, after, *k[len(keys) + 1 :]): at for k, at in moved.items()})
    return notes


def validated(model: type[M], tree: Tree, where: Mapping[Keys, str], notes: list[Finding] | None = None) -> M:
    """The typed recipe that ``tree`` is, its techniques checked and by their present names.

    Args:
        model: the type.
        tree: plain values, which stay as they are.
        where: places of the keys.
        notes: gets what is worth saying of old names.

    Raises:
        UserError: on anything unknown or out of range, with its place and the nearest right word.
    """
    try:
        recipe = model.model_validate(tree)
    except ValidationError as error:
        raise UserError(_sentence(model, error, where)) from None
    changes: list[tuple[Keys, Any]] = []
    for keys, mark in marks(model).items():
        value = value_at(recipe, keys)
        if value is None or not isinstance(mark, Kind):
            continue
        if isinstance(mark, SetOf) and not value and mark.example:
            dotted = ".".join(keys)
            raise UserError(
                f"{_place(keys, where)}{dotted} needs at least one {mark.names[0]}, e.g. {mark.example}"
            )
        _check(mark, value, keys, where)
        present, old = catalog.renamed(mark, value)
        if old:
            changes.append((keys, present))
            place = _place(keys, where).removesuffix(": ") or "recipe"
            if notes is not None:
                notes += [_note(place, (*keys, before), after) for before, after in old]
    return _replaced(recipe, changes) if changes else recipe


def _replaced(recipe: M, changes: list[tuple[Keys, Any]]) -> M:
    tree = recipe.model_dump(exclude_unset=True)
    for keys, value in changes:
        node = tree
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
    return type(recipe).model_validate(tree)


def value_at(recipe: Strict, keys: Keys) -> Any:
    """The value of a field by its keys; None within a section that is None."""
    node: Any = recipe
    for key in keys:
        node = None if node is None else getattr(node, key)
    return node


def _check(mark: Kind, value: Any, keys: Keys, where: Mapping[Keys, str]) -> None:
    try:
        catalog.validate(mark, value)
    except UserError as error:
        # The deepest key that the message names carries the line.
        text = str(error)
        named = [k for k in where if k[: len(keys)] == keys and (repr(k[-1]) in text or f" {k[-1]}=" in text)]
        place = max(named, key=len) if named else keys
        raise UserError(_place(place, where) + text) from None


def _sentence(model: type[Strict], error: ValidationError, where: Mapping[Keys, str]) -> str:
    problem = error.errors()[0]
    fields = _fields_along(model, problem["loc"])
    keys = tuple(str(part) for part in problem["loc"][: len(fields)])
    dotted = ".".join(keys)
    place = _place(keys, where)
    if problem["type"] == "extra_forbidden":
        parent = ".".join(keys[:-1]) or "the recipe"
        return f"{place}unknown key {keys[-1]!r} in {parent}{nearest(keys[-1], fields[-1])}"
    if problem["type"] == "missing":
        return f"{place}{dotted} is missing; a run's recipe leaves nothing open"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{place}{dotted}={problem['input']!r} is not valid: {message}"


def _fields_along(model: type[Strict], loc: tuple[int | str, ...]) -> list[list[str]]:
    """For each part of a pydantic location that is a recipe key, the keys allowed at its place."""
    here: type[Strict] | None = model
    allowed = []
    for part in loc:
        if here is None:
            break
        allowed.append(list(here.model_fields))
        field = here.model_fields.get(str(part))
        here = _section(field.annotation) if field is not None else None
    return allowed


def _place(keys: Keys, where: Mapping[Keys, str]) -> str:
    while keys and keys not in where:
        keys = keys[:-1]
    return f"{where[keys]}: " if keys else ""
