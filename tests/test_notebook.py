"""The notebook runs in a real kernel, and is kept as it ran."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebook", EXAMPLES / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(notebook: Any) -> dict[str, str]:
    """By each cell's source, what it shows."""
    return {
        cell.source: "".join(
            str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def test_the_kept_notebook_has_the_cells_of_its_script_and_ran(script: ModuleType) -> None:
    kept = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    made = script.notebook()
    assert [cell.source for cell in kept.cells] == [cell.source for cell in made.cells]
    assert all(cell.execution_count for cell in kept.cells if cell.cell_type == "code")
    assert os.sep + "root" not in "".join(outputs(kept).values())


@pytest.mark.slow
def test_it_runs_in_a_kernel_and_shows_what_it_says(script: ModuleType, tmp_path: Path) -> None:
    shown = outputs(script.executed(tmp_path))

    def of(start: str) -> str:
        (found,) = [text for source, text in shown.items() if source.startswith(start)]
        return found

    assert "'train'" in of("import convsmith")
    training = of("run = cs.train(")
    assert len(re.findall(r"^epoch +\d/3 ", training, re.MULTILINE)) == 3, "a line an epoch"
    assert "Run runs/digits: accuracy" in training
    answers = ast.literal_eval(of("import numpy"))
    assert len(answers) == 3
    assert len(set(answers)) == 1, "a file, an array and a picture of the same digit"
    assert of("model = cs.load").startswith("Predictor: LeNet5 with")
    assert "val images right" in of("cs.evaluate(run, split='val')")
    assert "floor images right" in of("repr(cs.evaluate")
    assert "multiply-accumulates an image" in of("cs.summary")
    assert "Conv2d(1, 16" in of("from torch import nn"), "true layers"
    mistake = of("try:")
    assert "did you mean 'lenet5'" in mistake
    assert "--" not in mistake, "arguments, not flags"
    assert of("from typing import Annotated").endswith("(True, True)")
    assert (tmp_path / "runs/digits/report.html").exists()
