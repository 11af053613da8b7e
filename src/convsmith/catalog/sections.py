"""Sections of a recipe, ``name`` or ``{name: {argument: value}}``: checked, walked through and built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convsmith.catalog import calls
from convsmith.catalog.kinds import Fetched, Kind, ListOf, Marker, Place, SetOf, Spec, markers, signed
from convsmith.catalog.register import card, kind_of, load
from convsmith.errors import UserError, nearest

Change = Callable[[Marker, Any], Any]


def base_name(name: str) -> str:
    """The catalogue's name of ``name``: a part after a colon names something inside (``timm:resnet18``)."""
    return str(name).partition(":")[0]


def split(kind: str, spec: Spec) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a section ``name`` or ``{name: {argument: value}}``, checked by name only.

    A technique's earlier name gives its present one.

    >>> split("optimizer", {"sgd": {"lr": 0.1}})
    ('sgd', {'lr': 0.1})
    """
    name, arguments = _parted(kind, spec)
    known = card(kind, base_name(name))
    name = known.name + name[len(base_name(name)) :]
    if not isinstance(arguments, Mapping):
        raise UserError(
            f"{kind} {name} takes arguments by name, {{{name}: {{argument: value}}}}, got {arguments!r}"
        )
    for key in arguments:
        if key not in known.arguments:
            raise UserError(f"{kind} {name} has no argument {key!r}{nearest(str(key), known.arguments)}")
    return name, dict(arguments)


def _parted(kind: str, spec: Spec) -> tuple[str, Any]:
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and len(spec) == 1:
        name, given = next(iter(spec.items()))
        return str(name), {} if given is None else given
    raise UserError(f"{kind} must be one name or {{name: {{argument: value}}}}, got {spec!r}")


def validate(kind: str | Kind, spec: Any) -> None:
    """Check a section's names and values without building it; this imports the technique.

    Args:
        kind: a name, or what the section's field is marked with: several kinds, a set or a list.
        spec: the section.

    Raises:
        UserError: on an unknown name or argument, or a value of the wrong type or out of its range.
    """
    mark = Kind(kind) if isinstance(kind, str) else kind
    for one in _each(mark, spec):
        own = _kind(mark, one)
        name, arguments = split(own, one)
        target = load(own, base_name(name))
        calls.checked(signed(target), own, name, arguments)
        for key, inner in markers(target).items():
            if isinstance(inner, Kind) and arguments.get(key) is not None:
                validate(inner, arguments[key])


def _each(mark: Kind, spec: Any) -> list[Spec]:
    """The single sections of a field."""
    if isinstance(mark, SetOf):
        return [{name: arguments} for name, arguments in spec.items()]
    return list(spec) if isinstance(mark, ListOf) else [spec]


def _kind(mark: Kind, spec: Spec) -> str:
    if len(mark.names) == 1:
        return mark.names[0]
    return kind_of(base_name(_parted(mark.names[0], spec)[0]), mark.names)


def mapped(mark: Kind, spec: Any, change: Change) -> Any:
    """A copy of a section, each marked argument of which is ``change(marker, value)``; inner ones come first.

    The section itself keeps its form; names are not checked beyond being known.
    """
    if isinstance(mark, SetOf):
        found = [mapped(Kind(*mark.names), {name: arguments}, change) for name, arguments in spec.items()]
        merged = {name: arguments for section in found for name, arguments in section.items()}
        if len(merged) < len(found):
            raise UserError(f"{', '.join(spec)}: two of these are names of one technique; leave one out")
        return merged
    if isinstance(mark, ListOf):
        return [mapped(Kind(*mark.names), section, change) for section in spec]
    name, arguments = _parted(mark.names[0], spec)
    if arguments and isinstance(arguments, Mapping):
        marked = markers(load(_kind(mark, spec), base_name(name)))
        spec = {name: {key: _changed(marked.get(key), value, change) for key, value in arguments.items()}}
    return change(mark, spec)


def _changed(mark: Marker | None, value: Any, change: Change) -> Any:
    if mark is None or value is None:
        return value
    return mapped(mark, value, change) if isinstance(mark, Kind) else change(mark, value)


def settled(mark: Marker, value: Any) -> Any:
    """A copy of a field or section whose places are absolute, where they exist.

    >>> settled(Place(), "digits")
    'digits'
    """

    def change(mark: Marker, value: Any) -> Any:
        return _absolute(value) if isinstance(mark, Place) else value

    return _changed(mark, value, change)


def _absolute(path: Any) -> Any:
    """A place that holds from any folder; what isn't there may be a built-in name, and stays."""
    place = Path(path).expanduser() if isinstance(path, str) else None
    return str(place.absolute()) if place is not None and place.exists() else path


