"""A step's forward: terms and logits, for nets with timm's methods and without."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsmith import catalog
from convsmith.objectives.objective import Objective, build
from convsmith.training.task import Task

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 1, 2, 0])
FACTS = {"num_classes": lambda: 3, "num_features": lambda: 6}


class Own(nn.Module):
    """Without a single method of timm's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.body(x))
        return logits


class Reading(nn.Module):
    """Keeps what it is handed."""

    seen: dict[str, Any]

    def forward(self, input: Tensor, features: Tensor, target: Tensor, head: nn.Module) -> Tensor:
        self.seen = {"input": input, "features": features, "head": head}
        return F.cross_entropy(input, target)


class Head(nn.Module):
    """Reads the classifier alone."""

    def forward(self, head: nn.Module, target: Tensor) -> Tensor:
        weight: Any = head.weight
        return weight.sum()


def test_a_term_gets_features_logits_and_classifier_of_any_net() -> None:
    torch.manual_seed(0)
    own = Own()
    ours = catalog.build("model", "lenet5", num_classes=3, in_channels=3, size=16)
    for net, expected in (
        (own, own.body(IMAGES)),
        (ours, ours.forward_head(ours.forward_features(IMAGES), True)),
    ):
        term = Reading()
        terms, logits = Task(net, Objective({"reading": term}))(IMAGES, TARGET)
        assert term.seen["features"].allclose(expected, atol=1e-6)
        assert term.seen["head"] is (own.out if net is own else ours.fc)
        assert logits.allclose(net(IMAGES), atol=1e-6)
        assert terms["reading"].item() == pytest.approx(F.cross_entropy(net(IMAGES), TARGET).item())


def test_a_term_may_read_the_classifier_alone() -> None:
    net = Own()
    terms, logits = Task(net, Objective({"head": Head()}))(IMAGES, TARGET)
    assert terms["head"].item() == pytest.approx(net.out.weight.sum().item())
    assert logits.equal(net(IMAGES))


def test_features_train_the_net_through_center_loss_and_large_margin() -> None:
    net = Own()
    objective, _ = build({"center": {}, "large_margin": {}}, facts=FACTS)
    terms, _ = Task(net, objective)(IMAGES, TARGET)
    terms["center"].backward(retain_graph=True)
    assert net.body[0].weight.grad.any()
    terms["large_margin"].backward()
    assert net.out.weight.grad.any()


class Half(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


@pytest.mark.parametrize("parametrized", [False, True])
def test_it_compiles_for_any_net(parametrized: bool) -> None:
    net = Own()
    if parametrized:
        parametrize.register_parametrization(net.out, "weight", Half())
    objective, _ = build({"cross_entropy": {}, "l2": {}, "center": {}}, facts=FACTS)
    task = Task(net, objective).eval()
    compiled = torch.compile(task, backend="eager", dynamic=False)
    terms, logits = task(IMAGES, TARGET)
    others, same = compiled(IMAGES, TARGET)
    assert same.allclose(logits, atol=1e-6)
    assert {k: v.item() for k, v in others.items()} == pytest.approx({k: v.item() for k, v in terms.items()})
    others["center"].backward()
    assert net.body[0].weight.grad.any()
