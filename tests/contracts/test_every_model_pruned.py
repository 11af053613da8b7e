"""Channels can be removed from every net of the catalogue, and what is left knows what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch_pruning as pruning
from torch import nn

from convsmith import catalog
from convsmith.data.opened import open_data
from convsmith.nn.manners import classifier, features, num_features, replace_classifier_, with_features
from convsmith.objectives.objective import build as objective_of
from convsmith.recipe import Data
from convsmith.training.features import OnFeatures
from convsmith.training.features import features as cached
from convsmith.training.joint import SourceTask
from convsmith.training.task import Task

NETS: dict[str, dict[str, Any]] = {
    "alexnet": {"size": 63},
    "allcnn": {},
    "googlenet": {"size": 32},
    "highway10": {"size": 16, "width": 32},
    "highway_cnn10": {"width": 32},
    "lenet300_100": {"size": 16},
    "lenet5": {"size": 16},
    "nin": {},
    "resnet18": {"width": 8},
    "resnet20": {"width": 8},
    "squeezenet1_0": {},
    "squeezenet1_1": {},
    "vgg11": {"size": 32, "width": 8, "hidden": 16},
    "timm:resnet10t": {},
}
EVERY = pytest.mark.parametrize("name", NETS)


def side(name: str) -> int:
    return int(NETS[name].get("size", 33))


def pruned(name: str) -> nn.Module:
    """The net with half of each layer's channels."""
    torch.manual_seed(0)
    net: nn.Module = catalog.build("model", name, num_classes=5, in_channels=3, **NETS[name]).eval()
    before = sum(p.numel() for p in net.parameters())
    pruner = pruning.pruner.MagnitudePruner(
        net,
        torch.randn(2, 3, side(name), side(name)),
        importance=pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[classifier(net)],
    )
    pruner.step()
    assert sum(p.numel() for p in net.parameters()) < 0.6 * before
    return net


@EVERY
def test_it_runs_trains_and_knows_its_features(name: str) -> None:
    net = pruned(name)
    images = torch.randn(3, 3, side(name), side(name))
    vectors, logits = with_features(net, images)
    assert vectors.shape == (3, num_features(net))
    assert logits.allclose(net(images), atol=1e-5)
    net.train()(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    vectors = features(net.eval(), images)
    head = replace_classifier_(net, 2)
    assert classifier(net) is head
    assert net(images).shape == (3, 2)
    assert features(net, images).equal(vectors)


@pytest.mark.parametrize("name", [name for name in NETS if ":" not in name])
def test_our_own_reset_classifier_counts_the_channels_that_are_left(name: str) -> None:
    net: Any = pruned(name)
    left = num_features(net)
    assert left < net.num_features
    net.reset_classifier(2)
    assert (num_features(net), net.num_features) == (left, left)
    assert net(torch.randn(2, 3, side(name), side(name))).shape == (2, 2)
    net.reset_classifier(0)
    assert num_features(net) == left


@pytest.mark.parametrize("name", ["resnet20", "timm:resnet10t"])
def test_center_loss_joint_and_cached_features_read_what_is_left(name: str, images: Path) -> None:
    net = pruned(name)
    pictures, target = torch.randn(4, 3, 33, 33), torch.tensor([0, 1, 2, 3])
    section = {"cross_entropy": {}, "center": {}, "large_margin": {}}
    objective, _ = objective_of(
        section, facts={"num_classes": lambda: 5, "num_features": lambda: num_features(net)}
    )
    Task(net.train(), objective)(pictures, target)[0]["center"].backward()
    net.eval()
    vectors = cached(net, pictures).clone()
    assert OnFeatures(net)(vectors).allclose(net(pictures), atol=1e-5)

    cpu = torch.device("cpu")
    target_set = open_data(Data(path=str(images), size=33))
    term = SourceTask(target_set, num_features(net), batch_size=4, device=cpu, seed=0, source=str(images))
    term(net).backward()
    assert term.head.weight.grad is not None
