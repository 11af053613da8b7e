from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convsmith.errors import UserError
from convsmith.objectives.costs import class_ratio, confusion, decide, pairs, table
from convsmith.objectives.expected_cost import ExpectedCost

CLASSES = ["ill", "unsure", "well"]


@given(seed=st.integers(0, 1000))
def test_the_decision_is_the_cheapest_of_all(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(5, 4, generator=draws, dtype=torch.double).softmax(1)
    costs = torch.rand(4, 4, generator=draws, dtype=torch.double)
    for row, decision in zip(probabilities.tolist(), decide(probabilities, costs).tolist()):
        expected = [sum(row[k] * costs[k, j].item() for k in range(4)) for j in range(4)]
        assert expected[decision] == min(expected)


def test_equal_costs_decide_for_the_likeliest() -> None:
    probabilities = torch.rand(50, 6, generator=torch.Generator().manual_seed(0)).softmax(1)
    equal = 1 - torch.eye(6)
    assert decide(probabilities, equal).equal(decide(probabilities, None))


def test_expected_cost_of_equal_costs_is_the_error_of_a_random_decision() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    target = torch.arange(8) % 3
    costs = (1 - torch.eye(3))[target]
    own = logits.softmax(1).gather(1, target[:, None])
    assert torch.allclose(ExpectedCost()(logits, target, costs), 1 - own.mean())


def test_training_by_expected_cost_learns_the_cheapest_decision() -> None:
    """An ambiguous image is of class 1 in 90% of cases, but taking class 0 for 1 costs 20."""
    target = torch.tensor([1] * 9 + [0])
    costs = torch.tensor([[0.0, 20.0], [1.0, 0.0]])[target]
    logits = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([logits], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        ExpectedCost()(logits.expand(10, 2), target, costs).backward()
        optimizer.step()
    assert logits.argmax().item() == 0
    assert decide(torch.tensor([[0.1, 0.9]]), torch.tensor([[0.0, 20.0], [1.0, 0.0]])).item() == 0


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "costs.csv"
    file.write_text(text)
    return str(file)


def test_rows_and_columns_come_in_any_order(tmp_path: Path) -> None:
    file = written(tmp_path, "true,well,ill,unsure\nunsure,1,2,0\nwell,0,3,4\nill,9,0,5\n")
    assert table(CLASSES, file).tolist() == [[0, 5, 9], [2, 0, 1], [3, 4, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true,ill,well\nill,0,1\nwell,1,0\n", "class 'unsure' needs a row and a column"),
        ("true,ill,unsure,wel\nill,0,1,1\n", "there is no class 'wel'; did you mean 'well'"),
        (
            "t,ill,unsure,well\nill,0,1,1\nunsure,1,0,x\nwell,1,1,0\n",
            r"costs.csv:3: 'x' is not a number >= 0",
        ),
        ("t,ill,unsure,well\nill,0,1,1\nunsure,1,0\nwell,1,1,0\n", r"costs.csv:3: '' is not a number"),
        ("t,ill,unsure,well\nill,0,1,1\nunsure,1,0,-1\nwell,1,1,0\n", r"costs.csv:3: '-1' is not"),
        ("t,ill,unsure,well\nill,5,1,1\nunsure,1,0,1\nwell,1,1,0\n", "deciding 'ill' rightly costs 5"),
        ("", "class 'ill' needs a row"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        table(CLASSES, written(tmp_path, text))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*nowhere.csv"):
        table(CLASSES, str(tmp_path / "nowhere.csv"))
    with pytest.raises(UserError, match=r"data.costs.table.file=costs.csv"):
        table(CLASSES)


def test_pairs_name_the_dear_mistakes() -> None:
    assert pairs(CLASSES, {"ill": {"well": 20}}, other=2).tolist() == [[0, 2, 20], [2, 0, 2], [2, 2, 0]]
    with pytest.raises(UserError, match="there is no class 'il'"):
        pairs(CLASSES, {"il": {"well": 20}})
    with pytest.raises(UserError, match="costs are >= 0"):
        pairs(CLASSES, {"ill": {"well": -1}})


def test_frequent_confusions_cost_more(tmp_path: Path) -> None:
    file = written(tmp_path, "true,ill,unsure,well\nill,5,4,1\nunsure,0,10,0\nwell,0,1,19\n")
    costs = confusion(CLASSES, file)
    shares = torch.tensor([[0, 4 / 10, 1 / 10], [0, 0, 0], [0, 1 / 20, 0]])
    expected = (1 + shares / (shares.sum() / 6)) / 2 * (1 - torch.eye(3))
    assert torch.allclose(costs.float(), expected)
    assert costs.sum().item() == pytest.approx(6)


def test_a_run_without_mistakes_makes_them_all_alike(tmp_path: Path) -> None:
    file = written(tmp_path, "true,ill,unsure,well\nill,5,0,0\nunsure,0,10,0\nwell,0,0,19\n")
    assert confusion(CLASSES, file).equal(1 - torch.eye(3).double())


def test_the_weight_of_expected_cost_scales_value_and_slope() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target, costs = torch.tensor([0, 1, 2, 0, 1]), torch.rand(5, 3)
    plain, heavy = ExpectedCost()(logits, target, costs), ExpectedCost(weight=7.0)(logits, target, costs)
    assert heavy.item() == pytest.approx(7 * plain.item())
    slopes = [torch.autograd.grad(value, logits)[0] for value in (plain, heavy)]
    assert torch.allclose(slopes[1], 7 * slopes[0])


def test_costs_by_class_ratio_decide_as_if_all_classes_were_as_frequent() -> None:
    """Bayes: posteriors over priors have their largest value at the same class."""
    counts = torch.tensor([90, 9, 1])
    posteriors = torch.rand(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double).softmax(1)
    even = (posteriors / counts).argmax(1)
    assert torch.equal(decide(posteriors, class_ratio(CLASSES, counts)), even)
