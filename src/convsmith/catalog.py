"""The catalogue of techniques: one decorator registers, names and checks everything a recipe can say.

A technique is a function or class with its card on top:

    @technique("optimizer", "sgd", source="Robbins & Monro 1951", chapter="10 网络训练 training", use="...")
    def sgd(params, lr: float = 0.1, momentum: float = 0.9): ...

The card's arguments are literals, so :func:`index` reads them from the source text and never imports torch.
A family is one function with several names, of which each passes its own first argument:

    @technique("model", "vgg{depth}", depth=(11, 13, 16, 19), source=...)
    def vgg(depth, num_classes=1000): ...
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from convsmith.errors import UserError, nearest

T = TypeVar("T", bound=Callable[..., Any])
Spec = str | Mapping[str, Any]
_BUILT = "_convsmith_built"


@dataclass(frozen=True)
class Card:
    """What the catalogue knows of one technique without importing it."""

    kind: str
    name: str
    source: str
    chapter: str
    use: str
    module: str
    attribute: str
    arguments: tuple[str, ...]
    summary: str
    # What a family's name passes to its function, e.g. ("depth", 16).
    member: tuple[str, int] | None = None


def technique(
    kind: str, name: str, *, source: str, chapter: str, use: str, **members: tuple[int, ...]
) -> Callable[[T], T]:
    """Register the function or class below under ``kind`` and ``name``; all arguments must be literals.

    ``name`` may be a pattern over one of ``members``, ``"vgg{depth}"`` with ``depth=(11, 13)``. Each call,
    through a recipe or from Python, has its options checked against the signature's annotations, and leaves
    a note on the result from which :func:`describe` answers.

    Raises:
        UserError: on a call with an option of the wrong type or out of its range.
    """

    def register(target: T) -> T:
        if inspect.isclass(target):
            type.__setattr__(target, "__init__", _recording(target.__init__, kind, name, members))
            return target
        return typing.cast(T, _recording(target, kind, name, members))

    return register


def _recording(
    call: Callable[..., Any], kind: str, pattern: str, members: Mapping[str, tuple[int, ...]]
) -> Callable[..., Any]:
    signature = inspect.signature(call)
    is_method = next(iter(signature.parameters), "") == "self"

    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        name = pattern.format(**_member(kind, pattern, members, bound.arguments))
        options = {
            key: value
            for key, value in bound.arguments.items()
            if signature.parameters[key].default is not inspect.Parameter.empty
        }
        bound.arguments.update(_validated(call, kind, name, options))
        result = call(*bound.args, **bound.kwargs)
        # The outermost call notes last: a subclass answers with its own name.
        built = args[0] if is_method else result
        object.__setattr__(
            built,
            _BUILT,
            (kind, name, {k: bound.arguments[k] for k in options}, {k: v for k, v in bound.arguments.items() if k not in members}),
        )
        return result

    return wrapper


def _member(
    kind: str, pattern: str, members: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]
) -> dict[str, int]:
    """Which of a family's names a call stands for."""
    for key, values in members.items():
        if given[key] not in values:
            known = ", ".join(pattern.format(**{key: value}) for value in values)
            raise UserError(f"there is no {kind} {pattern.format(**{key: given[key]})}; there are {known}")
    return {key: given[key] for key in members}


