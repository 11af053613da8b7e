"""The register: convsmith's techniques, a user's own, and those of installed packages."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from convsmith.catalog.calls import recording
from convsmith.catalog.cards import OWN, Card, Key, former, inspected, own
from convsmith.catalog.kinds import known
from convsmith.errors import UserError, nearest

T = TypeVar("T", bound=Callable[..., Any])
# Entry points of installed packages: each names a module that defines techniques.
GROUP = "convsmith.techniques"


@dataclass
class _Register:
    """What was registered in this process by running its definition, besides convsmith's own."""

    cards: dict[Key, Card] = field(default_factory=dict)
    targets: dict[Key, Callable[..., Any]] = field(default_factory=dict)
    # One sentence for each installed package that could not be imported; None before any was.
    problems: list[str] | None = None


_REGISTER = _Register()


def technique(
    kind: str,
    name: str,
    *,
    source: str = "",
    chapter: str = OWN,
    use: str = "",
    renamed: tuple[str, ...] = (),
    **members: tuple[int, ...],
) -> Callable[[T], T]:
    """Register the function or class below under ``kind`` and ``name``; within convsmith, by literals.

    ``name`` may be a pattern over one of ``members``, ``"vgg{depth}"`` with ``depth=(11, 13)``. Each call,
    through a recipe or from Python, has its options checked against the signature's annotations, and leaves
    a note on the result from which :func:`describe` answers.

    Args:
        kind: one of :data:`KINDS`.
        name: for recipes.
        source: paper or page.
        chapter: under which ``convsmith techniques --by chapter`` lists it.
        use: when to take it.
        renamed: earlier names, which go on working in recipes.
        members: the values of a family's first argument.

    Raises:
        UserError: on an unknown kind, or a name that is taken; on a call with an option of the wrong type or
            out of its range.

    >>> @technique("schedule", "half")
    ... def half():
    ...     return lambda epoch, epochs: 0.5
    """
    known(kind)

    def register(target: T) -> T:
        # The cards of convsmith itself are read from its text.
        if target.__module__.partition(".")[0] != "convsmith":
            words = {"source": source, "chapter": chapter, "use": use, "renamed": renamed, **members}
            cards = inspected(kind, name, words, target)
            for card in cards:
                _refuse_taken(card)
        else:
            cards = []
        made: Any = target
        if inspect.isclass(target):
            type.__setattr__(target, "__init__", recording(target.__init__, kind, name, members, target))
        else:
            made = recording(target, kind, name, members)
        for card in cards:
            _REGISTER.cards[card.kind, card.name] = card
            _REGISTER.targets[card.kind, card.name] = made
        return typing.cast(T, made)

    return register


def _refuse_taken(card: Card) -> None:
    """A name belongs to one definition; the same definition may run again, as a notebook's cell does."""
    key = card.kind, card.name
    taken = own().get(key) or _REGISTER.cards.get(key)
    if taken is None or (taken.module, taken.attribute) == (card.module, card.attribute):
        return
    raise UserError(
        f"there is a {card.kind} {card.name!r} already, {taken.attribute} in {taken.module}; give "
        f"{card.attribute} in {card.module} another name"
    )


def index() -> dict[Key, Card]:
    """The techniques of convsmith and all that have been registered, by (kind, name)."""
    return {**own(), **_REGISTER.cards}


def listed() -> tuple[dict[Key, Card], list[str]]:
    """All techniques, installed packages included, and a sentence for each package that can't be imported."""
    problems = _installed()
    return index(), problems


def _installed() -> list[str]:
    """Import what installed packages declare, once a process; what went wrong, one sentence each."""
    if _REGISTER.problems is None:
        from importlib.metadata import entry_points

        # Set first: a package may look for names itself while it is imported.
        problems = _REGISTER.problems = []
        for point in sorted(entry_points(group=GROUP)):
            try:
                point.load()
            except (Exception, SystemExit) as error:  # a stranger's code may raise anything
                package = point.dist.name if point.dist is not None else point.value
                cause = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
                problems.append(
                    f"the techniques of the installed package {package} are left out, since {point.value} "
                    f"can't be imported ({cause}); mend or uninstall it"
                )
    return _REGISTER.problems


def opens_everywhere(section: Any) -> bool:
    """Whether a section of a recipe, or a call's arguments, names techniques of convsmith alone.

    What a notebook, a script or another package defined is unknown where that hasn't run.

    >>> opens_everywhere({"resnet20": {"activation": "prelu"}})
    True
    """
    if isinstance(section, Mapping):
        return all(opens_everywhere(key) and opens_everywhere(value) for key, value in section.items())
    if isinstance(section, list | tuple):
        return all(map(opens_everywhere, section))
    return not isinstance(section, str) or section not in {name for _, name in _REGISTER.cards}


def _find(kinds: Sequence[str], name: str) -> Card | None:
    """The card of the first kind that has this name, or had it once; installed packages are asked last."""
    for attempt in (index, lambda: listed()[0]):
        cards = attempt()
        old = former(cards.values())
        for table in (cards, old):
            for kind in kinds:
                if (kind, name) in table:
                    return table[kind, name]
    return None


def names(kind: str) -> list[str]:
    """Names of all techniques of a kind, sorted.

    >>> "sgd" in names("optimizer")
    True
    """
    return sorted(name for k, name in index() if k == kind)


def card(kind: str, name: str) -> Card:
    """The card of one technique, also by an earlier name.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    found = _find((known(kind),), name)
    if found is None:
        raise _unknown((kind,), name)
    return found


def kind_of(name: str, kinds: Sequence[str]) -> str:
    """Which of several kinds has a technique of this name.

    Raises:
        UserError: if none has, with the nearest name of all.

    >>> kind_of("l2", ["term", "regularizer"])
    'term'
    """
    found = _find(kinds, name)
    if found is None:
        raise _unknown(kinds, name)
    return found.kind


def _unknown(kinds: Sequence[str], name: str) -> UserError:
    choices = sorted(other for kind in kinds for other in names(kind))
    also = "".join(f" ({problem})" for problem in _installed())
    hint = nearest(name, choices)
    if "choose from" in hint:
        hint += ". One of your own is known where its definition has run: import it first, or install it"
    return UserError(f"there is no {kinds[0]} {name!r}{hint}{also}")


def load(kind: str, name: str) -> Any:
    """The function or class itself; this is what imports torch."""
    found = card(kind, name)
    registered = _REGISTER.targets.get((found.kind, found.name))
    if registered is not None:
        return registered
    return getattr(importlib.import_module(found.module), found.attribute)
