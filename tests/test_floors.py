"""The rooms of the house: who may import whom, and how large a file may be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter over the package in ``folder``, by the contracts of the pyproject.toml there."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder / 'src')!r})\n"
        "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package and its contracts."""
    shutil.copytree(ROOT / "src/convsmith", tmp_path / "src/convsmith")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path / "src/convsmith"


def test_imports_point_down_the_floors() -> None:
    """The contracts in pyproject.toml, checked by import-linter."""
    answer = linted(ROOT)
    assert answer.returncode == 0, answer.stdout


def test_a_new_room_needs_a_floor(house: Path) -> None:
    (house / "attic").mkdir()
    (house / "attic/__init__.py").write_text("from convsmith import cli\n")
    answer = linted(house.parents[1])
    assert answer.returncode == 1
    assert "attic" in answer.stdout


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("compression/prune.py", "from convsmith.cli import main"),
        ("compression/prune.py", "from convsmith.reports import page"),
        ("inference/pipeline.py", "from convsmith.run import directory"),
        ("advice/loop.py", "from convsmith.training import loop"),
        ("catalog/heavy.py", "import torch"),
    ],
)
def test_a_room_that_looks_up_or_aside_fails(house: Path, room: str, line: str) -> None:
    file = house / room
    file.parent.mkdir(exist_ok=True)
    file.parent.joinpath("__init__.py").touch()
    file.write_text(f"{line}\n")
    answer = linted(house.parents[1])
    assert answer.returncode == 1
    assert file.stem in answer.stdout


def test_every_file_has_room_for_one_idea() -> None:
    """No utils, no misc, and nothing too long to read in one go."""
    for file in (ROOT / "src").rglob("*.py"):
        assert file.stem not in {"utils", "misc", "helpers", "common"}
        assert len(file.read_text().splitlines()) <= 350, f"{file.name} is more than one idea"
