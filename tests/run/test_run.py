"""What a training gives back is a mapping as before, and knows its run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

import convsmith as cs
from convsmith.run.directory import RunDirectory
from convsmith.run.run import Run

WORDS = ["data.batch_size=16", "train.device=cpu"]


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run") / "first"
    return cs.train(
        images, out=out, model="lenet5", epochs=3, recipe={"data": {"batch_size": 16}}, device="cpu"
    )


def test_it_is_a_mapping_with_the_figures_of_its_files(run: Run) -> None:
    assert isinstance(run, Mapping)
    assert {"run", "accuracy", "loss", "split", "best_epoch", "val_accuracy", "findings"} <= set(run)
    assert dict(run)["accuracy"] == run["accuracy"] == cs.evaluate(run).accuracy
    assert run.metrics == RunDirectory(run.path).read_metrics()
    assert run.report.exists()
    assert run.model().classes == ["class0", "class1", "class2"]
    assert os.fspath(run) == str(run.path)


def test_it_draws_itself_by_its_figures(run: Run) -> None:
    assert f"accuracy {run['accuracy']:.4g}" in repr(run)
    page = run._repr_html_()
    assert f"{run['accuracy']:.4g}" in page
    points = [line.split("points='")[1].split("'")[0].split() for line in page.split("<polyline ")[1:]]
    assert [len(own) for own in points] == [3, 3], "train and val, a point an epoch"
    heights = {
        key: [float(point.split(",")[1]) for point in own]
        for key, own in zip(("train_loss", "val_loss"), points)
    }
    values = [row[key] for row in run.metrics for key in heights]
    low, high = min(values), max(values)
    for key, own in heights.items():
        for row, height in zip(run.metrics, own):
            assert height == pytest.approx(92 - 84 * (row[key] - low) / (high - low), abs=0.06)


def test_without_a_name_a_run_gets_a_new_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (cs.train(images, model="lenet5", epochs=1, set=WORDS) for _ in range(2))
    assert (first.path, second.path) == (Path("runs", images.name), Path("runs", f"{images.name}-2"))


def test_words_are_those_of_the_command_line(images: Path, tmp_path: Path) -> None:
    """Keywords, values by key and overrides as text all end in the recipe; the last one wins."""
    from convsmith import recipe as recipes

    cs.train(
        images,
        out=tmp_path / "run",
        model="lenet5",
        recipe={"data": {"batch_size": 30}, "train": {"seed": 3}},
        set={"data.batch_size": 20, "objective.l2.weight": 0.001},
        epochs=1,
        seed=4,
        device="cpu",
    )
    found = recipes.load(tmp_path / "run/recipe.yaml")
    assert (found.data.batch_size, found.train.seed, found.train.epochs) == (20, 4, 1)
    assert found.objective["l2"] == {"weight": 0.001}
    cs.train(images, out=tmp_path / "one", model="lenet5", set="train.epochs=1", device="cpu")


@pytest.mark.slow
def test_an_interruption_carries_the_run(images: Path, tmp_path: Path) -> None:
    """Ctrl-C in a script: all is saved, and the script learns where."""
    script = textwrap.dedent("""
        import os, signal, sys
        import convsmith as cs

        class Interrupt:
            def on_batch_end(self, state):
                if state.epoch == 1:
                    os.kill(os.getpid(), signal.SIGINT)

        try:
            words = {"model": "lenet5", "epochs": 9, "device": "cpu", "callbacks": [Interrupt()]}
            cs.train(sys.argv[1], out=sys.argv[2], **words)
        except KeyboardInterrupt as stop:
            print("stopped", type(stop.run).__name__, stop.run.path)
            print("rows", len(stop.run.metrics))
        run = cs.train(out=sys.argv[2], resume=True, epochs=2)
        print("went on to", run["epochs"])
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(images), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"stopped Run {tmp_path / 'run'}", "rows 1", "went on to 2"]


def test_verbs_take_the_run_in_place_of_its_path(run: Run, tmp_path: Path) -> None:
    assert cs.diagnose(run)["run"] == str(run.path)
    assert cs.compare([run, run], out=tmp_path / "page.html")["runs"] == [str(run.path)] * 2
    assert cs.load(run).classes == run.model().classes


def test_an_unknown_kind_of_technique_is_refused() -> None:
    with pytest.raises(cs.UserError, match="there is no kind of technique 'lenet5'"):
        cs.techniques("lenet5")
