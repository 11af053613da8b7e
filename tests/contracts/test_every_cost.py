"""What holds for every cost, and for every weighting of classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convsmith import catalog

CLASSES = ["a", "b", "c"]
COSTS = {"table": {"file": "table.csv"}, "confusion": {"run": "table.csv"}}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.csv").write_text("true,a,b,c\na,0,1,4\nb,2,0,1\nc,1,1,0\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("name", catalog.names("cost"))
def test_being_right_costs_nothing_and_a_mistake_something(name: str) -> None:
    costs = catalog.build(
        "cost", {name: COSTS.get(name, {})}, classes=CLASSES, counts=torch.tensor([9, 3, 0])
    )
    assert costs.shape == (3, 3)
    assert costs.isfinite().all()
    assert not costs.diagonal().any()
    assert (costs[~torch.eye(3, dtype=torch.bool)] > 0).all()


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("name", catalog.names("class_weight"))
def test_weights_are_one_on_average_over_the_images(name: str) -> None:
    """So that a learning rate stays right; a rarer class weighs more, unless a run says otherwise."""
    counts = torch.tensor([100, 20, 5])
    arguments = COSTS["confusion"] if name == "confusion" else {}
    weights = catalog.build("class_weight", {name: arguments}, counts=counts, classes=CLASSES)
    assert weights.shape == (3,)
    assert (weights > 0).all()
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0, rel=1e-5)
    if name != "confusion":
        assert weights.argsort().tolist() == [0, 1, 2]
