"""What the READMEs say is what the committed results say."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
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
        "docs/model_file.md",
        "docs/own_loop.md",
        "docs/own_techniques.md",
    ],
)
def test_linked_files_exist(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        assert ((ROOT / name).parent / target).exists(), target


def test_the_page_about_own_loops_runs(tmp_path: Path) -> None:
    """Its Python blocks, one after another, as a script."""
    page = (ROOT / "docs/own_loop.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) == 4
    (tmp_path / "script.py").write_text("\n".join(blocks))
    answer = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.strip().splitlines()[-1]) > 2
    assert (tmp_path / "runs/mine/report.html").exists()
    assert '"program"' in (tmp_path / "runs/mine/model.json").read_text()
