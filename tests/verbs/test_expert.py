"""The expert's commands as a user meets them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.advice import remedies
from convsmith.advice.evidence import gather
from convsmith.reports.comparison import differences, flattened
from convsmith.run.directory import RunDirectory

Run = Callable[..., subprocess.CompletedProcess[str]]
WORDS = ["data.size=16", "data.batch_size=32", "train.device=cpu", "train.epochs=4"]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training whose rate is a hundredth of what it should be."""
    out = tmp_path_factory.mktemp("expert") / "slow"
    cs.train("digits", out=out, model="lenet5", set=[*WORDS, "optimizer.sgd.lr=0.0002"])
    return out


def test_a_fault_is_named_explained_and_mended(slow: Path, tmp_path: Path, convsmith: Run) -> None:
    before = {file.name: file.read_bytes() for file in slow.iterdir() if file.is_file()}
    done = convsmith("diagnose", slow)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rate too low: the loss stays at 2.3, that of guessing, for 4 epochs")
    assert "change: raise the rate: optimizer.sgd.lr=0.002" in done.stdout
    done = convsmith("diagnose", slow, "--apply", "--out", tmp_path / "next", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["changes"] == ["optimizer.sgd.lr=0.002"]
    assert recipes.load(tmp_path / "next/recipe.yaml").optimizer == {"sgd": {"lr": 0.002}}
    old = recipes.load(slow / "recipe.yaml").model_dump(exclude={"optimizer"})
    assert recipes.load(tmp_path / "next/recipe.yaml").model_dump(exclude={"optimizer"}) == old
    assert found["next"]["accuracy"] > cs.evaluate(slow).accuracy + 0.1, "and it helps"
    assert {file.name: file.read_bytes() for file in slow.iterdir() if file.is_file()} == before


def test_the_next_run_has_its_own_seed_and_device(slow: Path, tmp_path: Path) -> None:
    cs.diagnose(slow, apply=True, out=tmp_path / "next", seed=77, device="cpu")
    made = recipes.load(tmp_path / "next/recipe.yaml").train
    assert (made.seed, made.device) == (77, "cpu")
    assert made.epochs == recipes.load(slow / "recipe.yaml").train.epochs


@pytest.mark.slow
def test_the_last_epochs_are_trained_again(tmp_path: Path) -> None:
    """The remedy's recipe goes on from the kept net, with the classifier that it has, at a tenth of the
    rate.
    """
    words = [*WORDS, "schedule=constant", "optimizer.sgd.lr=0.02", "train.epochs=5"]
    first = cs.train("digits", out=tmp_path / "run", model="lenet5", set=words)
    again = remedies.again(gather(RunDirectory(tmp_path / "run")), 2)
    assert f"train.start_from={(tmp_path / 'run').absolute()}" in again
    made = cs.train(out=tmp_path / "next", recipe=tmp_path / "run/recipe.yaml", set=list(again))
    rows = RunDirectory(tmp_path / "next").read_metrics()
    assert [row["lr"] < 0.0021 for row in rows] == [True, True]
    assert rows[0]["val_accuracy"] > first["val_accuracy"] - 0.02
    assert made["val_accuracy"] >= first["val_accuracy"]


def test_the_report_shows_it(slow: Path) -> None:
    page = (slow / "report.html").read_text()
    assert "<b>rate too low</b>: the loss stays at" in page
    assert "optimizer.sgd.lr=0.002" in page


def test_runs_side_by_side_differences_first(slow: Path, tmp_path: Path, convsmith: Run) -> None:
    cs.train("digits", out=tmp_path / "quick", model="lenet5", set=[*WORDS, "optimizer={adam: {lr: 0.004}}"])
    page = tmp_path / "both.html"
    done = convsmith("report", slow, tmp_path / "quick", "--out", page, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["differences"] == {
        "optimizer.sgd.lr": ["0.0002", "-"],
        "optimizer.adam.lr": ["-", "0.004"],
    }
    text = page.read_text()
    assert text.index("What differs in their recipes") < text.index("What came of it") < text.index("Curves")
    assert text.count("<svg") >= 4
    assert "rate too low" in text
    assert "healthy" in text


def test_recipes_are_compared_key_by_key() -> None:
    trees = [{"a": {"b": {"c": 1}}, "d": None}, {"a": {"b": {"c": 2}}, "d": None}]
    flat = [flattened(tree) for tree in trees]
    assert flat[0] == {"a.b.c": "1", "d": "None"}
    assert differences(flat) == {"a.b.c": ["1", "2"]}
    assert differences([flat[0], flat[0]]) == {}


def test_advice_on_the_command_line(images: Path, tmp_path: Path, convsmith: Run) -> None:
    file = tmp_path / "recipe.yaml"
    done = convsmith("advise", images, "--write", file, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "images: 48 train, 12 val images of 3 classes" in done.stdout
    assert "model: resnet20  # images of 16 pixels" in done.stdout
    assert f"convsmith train --recipe {file} --out RUN" in done.stdout
    done = convsmith("train", "--recipe", file, "--out", tmp_path / "run", "--epochs", 1)
    assert done.returncode == 0, done.stderr


def test_a_sweep_on_the_command_line(images: Path, convsmith: Run) -> None:
    done = convsmith("lr-range", images, "--model", "lenet5", "--steps", 40, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("take a rate of ")
    assert "--set optimizer.sgd.lr=" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["diagnose", "nowhere"], "nowhere holds no run to diagnose"),
        (["diagnose", "nowhere", "--apply"], "--apply and --out NEWRUN go together"),
        (["lr-range", "digits", "--low", "2", "--high", "1"], "--low 2 must be above 0 and below --high 1"),
        (["advise", "nowhere"], "there is no nowhere"),
        (["diagnose", "nowhere", "--device", "tpu"], "--device takes auto, cpu or cuda; got 'tpu'"),
        (["summary", "resnet20", "--device", "tpu"], "--device takes auto, cpu or cuda; got 'tpu'"),
        (["report", "nowhere", "elsewhere"], "nowhere holds no run"),
        (["advise", "digits", "--set", "train.finetune=heads"], "did you mean 'head'"),
        (
            ["train", "digits", "--out", "x", "--set", "train.resize_weights=stretch"],
            "train.resize_weights='stretch' is not valid",
        ),
    ],
)
def test_wrong_input_is_one_sentence(
    words: list[str], sentence: str, convsmith: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = convsmith(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert sentence in done.stderr


def test_a_healthy_run_has_nothing_to_apply(images: Path, tmp_path: Path, convsmith: Run) -> None:
    cs.train(
        "digits",
        out=tmp_path / "run",
        model="lenet5",
        set=[*WORDS, "optimizer={adam: {lr: 0.002}}", "train.epochs=8"],
    )
    done = convsmith("diagnose", tmp_path / "run", "--apply", "--out", tmp_path / "next")
    assert done.returncode == 2
    assert "has found nothing to change" in done.stderr
    assert not (tmp_path / "next").exists()
    assert "nothing amiss" in convsmith("diagnose", tmp_path / "run").stdout


def test_damaged_files_are_one_sentence(slow: Path, tmp_path: Path, convsmith: Run) -> None:
    import shutil

    for name, content in (
        ("health.csv", "epoch,what\nx"),
        ("steps.csv", "nonsense\n1"),
        ("metrics.csv", "epoch\nx"),
    ):
        run = tmp_path / name
        shutil.copytree(slow, run)
        (run / name).write_text(content)
        done = convsmith("diagnose", run)
        assert done.returncode == 2, (name, done.stderr)
        assert "Traceback" not in done.stderr
        assert name in done.stderr
