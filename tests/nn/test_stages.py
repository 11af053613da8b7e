"""Stages: every parameter in exactly one, in order, for any net."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.nn.stages import stages

NETS = {
    "lenet5": {"in_channels": 3, "size": 32},
    "lenet300_100": {"in_channels": 3, "size": 32},
    "resnet20": {"width": 4},
    "resnet50": {"width": 8},
    "vgg11": {"size": 32, "width": 4, "hidden": 16},
    "nin": {"width": 16},
    "highway10": {"in_channels": 3, "size": 32, "width": 16},
    "squeezenet1_1": {},
    "googlenet": {"size": 32},
    "timm:resnet10t": {},
    "timm:mobilenetv3_small_050": {},
    "timm:seresnet50": {},
    "timm:convnext_atto": {},
    "timm:tf_efficientnet_lite0": {},
    "timm:vit_tiny_patch16_224": {},
}


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_is_in_one_stage_and_the_classifier_is_the_last(name: str) -> None:
    side = 224 if "vit" in name else 32
    net = catalog.build("model", name, num_classes=3, **NETS[name])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = stages(net, (3, side, side))
    own = [id(p) for stage in found for p in stage.parameters(net)]
    assert sorted(own) == sorted(id(p) for p in net.parameters())
    head = {id(p) for p in net.get_classifier().parameters()}
    assert {id(p) for p in found[-1].parameters(net)} == head
    assert len(found) >= 2
    assert all(value.equal(before[key]) for key, value in net.state_dict().items()), "looked at, not changed"
    assert net.training


def test_stages_are_cut_where_maps_change_size() -> None:
    net = catalog.build("model", "timm:resnet18", num_classes=3)
    firsts = [stage.modules[0] for stage in stages(net, (3, 64, 64))]
    assert firsts == ["conv1", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1", "fc"]


def test_gates_on_one_pixel_belong_to_their_block() -> None:
    net = catalog.build("model", "timm:seresnet50", num_classes=3)
    found = stages(net, (3, 96, 96))
    last = found[-2].modules
    assert {"layer4.2.se.fc1", "layer4.2.conv1", "layer4.0.conv2"} <= set(last)


def test_a_net_that_never_subsamples_is_cut_into_four() -> None:
    net = nn.Sequential(*[nn.Conv2d(2, 2, 3, padding=1) for _ in range(9)])
    net.get_classifier = lambda: net[8]  # type: ignore[assignment]
    assert [len(stage.modules) for stage in stages(net, (2, 8, 8))] == [2, 2, 2, 2, 1]
    assert torch.is_grad_enabled()
