"""What editors and type checkers know of the package is what it is."""

from __future__ import annotations

import importlib
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import convsmith as cs

ROOT = Path(__file__).parents[1]
PACKAGES = ("data", "models", "nn", "objectives", "training")
SCRIPT = """
import convsmith as cs
from convsmith.objectives import CenterLoss
from convsmith.nn import prelu

run = cs.train("photos", out="run", set=["train.epochs=1"])
model: cs.Predictor = run.model()
again: cs.Predictor = cs.load(run)
cs.diagnose(run)
cs.compare([run, run])
accuracy: float = run["accuracy"]
rows: list[dict[str, float]] = run.metrics
labels = [answer["label"] for answer in model.predict(["a.png"])]
history = cs.fit(model.module, "photos").history[-1]["val_loss"]
loss = CenterLoss(num_classes=3, num_features=2, rate=0.5)
layer = prelu(8, init=0.1)
cs.train(42, out=3)
CenterLoss(num_classes="three", num_features=2)
cs.trian("photos")
"""


def test_stubs_are_those_of_the_source() -> None:
    tools = runpy.run_path(str(ROOT / "tools/stubs.py"))
    for place, text in tools["stubs"]().items():
        assert place.read_text(encoding="utf-8") == text, "run: python tools/stubs.py"


@pytest.mark.slow
def test_a_users_script_is_checked(tmp_path: Path) -> None:
    """mypy --strict accepts right calls and finds the three wrong ones."""
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ["--strict", "--no-error-summary", "--config-file", str(ROOT / "pyproject.toml")]
    code = "import sys; from mypy.main import main; main(clean_exit=False)"
    answer = subprocess.run(
        [sys.executable, "-c", code, *words, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": ""},
    )
    lines = [line.split(":")[1] for line in answer.stdout.splitlines() if ": error:" in line]
    wrong = [str(n) for n, line in enumerate(SCRIPT.splitlines(), 1) if "42" in line or "three" in line]
    assert sorted(set(lines)) == sorted([*wrong, str(len(SCRIPT.splitlines()))]), answer.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_techniques_are_names_of_their_package(package: str) -> None:
    module = importlib.import_module(f"convsmith.{package}")
    names = dir(module)
    assert names
    assert module.__all__ == names
    for name in names:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_verbs_are_functions_and_no_room_takes_their_name() -> None:
    """A folder convsmith/report would turn cs.report into a module once it is imported."""
    for name in cs.__all__:
        assert callable(getattr(cs, name)), name
        assert not (ROOT / f"src/convsmith/{name}.py").exists()
        assert not (ROOT / f"src/convsmith/{name}").exists()
    assert set(dir(cs)) == {*cs.__all__, "__version__"}
    assert set(cs.__all__) == set(cs._VERBS)


def test_the_wheel_says_that_it_is_typed(tmp_path: Path) -> None:
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    pytest.importorskip("hatchling")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "convsmith/py.typed" in names
    assert "convsmith/__init__.pyi" in names
    assert "convsmith/objectives/__init__.pyi" in names


def test_importing_is_quick() -> None:
    """CPU seconds beyond an empty interpreter: the package alone, and the command line's help."""
    heavy = ["torch", "numpy", "pydantic", "PIL", "lightning_fabric"]
    for line, limit in (("import convsmith", 0.1), ("import convsmith.cli.main", 0.3)):
        code = (
            f"import sys, time; begin = time.process_time(); {line}\n"
            f"assert time.process_time() - begin < {limit}\n"
            f"assert not set({heavy}) & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
