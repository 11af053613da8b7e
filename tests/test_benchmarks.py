"""Benchmarks import where their peers aren't installed, and pages are made of the committed figures."""

from __future__ import annotations

import json
import runpy
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from convsmith.advice.ways import GAIN
from convsmith.catalog.measured import measured
from convsmith.cli.main import app

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
PAGES = [name for name in SCRIPTS if name.endswith("_page")]
# Peers to compare with, installed only where they are measured.
PEERS = ("fastai", "lightning", "kornia")


def test_every_script_imports_without_its_peers(tmp_path: Path) -> None:
    """In a process each would take a minute in all; one process imports them, and names those that fail."""
    code = f"""
import importlib, sys, traceback
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
for peer in {PEERS}:
    sys.modules[peer] = None
failed = []
for name in {SCRIPTS}:
    try:
        importlib.import_module(name)
    except BaseException:
        failed.append(name)
        traceback.print_exc()
sys.exit(f"these don't import: {{failed}}" if failed else 0)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_results(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    page = runpy.run_path(str(ROOT / f"benchmarks/{name}.py"))
    assert page["rendered"]() == page["PAGE"].read_text(encoding="utf-8"), f"run: python benchmarks/{name}.py"
    assert page["PAGE"] == ROOT / f"docs/{name.removesuffix('_page')}.md"


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks/results").glob("*.json")), ids=lambda f: f.stem)
def test_a_figure_has_its_script_its_conditions_and_its_reader(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    assert {"python", "packages", "processor", "commit"} <= set(content["conditions"])
    texts = {name: (ROOT / f"benchmarks/{name}.py").read_text(encoding="utf-8") for name in SCRIPTS}
    name = file.stem
    readers = [own for own, text in texts.items() if own in (*PAGES, "tables") and name in text]
    assert readers, f"no page shows {file.name}"


def test_a_card_tells_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = runpy.run_path(str(ROOT / "benchmarks/measured.py"))
    assert script["rendered"]() == script["TARGET"].read_text(encoding="utf-8"), "run benchmarks/measured.py"
    found = json.loads((ROOT / "benchmarks/results/blocks_accuracy.json").read_text(encoding="utf-8"))[
        "mnist"
    ]
    base = statistics.mean(found["base"]["ReLU, max, He (fan in), cross-entropy"]["test"])
    gain = statistics.mean(found["normalization"]["batch"]["test"]) - base
    assert measured("norm", "batch")[0].points == pytest.approx(100 * gain, abs=0.006)
    answer = CliRunner().invoke(app, ["techniques", "elu"])
    assert f"measured: {measured('activation', 'elu')[1]}" in answer.output


def test_what_tuning_is_expected_to_gain_is_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    assert runpy.run_path(str(ROOT / "benchmarks/training_page.py"))["gains"]() == GAIN


@pytest.mark.slow
def test_the_rehearsal_of_blocks_runs_and_keeps_nothing(tmp_path: Path) -> None:
    before = (ROOT / "benchmarks/results/blocks_layers.json").read_bytes()
    words = [str(ROOT / "benchmarks/blocks.py"), "layers", "--quick", "--work", str(tmp_path)]
    answer = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["rounds"] == 1
    assert (ROOT / "benchmarks/results/blocks_layers.json").read_bytes() == before
