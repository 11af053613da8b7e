"""The lowest versions that the package declares are what `make test-lowest` installs."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(ROOT / "tools/lowest.py"))


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = TOOL["constraints"](["dev", "benchmarks"])
    assert "torch==2.8" in lines
    assert len([line for line in lines if line.partition("==")[0] in str(project["dependencies"])]) >= len(
        project["dependencies"]
    )
    assert not [line for line in lines if line.startswith(("ruff", "mypy"))]


def test_a_dependency_without_a_bound_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\ndependencies = ["one>=1.2.3,<4", "two[extra] >= 5", "three"]\n')
    with pytest.raises(ValueError, match="'three' declares no lowest version"):
        TOOL["constraints"](file=file)
    file.write_text('[project]\ndependencies = ["one>=1.2.3,<4", "two[extra] >= 5"]\n')
    assert TOOL["constraints"](file=file) == ["one==1.2.3", "two==5"]
