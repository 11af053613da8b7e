"""What holds for every optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from convsmith import catalog

EVERY = pytest.mark.parametrize("name", catalog.names("optimizer"))


def problem() -> tuple[nn.Parameter, Any]:
    """A quadratic bowl with its bottom at (1, -2), and a function for its loss and gradient."""
    weight = nn.Parameter(torch.zeros(2))
    bottom = torch.tensor([1.0, -2.0])

    def loss() -> torch.Tensor:
        weight.grad = None
        found = (weight - bottom).square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    return weight, loss


def steps(optimizer: torch.optim.Optimizer, loss: Any, count: int) -> float:
    for _ in range(count):
        optimizer.step(loss)
    return loss().item()


@EVERY
def test_it_goes_down(name: str) -> None:
    weight, loss = problem()
    before = loss().item()
    rate = {"lr": 0.05} if name not in ("lbfgs", "adadelta") else {}
    assert steps(catalog.build("optimizer", {name: rate}, params=[weight]), loss, 50) < before


@EVERY
def test_a_resumed_optimizer_goes_on_to_the_same_bits(name: str) -> None:
    """State saved after 3 steps and loaded into a fresh optimizer: the next 3 are those of 6 in one go."""
    whole, loss = problem()
    steps(catalog.build("optimizer", name, params=[whole]), loss, 6)
    first, loss = problem()
    optimizer = catalog.build("optimizer", name, params=[first])
    steps(optimizer, loss, 3)
    second, loss = problem()
    second.data.copy_(first.data)
    resumed = catalog.build("optimizer", name, params=[second])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(resumed, loss, 3)
    assert second.equal(whole)


@EVERY
def test_groups_keep_their_own_rates(name: str) -> None:
    if name == "lbfgs":
        pytest.skip("torch's L-BFGS has one group")
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [weights[0]], "lr": 0.0}, {"params": [weights[1]]}]
    optimizer = catalog.build("optimizer", name, params=groups)
    for weight in weights:
        weight.grad = torch.ones(2)
    optimizer.step()
    assert weights[0].equal(torch.ones(2))
    assert not weights[1].equal(torch.ones(2))