def _validated(call: Callable[..., Any], kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    # Imported here: `--help` and `techniques` validate nothing.
    from pydantic import ValidationError

    checked = {}
    for key, adapter in _adapters(call).items():
        if key not in options:
            continue
        try:
            checked[key] = adapter.validate_python(options[key])
        except ValidationError as error:
            problem = error.errors()[0]
            hint = ""
            if problem["type"] == "literal_error":
                choices = typing.get_args(typing.get_type_hints(call)[key])
                hint = nearest(str(options[key]), [str(choice) for choice in choices])
            message = problem["msg"][0].lower() + problem["msg"][1:]
            raise UserError(f"{kind} {name}: {key}={options[key]!r} is not valid, {message}{hint}") from None
    return checked


@functools.cache
def _adapters(call: Callable[..., Any]) -> dict[str, Any]:
    """A pydantic validator for every option (a parameter with a default) of ``call``."""
    from pydantic import ConfigDict, TypeAdapter

    hints = typing.get_type_hints(call, include_extras=True)
    config = ConfigDict(arbitrary_types_allowed=True)
    return {
        key: TypeAdapter(hints[key], config=config)
        for key, parameter in inspect.signature(call).parameters.items()
        if parameter.default is not inspect.Parameter.empty and key in hints
    }


@functools.cache
def index() -> dict[tuple[str, str], Card]:
    """All techniques by (kind, name), read from the package's source text without importing it."""
    cards: dict[tuple[str, str], Card] = {}
    root = Path(__file__).parent
    for file in sorted(root.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "\n@technique(" not in text:
            continue
        module = ".".join(("convsmith", *file.relative_to(root).with_suffix("").parts))
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for card in _cards_of(node, module):
                    if (card.kind, card.name) in cards:
                        raise AssertionError(f"two techniques are called {card.kind} {card.name}")
                    cards[card.kind, card.name] = card
    return cards


def _cards_of(node: ast.FunctionDef | ast.ClassDef, module: str) -> list[Card]:
    found = []
    for call in node.decorator_list:
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "technique"):
            continue
        kind, pattern = (ast.literal_eval(argument) for argument in call.args)
        words = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        described = {key: words.pop(key) for key in ("source", "chapter", "use")}
        summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
        members: list[Any] = [(key, value) for key, values in words.items() for value in values] or [None]
        found += [
            Card(
                kind,
                pattern.format(**dict([member] if member else [])),
                **described,
                module=module,
                attribute=node.name,
                arguments=_options(node),
                summary=summary,
                member=member,
            )
            for member in members
        ]
    return found


def _options(node: ast.FunctionDef | ast.ClassDef) -> tuple[str, ...]:
    """Names of the parameters with defaults: those a recipe may set."""
    if isinstance(node, ast.ClassDef):
        inits = [
            child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"
        ]
        if not inits:
            return ()
        node = inits[0]
    positional = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    keyword = [a for a, default in zip(node.args.kwonlyargs, node.args.kw_defaults) if default is not None]
    return tuple(argument.arg for argument in [*positional, *keyword])


def names(kind: str) -> list[str]:
    """Names of all techniques of a kind, sorted.

    >>> "sgd" in names("optimizer")
    True
    """
    return sorted(name for k, name in index() if k == kind)


def card(kind: str, name: str) -> Card:
    """The card of one technique.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    try:
        return index()[kind, name]
    except KeyError:
        raise UserError(f"there is no {kind} {name!r}{nearest(name, names(kind))}") from None


def load(kind: str, name: str) -> Any:
    """The function or class itself; this is what imports torch."""
    found = card(kind, name)
    return getattr(importlib.import_module(found.module), found.attribute)


def split(kind: str, spec: Spec) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a section ``name`` or ``{name: {argument: value}}``, checked by name only.

    >>> split("optimizer", {"sgd": {"lr": 0.1}})
    ('sgd', {'lr': 0.1})
    """
    if isinstance(spec, str):
        name = spec
        arguments: Any = {}
    elif isinstance(spec, Mapping) and len(spec) == 1:
        name, given = next(iter(spec.items()))
        arguments = {} if given is None else given
    else:
        raise UserError(f"{kind} must be one name or {{name: {{argument: value}}}}, got {spec!r}")
    known = card(kind, base_name(name))
    if not isinstance(arguments, Mapping):
        raise UserError(
            f"{kind} {name} takes arguments by name, {{{name}: {{argument: value}}}}, got {arguments!r}"
        )
    for key in arguments:
        if key not in known.arguments:
            raise UserError(f"{kind} {name} has no argument {key!r}{nearest(str(key), known.arguments)}")
    return name, dict(arguments)


def validate(kind: str, spec: Spec) -> None:
    """Check a section's names and values without building it; this imports the technique.

    Raises:
        UserError: on an unknown name or argument, or a value of the wrong type or out of its range.
    """
    name, arguments = split(kind, spec)
    target = load(kind, base_name(name))
    call = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    _validated(call, kind, name, arguments)
    for key in set(arguments) & {k for k, _ in index()}:
        if arguments[key] is not None:
            validate(key, arguments[key])  # an activation or initialization inside a net


def kind_of(name: str, kinds: Sequence[str]) -> str:
    """Which of several kinds has a technique of this name.

    Raises:
        UserError: if none has, with the nearest name of all.

    >>> kind_of("l2", ["term", "regularizer"])
    'term'
    """
    for kind in kinds:
        if (kind, name) in index():
            return kind
    known = sorted(other for kind in kinds for other in names(kind))
    raise UserError(f"there is no {kinds[0]} {name!r}{nearest(name, known)}")


def base_name(name: str) -> str:
    """The catalogue's name of ``name``: a part after a colon names something inside (``timm:resnet18``)."""
    return str(name).partition(":")[0]


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
    target = load(kind, base_name(name))
    accepted = inspect.signature(target).parameters
    supplied = {key: value for key, value in given.items() if key in accepted}
    clash = sorted(set(arguments) & set(supplied))
    if clash:
        raise UserError(f"{kind} {name}: {clash[0]} follows from the data; take it out of the recipe")
    member = card(kind, base_name(name)).member
    if member is not None:
        supplied[member[0]] = member[1]
    if ":" not in name:
        return target(**supplied, **arguments)
    built = target(name.partition(":")[2], **supplied, **arguments)
    object.__setattr__(built, _BUILT, (kind, name, *getattr(built, _BUILT)[2:]))
    return built


def describe(built: object) -> dict[str, dict[str, Any]]:
    """The section ``{name: {argument: value}}`` that built an object.

    Raises:
        TypeError: if no technique built it.

    >>> describe(build("schedule", {"cosine": {"warmup": 2}}))
    {'cosine': {'warmup': 2.0}}
    """
    note = getattr(built, _BUILT, None)
    if note is None:
        raise TypeError(f"{type(built).__name__} was not built by a technique of the catalogue")
    return {note[1]: dict(note[2])}


def call_of(built: object) -> tuple[str, str, dict[str, Any]]:
    note = getattr(built, _BUILT, None)
    if note is None:
        raise TypeError("not built")
    return note[0], note[1], {k: v for k, v in note[3].items() if k not in ("pretrained", "self", "architecture")}


def rebuild(kind: str, name: str, arguments: Mapping[str, Any]) -> Any:
    found = card(kind, base_name(name))
    target = load(kind, base_name(name))
    extra = {found.member[0]: found.member[1]} if found.member else {}
    if ":" in name:
        built = target(name.partition(":")[2], **arguments)
        object.__setattr__(built, _BUILT, (kind, name, *getattr(built, _BUILT)[2:]))
        return built
    return target(**extra, **arguments)
