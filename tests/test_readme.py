"""What the READMEs say is what the committed results say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_figures_are_those_of_the_results(name: str) -> None:
    tables = runpy.run_path(str(ROOT / "benchmarks/tables.py"))
    text = (ROOT / name).read_text(encoding="utf-8")
    assert tables["rendered"](name) == text, "run: python benchmarks/tables.py"
    assert text.count("%") > 10


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/deprecation.md",
        "docs/own_loop.md",
        "docs/own_techniques.md",
    ],
)
def test_linked_files_exist(name: str) -> None:
    import re

    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        assert ((ROOT / name).parent / target).exists(), target
