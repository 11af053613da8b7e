"""Every kind of the catalogue has a contract: a file here that builds all techniques of the kind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from convsmith import catalog
from convsmith.catalog import KINDS

FOLDER = Path(__file__).parent


def covered(file: Path) -> set[str]:
    """Kinds of which a contract takes the names: ``catalog.names("kind")``, or over a tuple of kinds."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    tuples = {
        word.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple | ast.List)
        for word in node.elts
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "catalog.names":
            (argument,) = node.args
            found |= {argument.value} if isinstance(argument, ast.Constant) else tuples & set(KINDS)
    return found


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in catalog.index()} | set(KINDS)))
def test_it_has_a_contract(kind: str) -> None:
    files = [file for file in FOLDER.glob("test_every_*.py") if file != Path(__file__)]
    assert any(kind in covered(file) for file in files), f"write tests/contracts/test_every_{kind}.py"


def test_every_kind_has_techniques_and_a_line_in_the_architecture() -> None:
    used = {kind for kind, _ in catalog.index()}
    assert used == set(KINDS), "a kind without techniques is no kind yet"
    page = (FOLDER.parents[1] / "docs/architecture.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind in KINDS)
