"""Figures that choose the kept epoch, against scikit-learn's."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import Tensor

import convsmith as cs
from convsmith.data.encodings import Numbers
from convsmith.data.targets import measure_of
from convsmith.errors import UserError
from convsmith.run.best import best, rank
from convsmith.run.directory import RunDirectory
from convsmith.training.judging import judge_of


def facts(**more: Any) -> Any:
    plain: dict[str, Any] = {"kind": "classes", "classes": list("abc"), "costs": None, "encoding": None}
    return SimpleNamespace(**{**plain, **more})


def judged(name: str, outputs: Tensor, targets: Tensor, costs: Tensor | None = None, **more: Any) -> float:
    """The figure, of two batches of different size."""
    judge = judge_of(name, measure_of(more.get("encoding")), facts(**more))
    assert judge is not None
    own = (None, None) if costs is None else (costs[:7], costs[7:])
    total = judge.of(outputs[:7], targets[:7], own[0]) + judge.of(outputs[7:], targets[7:], own[1])
    return judge.value(total, len(outputs))


@pytest.fixture
def answers() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 3, (40,), generator=draws).clamp_max(1)  # the third class has no image
    return torch.randn(40, 3, generator=draws), targets


def test_those_of_classes_are_scikit_learns(answers: tuple[Tensor, Tensor]) -> None:
    outputs, targets = answers
    true, found = targets.numpy(), outputs.argmax(1).numpy()
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning)
        expected = balanced_accuracy_score(true, found)
    assert judged("balanced_accuracy", outputs, targets) == pytest.approx(expected)
    assert judged("macro_f1", outputs, targets) == pytest.approx(f1_score(true, found, average="macro"))


def test_costs_are_those_of_the_decisions(answers: tuple[Tensor, Tensor]) -> None:
    outputs, targets = answers
    matrix = torch.tensor([[0.0, 1.0, 9.0], [4.0, 0.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.double)
    decided = (outputs.double().softmax(1) @ matrix).argmin(1)
    expected = float(matrix[targets, decided].mean())
    assert judged("expected_cost", outputs, targets) == pytest.approx(
        float((outputs.argmax(1) != targets).double().mean())
    )
    judge = judge_of("expected_cost", measure_of(None), facts(costs=matrix))
    assert judge is not None
    assert judge.value(judge.of(outputs, targets, None), 40) == pytest.approx(expected)
    own = torch.rand(40, 3, generator=torch.Generator().manual_seed(1))
    plain = own.gather(1, outputs.argmax(1)[:, None]).double().mean()
    assert judged("expected_cost", outputs, targets, own) == pytest.approx(float(plain))


def test_targets_of_other_units_count_alike() -> None:
    encoding = Numbers(["x", "y"])
    values = torch.stack([1000 * torch.randn(200), 0.01 * torch.randn(200)], 1).double()
    encoding.fit(values)
    more = {"kind": "numbers", "encoding": encoding, "values": lambda name: values}
    outputs = encoding.encode(values).float()
    of_one = outputs.clone()
    of_one[:, 1] = 0  # knows nothing of y
    both = outputs + 0.1  # a tenth of a deviation off in both
    scaled = [judged("scaled_mae", found, outputs, **more) for found in (both, of_one)]
    assert scaled[0] == pytest.approx(0.1, rel=0.02)
    assert scaled[1] > 0.3
    rmse = judged("rmse", both, outputs, **more)
    expected = math.sqrt(float(((values.std(0, correction=0) * 0.1) ** 2).mean()))
    assert rmse == pytest.approx(expected, rel=0.02)


def test_what_the_targets_dont_have_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"`train.choose_by=mae` isn't a figure of these targets; take one of accuracy"
    ):
        judge_of("mae", measure_of(None), facts())
    assert judge_of("accuracy", measure_of(None), facts()) is None


def test_what_is_no_number_is_never_the_best() -> None:
    rows = [
        {"val_mae": math.nan, "val_loss": math.nan},
        {"val_mae": 3.0, "val_loss": 1.0},
        {"val_mae": 1.0, "val_loss": math.inf},
        {"val_mae": 2.0, "val_loss": 5.0},
    ]
    assert best(rows, "mae") is rows[3]
    assert best(rows, "loss") is rows[1]
    assert rank(rows[1], "mae", comparable=False) < rank(rows[3], "mae", comparable=False)


def test_validation_that_is_no_number_is_said_and_never_kept(tmp_path: Path, images: Path) -> None:
    """As half precision may overflow in evaluation: one epoch's statistics are spoiled, and mended later."""

    class Once:
        def __init__(self, epochs: set[int]) -> None:
            self.epochs = epochs

        def on_batch_end(self, state: Any) -> None:
            norm = next(m for m in state.task.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
            if state.epoch in self.epochs and state.batch == len(state.train):
                norm.running_mean.fill_(float("nan"))
            elif state.batch == 1:
                norm.reset_running_stats()

    words = ["model.resnet20.width=4", "data.batch_size=8"]
    run = cs.train(images, out=tmp_path / "run", epochs=3, set=words, callbacks=[Once({0})])
    rows = RunDirectory(tmp_path / "run").read_metrics()
    assert math.isnan(rows[0]["val_loss"])
    assert run["best_epoch"] > 1
    (finding,) = [own for own in run["findings"] if own["name"] == "validation_not_finite"]
    assert "in 1 of 3 epochs: 1" in finding["seen"]
    with pytest.raises(UserError, match="no finite number in any of 2 epochs: the learning rate is probably"):
        cs.train(images, out=tmp_path / "all", epochs=2, set=words, callbacks=[Once({0, 1})])
    assert (tmp_path / "all/metrics.csv").exists(), "diagnose reads it"


def test_a_run_keeps_the_epoch_that_is_best_in_its_own_figure(tmp_path: Path, images: Path) -> None:
    run = cs.train(
        images,
        out=tmp_path / "run",
        model="lenet5",
        epochs=4,
        set=["train.choose_by=macro_f1", "data.batch_size=8", "data.val=0.4", "data.size=16"],
    )
    rows = RunDirectory(tmp_path / "run").read_metrics()
    assert {"val_macro_f1", "val_accuracy"} <= set(rows[0])
    assert run["best_epoch"] == best(rows, "macro_f1")["epoch"]
    assert cs.evaluate(run).macro_f1 == pytest.approx(best(rows, "macro_f1")["val_macro_f1"])
    assert run["chosen_by"] == "macro_f1"
    low, high = run["interval"]
    assert low <= run["accuracy"] <= high + 1e-9
