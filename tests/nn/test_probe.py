"""A probe leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convsmith.nn.probe import blank, probe


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no")


def test_modes_statistics_and_hooks_are_as_before() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    net[1].eval()  # frozen, within a net that trains
    net[1].running_mean.fill_(3)
    order: list[str] = []
    probe(
        net,
        blank(net, (1, 5, 5)),
        before={"0": lambda layer, inputs: order.append("into 0")},
        after={"1": lambda layer, inputs, output: order.append("out of 1")},
    )
    assert order == ["into 0", "out of 1"]
    assert [layer.training for layer in net] == [True, False, True]
    assert net.training
    assert net[1].running_mean.unique().tolist() == [3.0]
    net(torch.zeros(1, 1, 5, 5))
    assert len(order) == 2, "the hooks are gone"


def test_nothing_stays_after_a_failure_either() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), Broken())
    seen: list[Tensor] = []
    with pytest.raises(RuntimeError, match="no"):
        probe(net, blank(net, (1, 5, 5)), after={"0": lambda layer, inputs, output: seen.append(output)})
    assert net.training
    assert len(seen) == 1
    net[0](torch.zeros(1, 1, 5, 5))
    assert len(seen) == 1


def test_the_image_is_of_the_weights_type() -> None:
    net = nn.Conv2d(1, 2, 3).double()
    assert blank(net, (1, 5, 5)).dtype == torch.float64
    assert blank(nn.ReLU(), (1, 5, 5)).dtype == torch.float32


def test_the_image_is_real_where_the_first_weights_are_complex() -> None:
    net = nn.Module()
    net.spectrum = nn.Parameter(torch.zeros(2, dtype=torch.cfloat))
    assert blank(net, (1, 5, 5)).dtype == torch.float32
