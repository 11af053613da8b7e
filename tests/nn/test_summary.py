from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convsmith import catalog
from convsmith.nn.summary import summarize


def test_macs_agree_with_torchs_flop_counter() -> None:
    for spec, shape in [
        ("resnet20", (3, 32, 32)),
        ("lenet5", (1, 28, 28)),
        ("timm:mobilenetv3_small_050", (3, 64, 64)),
    ]:
        net = catalog.build("model", spec, num_classes=7, in_channels=shape[0], size=shape[1]).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            net(torch.zeros(1, *shape))
        found = summarize(net, shape)
        assert 2 * found.macs == counter.get_total_flops()
        assert found.parameters == sum(p.numel() for p in net.parameters())
        assert sum(row.parameters for row in found.rows) == found.parameters


def test_a_shared_layer_counts_its_parameters_once_and_its_work_twice() -> None:
    layer = nn.Conv2d(2, 2, 1, bias=False)
    found = summarize(nn.Sequential(layer, layer), (2, 3, 3))
    assert (found.parameters, found.macs) == (4, 2 * 4 * 9)
    assert [row.parameters for row in found.rows] == [4, 0]


def test_the_net_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    summarize(net, (1, 5, 5))
    assert net.training
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    assert not any(layer._forward_hooks for layer in net.modules())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(4, 6, 3, stride=2, groups=2), (4, 9)),
        (nn.Conv3d(2, 3, (1, 2, 3)), (2, 4, 5, 6)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 6)),
    ],
)
def test_macs_of_other_convolutions_by_their_impulse(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """With all inputs and weights 1, an output counts the products that make it; the borders of a transposed
    one get fewer."""
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    products = int(layer(torch.ones(1, *shape)).sum())
    assert summarize(layer, shape).macs == products  # type: ignore[arg-type]


def test_parameters_of_a_parametrization_are_its_layers() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))
            self.mix = nn.Linear(3, 3)  # a layer of the form, not of the net

        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return self.mix(weight) * self.scale.mean()

    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    nn.utils.parametrize.register_parametrization(net[0], "weight", Scaled())
    found = summarize(net, (1, 5, 5))
    assert [(row.name, row.kind, row.parameters) for row in found.rows] == [
        ("0", "Conv2d", 2 * 9 + 2 + 5 + 9 + 3),
        ("1", "ReLU", 0),
    ]
    assert found.macs == 9 * 2 * 9


def test_a_layer_that_stores_no_parameter_has_a_row() -> None:
    class Signs(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight.sign()

    layer = nn.Linear(4, 3, bias=False)
    value = layer.weight.detach()
    del layer.weight
    layer.register_buffer("weight", value)
    nn.utils.parametrize.register_parametrization(layer, "weight", Signs())
    found = summarize(nn.Sequential(nn.Flatten(), layer), (1, 2, 2))
    assert [(row.kind, row.parameters, row.macs) for row in found.rows] == [
        ("Flatten", 0, 0),
        ("Linear", 0, 12),
    ]


class _Several(nn.Module):
    """Layers that give tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(12, 5, batch_first=True)
        self.attention = nn.MultiheadAttention(5, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows, _ = self.lstm(x.permute(0, 2, 1, 3).flatten(2))
        found: Tensor = self.attention(rows, rows, rows)[0]
        return found.mean(1)


def test_of_a_layer_that_gives_several_tensors_the_first_is_shown() -> None:
    rows = {row.name: row.shape for row in summarize(_Several(), (3, 6, 4)).rows}
    assert rows["lstm"] == (6, 5)
