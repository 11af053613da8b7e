"""Costs and weights through the whole of it: CSV, recipe, training, decisions, evaluation, the next run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

import convsmith as cs
from convsmith.errors import UserError

QUICK = ["model=lenet5", "train.epochs=2", "data.batch_size=16", "optimizer.sgd.lr=0.01"]


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("imbalance") / "run"
    cs.train(images, out=place, set=[*QUICK, "data.sampler=over_under_sampling", "data.imbalance.ratio=4"])
    return place


def costs_file(folder: Path, rows: dict[str, list[float]]) -> Path:
    file = folder / "costs.csv"
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["true", "class0", "class1", "class2"])
        writer.writerows([name, *row] for name, row in rows.items())
    return file


def test_evaluation_agrees_with_scikit_learn(run: Path, images: Path) -> None:
    found = cs.evaluate(run, images)
    truth, predicted = found.targets, found.probabilities.argmax(1)
    summary = found.summary()
    assert summary["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert summary["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert summary["expected_cost"] == pytest.approx(1 - summary["accuracy"])


def test_costs_move_the_decisions_of_a_trained_net(
    run: Path, images: Path, tmp_path: Path, convsmith: Callable[..., Any]
) -> None:
    """Whatever the net thinks: never miss class 2, which costs a million."""
    file = costs_file(tmp_path, {"class0": [0, 1, 1], "class1": [1, 0, 1], "class2": [1e6, 1e6, 0]})
    plain, dear = cs.evaluate(run, images), cs.evaluate(run, images, costs=file)
    assert (dear.predicted == 2).all()
    assert dear.expected_cost == pytest.approx(2 / 3)
    assert (
        dear.expected_cost
        < np.asarray([[0, 1, 1], [1, 0, 1], [1e6, 1e6, 0]])[plain.targets, plain.predicted].mean()
        or (plain.predicted == 2).all()
    )
    image = images / "class0/000.png"
    done = convsmith("predict", run, image, "--costs", file, "--json")
    answer = json.loads(done.stdout.splitlines()[-1])["predictions"][0]
    assert answer["label"] == "class2"
    by_name = {row["label"]: row["probability"] for row in answer["top"]}
    assert answer["probability"] == pytest.approx(by_name["class2"])
    bad = convsmith("evaluate", run, images, "--costs", tmp_path / "nowhere.csv")
    assert bad.returncode == 2
    assert "cannot read" in bad.stderr


def test_a_model_keeps_the_costs_it_was_trained_with(images: Path, tmp_path: Path) -> None:
    file = costs_file(tmp_path, {"class0": [0, 1, 1], "class1": [1, 0, 1], "class2": [50, 50, 0]})
    words = [*QUICK, f"data.costs.table.file={file}", "objective.expected_cost={weight: 0.1}"]
    result = cs.train(images, out=tmp_path / "run", set=words)
    model = cs.load(tmp_path / "run")
    assert model.costs is not None
    assert model.costs.tolist() == [[0, 1, 1], [1, 0, 1], [50, 50, 0]]
    found = cs.evaluate(tmp_path / "run")
    assert found.expected_cost == pytest.approx(result["expected_cost"])
    assert found.costs[found.targets, found.predicted].mean() == pytest.approx(result["expected_cost"])


def test_images_with_their_own_costs(images: Path, tmp_path: Path) -> None:
    """Images of class 0 may as well be called class 1; columns in another order than the classes."""
    table = tmp_path / "images.csv"
    files = sorted(images.rglob("*.png"))
    lines = ["path,label,cost_class2,cost_class0,cost_class1"]
    for file in files:
        own = int(file.parent.name[-1])
        costs = [0.0 if k == own or (own == 0 and k == 1) else 3.0 for k in (2, 0, 1)]
        lines.append(f"{file},{file.parent.name},{costs[0]},{costs[1]},{costs[2]}")
    table.write_text("\n".join(lines) + "\n")
    words = [*QUICK, "objective={cross_entropy: {}, expected_cost: {}}"]
    cs.train(table, out=tmp_path / "run", set=words)
    found = cs.evaluate(tmp_path / "run")
    free = (found.targets == found.predicted) | ((found.targets == 0) & (found.predicted == 1))
    assert found.expected_cost == pytest.approx(3.0 * (1 - free.mean()))
    assert cs.evaluate(tmp_path / "run", table).image_costs.shape == (60, 3)


def test_a_run_teaches_the_next_by_its_confusion(run: Path, images: Path, tmp_path: Path) -> None:
    with open(run / "confusion.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["true", "class0", "class1", "class2"]
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == 12, "the validation images"
    words = [
        *QUICK,
        "objective.cross_entropy=null",
        f"objective.weighted_cross_entropy.class_weight.confusion.run={run}",
        f"data.costs.confusion.run={run}",
    ]
    result = cs.train(images, out=tmp_path / "next", set=words)
    assert 0 <= result["balanced_accuracy"] <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective.expected_cost={}"], "asks what mistakes cost"),
        (["data.costs=tabel"], "there is no cost 'tabel'; did you mean 'table'"),
        (["data.costs={pairs: {costs: {class9: {class0: 2}}}}"], "there is no class 'class9'"),
        (["data.sampler=over_samplin"], "did you mean 'over_sampling'"),
        (["objective.weighted_cross_entropy.class_weight=invers"], "did you mean 'inverse'"),
        (["data.imbalance.ratio=0.5"], "data.imbalance.ratio=0.5 is not valid"),
    ],
)
def test_mistakes(images: Path, tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cs.train(images, out=tmp_path / "run", set=[*QUICK, *words])


def test_costs_for_some_classes_only_are_refused(images: Path, tmp_path: Path) -> None:
    table = tmp_path / "images.csv"
    files = sorted(images.rglob("*.png"))
    table.write_text("path,label,cost_class0\n" + "".join(f"{f},{f.parent.name},1\n" for f in files))
    with pytest.raises(UserError, match="but not for 'class1'; add the column cost_class1"):
        cs.train(table, out=tmp_path / "run", set=QUICK)
