"""Cards: what the catalogue knows of a technique; those of convsmith are read without importing anything."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = tuple[str, str]
# Chapter of a technique whose card names none: one of a user's own.
OWN = "your own"


@dataclass(frozen=True)
class Card:
    """What the catalogue knows of one technique without importing it.

    ``arguments`` are those with a default, which a recipe may set. ``member`` is what a family's name passes
    to its function, e.g. ``("depth", 16)``. ``renamed`` are earlier names, which go on working.
    """

    kind: str
    name: str
    source: str
    chapter: str
    use: str
    module: str
    attribute: str
    arguments: tuple[str, ...]
    summary: str
    member: tuple[str, int] | None = None
    renamed: tuple[str, ...] = ()


def written(
    kind: str,
    pattern: str,
    words: Mapping[str, Any],
    *,
    module: str,
    attribute: str,
    arguments: tuple[str, ...],
    docstring: str | None,
) -> list[Card]:
    """The cards that one ``@technique(kind, pattern, **words)`` stands for: one, or a family's."""
    rest = dict(words)
    source, use = rest.pop("source", ""), rest.pop("use", "")
    chapter, renamed = rest.pop("chapter", OWN), rest.pop("renamed", ())
    members: list[tuple[str, int] | None] = [(key, value) for key, values in rest.items() for value in values]
    cards = []
    for member in members or [None]:
        filled = dict([member] if member else [])
        cards.append(
            Card(
                kind,
                pattern.format(**filled),
                source,
                chapter,
                use,
                module,
                attribute,
                arguments,
                (docstring or "").split("\n\n")[0].replace("\n", " ").strip(),
                member,
                tuple(old.format(**filled) for old in renamed),
            )
        )
    return cards


def inspected(kind: str, pattern: str, words: Mapping[str, Any], target: Callable[..., Any]) -> list[Card]:
    """The cards of a function or class that has been defined already."""
    parameters = inspect.signature(target).parameters.values()
    return written(
        kind,
        pattern,
        words,
        module=target.__module__,
        attribute=target.__qualname__,
        arguments=tuple(p.name for p in parameters if p.default is not inspect.Parameter.empty),
        docstring=inspect.cleandoc(target.__doc__) if target.__doc__ else "",
    )


@functools.cache
def own() -> dict[Key, Card]:
    """convsmith's techniques by (kind, name), read from the package's source text without importing it."""
    cards: dict[Key, Card] = {}
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "\n@technique(" not in text:
            continue
        module = ".".join(("convsmith", *file.relative_to(root).with_suffix("").parts))
        for card in read(text, module):
            if (card.kind, card.name) in cards:
                raise AssertionError(f"two techniques are called {card.kind} {card.name}")
            cards[card.kind, card.name] = card
    return cards


def read(text: str, module: str) -> list[Card]:
    """The cards in a module's source text."""
    found = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "technique"):
                continue
            kind, pattern = (ast.literal_eval(argument) for argument in call.args)
            found += written(
                kind,
                pattern,
                {str(word.arg): ast.literal_eval(word.value) for word in call.keywords},
                module=module,
                attribute=node.name,
                arguments=_options(node),
                docstring=ast.get_docstring(node),
            )
    return found


def _options(node: ast.FunctionDef | ast.ClassDef) -> tuple[str, ...]:
    """Names of the parameters with defaults: those a recipe may set."""
    if isinstance(node, ast.ClassDef):
        inits = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if not inits:
            return ()
        node = inits[0]
    positional = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    keyword = [a for a, default in zip(node.args.kwonlyargs, node.args.kw_defaults) if default is not None]
    return tuple(argument.arg for argument in [*positional, *keyword])


def former(cards: Iterable[Card]) -> dict[Key, Card]:
    """Cards by (kind, earlier name)."""
    return {(card.kind, old): card for card in cards for old in card.renamed}
