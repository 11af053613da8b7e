from __future__ import annotations

import numpy as np
import pytest
import torch

from convsmith import catalog
from convsmith.training.schedules import Constant, Cosine, CyclicCosine, Exponential, InverseTime, Step


def test_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    ours = Cosine()
    for epoch in range(20):
        assert ours(epoch, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()


def test_step_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 15], gamma=0.1)
    ours = Step()
    for epoch in range(20):
        assert ours(epoch, 20) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("name", catalog.names("schedule"))
def test_every_schedule_warms_up_linearly_and_stays_within_bounds(name: str) -> None:
    schedule = catalog.build("schedule", {name: {"warmup": 4}})
    assert [schedule(epoch, 40) for epoch in (1, 2, 3)] == pytest.approx([0.25, 0.5, 0.75])
    assert 0 < schedule(0, 40) < 0.01
    values = [schedule(epoch, 40) for epoch in np.linspace(4, 40, 200)]
    assert max(values) == pytest.approx(1.0)
    assert min(values) >= 0
    if name != "cyclic_cosine":
        assert sorted(values, reverse=True) == values


def test_final_share_and_short_trainings() -> None:
    assert Cosine(final=0.1)(10, 10) == pytest.approx(0.1)
    assert Cosine(warmup=5)(2, 2) == pytest.approx(0.4)  # over before it is warm
    assert Constant()(0, 1) == 1.0


def test_exponential_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / 20))
    ours = Exponential(final=0.01)
    for epoch in range(20):
        assert ours(epoch, 20) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_inverse_time_is_torchs_inverse_power() -> None:
    """1 / (1 + gamma epoch), with gamma = k / epochs."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + 0.45 * epoch))
    ours = InverseTime(k=9)
    for epoch in range(20):
        assert ours(epoch, 20) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_cyclic_cosine_is_torchs_warm_restarts() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=5)
    ours = CyclicCosine(cycles=4)
    for epoch in range(20):
        assert ours(epoch, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()
    assert ours(20, 20) == pytest.approx(0.0, abs=1e-9), "no new cycle begins at the end"
