"""Calls of techniques: their options are checked, and what was built remembers the call."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from convsmith.catalog.kinds import hints
from convsmith.errors import UserError, nearest

_BUILT = "_convsmith_built"
Members = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Note:
    """What built an object, kept on it.

    ``options`` are the arguments with defaults that the call gave; ``arguments`` are all of them, defaults
    filled in, that a JSON file can hold; ``left_out`` names the others (tensors, parameters).
    """

    kind: str
    name: str
    options: dict[str, Any]
    arguments: dict[str, Any]
    left_out: tuple[str, ...] = ()


def recording(
    call: Callable[..., Any], kind: str, pattern: str, members: Members, owner: type | None = None
) -> Callable[..., Any]:
    """``call`` with checked options, noting on its result what built it.

    Args:
        call: a function, or the ``__init__`` of ``owner``.
        kind, pattern, members: as in :func:`convsmith.catalog.technique`.
        owner: the class, of which only direct instances get the note.
    """
    signature = inspect.signature(call)

    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        name = pattern.format(**_member(kind, pattern, members, bound.arguments))
        options = {
            key: value
            for key, value in bound.arguments.items()
            if signature.parameters[key].default is not inspect.Parameter.empty
        }
        bound.arguments.update(checked(call, kind, name, options))
        result = call(*bound.args, **bound.kwargs)
        # A subclass with a card of its own answers with its own name: its call ends last. One without a card
        # must not answer with its parent's, which would build something else.
        built = result if owner is None else args[0]
        if owner is None or type(built) is owner:
            note(built, _note(kind, name, members, bound, options))
        return result

    return wrapper


def _note(
    kind: str, name: str, members: Members, bound: inspect.BoundArguments, options: Mapping[str, Any]
) -> Note:
    given = {key: bound.arguments[key] for key in options}
    bound.apply_defaults()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    arguments = {
        key: value
        for key, value in bound.arguments.items()
        if key != "self"
        and key not in members
        and not (bound.signature.parameters[key].kind in variable and not value)
    }
    plain = {key: _plain(value) for key, value in arguments.items() if _is_plain(value)}
    return Note(kind, name, given, plain, tuple(key for key in arguments if key not in plain))


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _plain(value: Any) -> Any:
    """The value as JSON gives it back."""
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def note(built: object, content: Note) -> None:
    # What can't hold a note (a number, a class with __slots__) has none.
    try:
        object.__setattr__(built, _BUILT, content)
    except (AttributeError, TypeError):
        return


def named(built: object, name: str, first: str) -> None:
    """Rename what built an object: ``timm:resnet18`` says in the name what was the argument ``first``."""
    before: Note = getattr(built, _BUILT)
    rest = {key: value for key, value in before.arguments.items() if key != first}
    note(built, replace(before, name=name, arguments=rest))


def _member(kind: str, pattern: str, members: Members, given: Mapping[str, Any]) -> dict[str, int]:
    """Which of a family's names a call stands for."""
    for key, values in members.items():
        if given[key] not in values:
            known = ", ".join(pattern.format(**{key: value}) for value in values)
            raise UserError(f"there is no {kind} {pattern.format(**{key: given[key]})}; there are {known}")
    return {key: given[key] for key in members}


def checked(call: Callable[..., Any], kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` as the annotations of ``call`` want them.

    Raises:
        UserError: if a value is of the wrong type or out of its range.
    """
    # Imported here: `--help` and `techniques` validate nothing.
    from pydantic import ValidationError

    found = {}
    for key, adapter in _adapters(call).items():
        if key not in options:
            continue
        try:
            found[key] = adapter.validate_python(options[key])
        except ValidationError as error:
            problem = error.errors()[0]
            hint = ""
            if problem["type"] == "literal_error":
                choices = typing.get_args(typing.get_type_hints(call)[key])
                hint = nearest(str(options[key]), [str(choice) for choice in choices])
            message = problem["msg"][0].lower() + problem["msg"][1:]
            raise UserError(f"{kind} {name}: {key}={options[key]!r} is not valid, {message}{hint}") from None
    return found


@functools.cache
def _adapters(call: Callable[..., Any]) -> dict[str, Any]:
    """A pydantic validator for every option (a parameter with a default) of ``call``."""
    from pydantic import ConfigDict, TypeAdapter

    typed = hints(call)
    config = ConfigDict(arbitrary_types_allowed=True)
    return {
        key: TypeAdapter(typed[key], config=config)
        for key, parameter in inspect.signature(call).parameters.items()
        if parameter.default is not inspect.Parameter.empty and key in typed
    }


def describe(built: object) -> dict[str, dict[str, Any]]:
    """The section ``{name: {argument: value}}`` of a recipe that built an object.

    Raises:
        TypeError: if no technique built it.

    >>> from convsmith import catalog
    >>> describe(catalog.build("schedule", {"cosine": {"warmup": 2}}))
    {'cosine': {'warmup': 2.0}}
    """
    content = _noted(built)
    return {content.name: dict(content.options)}


def call_of(built: object) -> tuple[str, str, dict[str, Any]]:
    """Kind, name and all arguments of the call that built an object, defaults included, as JSON holds them.

    :func:`convsmith.catalog.rebuild` makes the same object of them, with fresh weights.

    Raises:
        TypeError: if no technique built it, or the call was given something that JSON can't hold.

    >>> from convsmith import catalog
    >>> call_of(catalog.build("schedule", {"cosine": {"warmup": 2}}))
    ('schedule', 'cosine', {'warmup': 2.0, 'final': 0.0})
    """
    content = _noted(built)
    if content.left_out:
        raise TypeError(
            f"{content.kind} {content.name} was built with {content.left_out[0]}, which a file can't hold"
        )
    return content.kind, content.name, _plain(content.arguments)


def _noted(built: object) -> Note:
    found: Note | None = getattr(built, _BUILT, None)
    if found is None:
        raise TypeError(f"{type(built).__name__} was not built by a technique of the catalogue")
    return found
