"""Recipes as YAML, each reason a comment behind its key."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from convsmith.recipe.schema import Recipe


def dump(recipe: Recipe, reasons: Mapping[str, str] | None = None) -> str:
    """The recipe as YAML; ``reasons`` are written as comments behind their dotted keys.

    >>> print(dump(Recipe(model="lenet5"), {"model": "small grey images"}).splitlines()[0:1])
    ['data:']
    """
    tree = _commented(recipe.model_dump(exclude_none=True))
    for dotted, reason in (reasons or {}).items():
        *parents, last = dotted.split(".")
        node: Any = tree
        for key in parents:
            node = node.get(key, {})
        if isinstance(node, CommentedMap) and last in node:
            lines = node[last] if isinstance(node[last], CommentedMap) else None
            if lines:
                node.yaml_set_comment_before_after_key(last, before=reason, indent=2 * len(parents))
            else:
                node.yaml_add_eol_comment(reason, last)
    text = io.StringIO()
    writer = YAML(typ="rt")
    writer.width = 100
    writer.dump(tree, text)
    return text.getvalue()


def amended(text: str, changes: Mapping[str, Any], why: str) -> str:
    """A recipe's YAML with other values by dotted key, each with a comment; all other lines stay.

    >>> text = "train:" + chr(10) + "  epochs: 3  # enough" + chr(10)
    >>> amended(text, {"train.epochs": 5}, "since it was resumed").splitlines()
    ['train:', '  epochs: 5  # since it was resumed; was 3']
    """
    editor = YAML(typ="rt")
    editor.width = 100
    tree = editor.load(text)
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        node: Any = tree
        for key in parents:
            node = node.setdefault(key, CommentedMap())
        before = node.get(last)
        node[last] = _commented(value)
        node.ca.items.pop(last, None)
        if not isinstance(value, Mapping):
            node.yaml_add_eol_comment(why if before is None else f"{why}; was {before}", last)
    found = io.StringIO()
    editor.dump(tree, found)
    return found.getvalue()


def _commented(node: Any) -> Any:
    if isinstance(node, Mapping):
        return CommentedMap((key, _commented(value)) for key, value in node.items())
    if isinstance(node, list | tuple):
        return [_commented(value) for value in node]
    return node
