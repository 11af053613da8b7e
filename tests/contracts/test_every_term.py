"""What holds for every term of an objective."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith import catalog
from convsmith.models.lenet import lenet5
from convsmith.objectives.objective import SEEN, build, targets_of

GIVEN: Any = {"classes": list("abcd"), "counts": torch.tensor([8, 4, 2, 1]), "num_features": 500}
FACTS = {"num_classes": lambda: 4, **{key: lambda key=key: GIVEN[key] for key in GIVEN}}
# What joint fine-tuning adds draws images of its own: tests/training/test_joint.py.
EVERY = pytest.mark.parametrize("name", [name for name in catalog.names("term") if name != "source_task"])
TARGETS = {
    "classes": torch.tensor([0, 1, 2, 3, 0, 1]),
    "numbers": torch.randn(6, 4, generator=torch.Generator().manual_seed(5)),
    "distribution": torch.rand(6, 4, generator=torch.Generator().manual_seed(6)).softmax(1),
}


def kinds(name: str) -> tuple[str, ...]:
    return targets_of(name) or ("classes",)


def objective(name: str, targets: str) -> nn.Module:
    section = {name: {}} if targets_of(name) else {name: {}, "cross_entropy": {}}
    built, _ = build(section, targets=targets, facts=FACTS)
    return built


def seen(net: nn.Module, targets: str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    images = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    features = net.forward_head(net.forward_features(images), pre_logits=True)  # type: ignore[operator]
    target = TARGETS[targets]
    return {
        "images": images,
        "features": features,
        "input": net.fc(features),  # type: ignore[operator]
        "target": target.to(dtype) if target.is_floating_point() else target,
        "head": net.fc,
        "costs": 1 - torch.eye(4, dtype=dtype)[torch.tensor([0, 1, 2, 3, 0, 1])],
        "model": net,
        "progress": torch.tensor(0.5),
    }


@EVERY
def test_a_term_is_a_finite_number_with_a_gradient(name: str) -> None:
    for targets in kinds(name):
        torch.manual_seed(0)
        net = lenet5(size=16, num_classes=4)
        given = seen(net, targets)
        assert set(given) == SEEN
        value = objective(name, targets)(**given)[name]
        assert value.shape == ()
        assert value.isfinite()
        value.backward()
        assert any(p.grad is not None and p.grad.any() for p in net.parameters())


@EVERY
def test_gradient_by_finite_differences(name: str) -> None:
    """Along a random direction of the features, through the head, in double precision."""
    if not targets_of(name) or name == "tukey":
        pytest.skip("penalties have a test of their own; Tukey's scale has no gradient, on purpose")
    for targets in kinds(name):
        torch.manual_seed(0)
        net = lenet5(size=16, num_classes=4).double()
        given = seen(net, targets, torch.double)
        # Centers stay where they are between two looks in evaluation alone.
        terms = objective(name, targets).double().train(name != "center")
        if name == "center":
            nn.init.normal_(terms.terms["center"].centers)  # type: ignore[union-attr, index]

        def value(features: Tensor, given: Any = given, net: Any = net, terms: Any = terms) -> Tensor:
            found: Tensor = terms(**{**given, "features": features, "input": net.fc(features)})[name]
            return found

        features = given["features"].detach().requires_grad_()
        direction = torch.randn_like(features)
        step = 1e-6
        (slope,) = torch.autograd.grad(value(features), features)
        with torch.no_grad():
            difference = value(features + step * direction) - value(features - step * direction)
        assert (slope * direction).sum().item() == pytest.approx(
            difference.item() / (2 * step), rel=1e-4, abs=1e-7
        )


@EVERY
def test_wrong_targets_are_refused_with_the_right_terms(name: str) -> None:
    from convsmith.errors import UserError

    for targets in TARGETS:
        if targets_of(name) and targets not in targets_of(name):
            with pytest.raises(UserError, match=f"objective {name} is for .* data's targets are {targets}"):
                build({name: {}}, targets=targets, facts=FACTS)


@EVERY
def test_half_precision_logits_are_welcome(name: str) -> None:
    """Under autocast logits and features come in bfloat16."""
    for targets in kinds(name):
        torch.manual_seed(0)
        net = lenet5(size=16, num_classes=4)
        with torch.autocast("cpu", torch.bfloat16):
            given = seen(net, targets)
            value = objective(name, targets)(**given)[name]
        exact = objective(name, targets)(**seen(net, targets))[name]
        assert value.item() == pytest.approx(exact.item(), rel=0.05, abs=0.02)


@EVERY
def test_compiles(name: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = lenet5(size=16, num_classes=4)
    targets = kinds(name)[0]
    expected = objective(name, targets)(**seen(net, targets))[name]
    compiled = torch.compile(objective(name, targets), backend="aot_eager")
    assert torch.allclose(compiled(**seen(net, targets))[name], expected, atol=1e-5)
