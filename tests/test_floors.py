from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_imports_point_down_the_floors() -> None:
    """The contracts in pyproject.toml, checked by import-linter."""
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout


def test_every_file_has_room_for_one_idea() -> None:
    """No utils, no misc, and nothing too long to read in one go."""
    for file in (ROOT / "src").rglob("*.py"):
        assert file.stem not in {"utils", "misc", "helpers", "common"}
        assert len(file.read_text().splitlines()) <= 350, f"{file.name} is more than one idea"