def renamed(mark: Kind, spec: Any) -> tuple[Any, list[tuple[str, str]]]:
    """A copy of a section in which techniques have their present names, and which had earlier ones."""
    found: list[tuple[str, str]] = []

    def change(mark: Marker, value: Any) -> Any:
        if not isinstance(mark, Kind):
            return value
        name, arguments = _parted(mark.names[0], value)
        now = card(_kind(mark, value), base_name(name)).name
        if now == base_name(name):
            return value
        found.append((base_name(name), now))
        now += name[len(base_name(name)) :]
        return now if isinstance(value, str) else {now: arguments}

    return mapped(mark, spec, change), found


def build(kind: str, spec: Spec, **given: Any) -> Any:
    """Call the technique that ``spec`` names.

    Args:
        kind: e.g. ``"optimizer"``.
        spec: ``"sgd"`` or ``{"sgd": {"lr": 0.1}}``; ``"timm:resnet18"`` passes ``"resnet18"`` first.
        given: what the program supplies (``params``, ``num_classes``, ...); names that the signature
            doesn't have are dropped, so that a technique asks only for what it needs.

    Raises:
        UserError: on an unknown name or argument, or a value out of range.

    >>> build("schedule", {"step": {"milestones": [0.5], "gamma": 0.1}})(6.0, 10)
    0.1
    """
    name, arguments = split(kind, spec)
    accepted = inspect.signature(load(kind, base_name(name))).parameters
    supplied = {key: value for key, value in given.items() if key in accepted}
    clash = sorted(set(arguments) & set(supplied))
    if clash:
        raise UserError(f"{kind} {name}: {clash[0]} follows from the data; take it out of the recipe")
    _refuse_missing(kind, name, accepted, {**supplied, **arguments})
    return _called(kind, name, {**supplied, **arguments})


def _refuse_missing(
    kind: str, name: str, accepted: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> None:
    """Refuse a technique without an argument that it can't do without: ``timm`` for ``timm:resnet18``."""
    member = card(kind, base_name(name)).member
    known = {*given, *([member[0]] if member is not None else [])}
    if ":" in name:
        known.add(next(iter(accepted)))
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for key, parameter in accepted.items():
        if (
            parameter.default is inspect.Parameter.empty
            and parameter.kind not in variable
            and key not in known
        ):
            named = key == next(iter(accepted)) and parameter.annotation in (str, "str")
            raise UserError(
                f"{kind} {name} needs its {key}: write {name}:{key.upper()}"
                if named
                else f"{kind} {name} asks for {key}, which a {kind} isn't given; give it a default"
            )


def rebuild(kind: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """Make again what :func:`call_of` describes, with fresh weights: nothing is fetched from elsewhere.

    Raises:
        UserError: on an unknown name or argument, as from a file of a newer convsmith.

    >>> rebuild("norm", "batch", {"channels": 8, "momentum": 0.1}).num_features
    8
    """
    target = load(kind, base_name(name))
    accepted, marked = inspect.signature(target).parameters, markers(target)
    for key in arguments:
        if key not in accepted:
            raise UserError(f"{kind} {name} has no argument {key!r}{nearest(key, accepted)}")

    def unfetched(mark: Marker, value: Any) -> Any:
        return False if isinstance(mark, Fetched) else value

    # At any depth: a net within a net may have been fetched too.
    own = {key: _changed(marked.get(key), value, unfetched) for key, value in arguments.items()}
    return _called(kind, name, own)


def _called(kind: str, name: str, arguments: Mapping[str, Any]) -> Any:
    target = load(kind, base_name(name))
    member = card(kind, base_name(name)).member
    family = {} if member is None else {member[0]: member[1]}
    if ":" not in name:
        return target(**family, **arguments)
    first = next(iter(inspect.signature(target).parameters))
    built = target(name.partition(":")[2], **family, **arguments)
    calls.named(built, name, first)
    return built
