"""What holds for every term of an objective."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith import catalog
from convsmith.models.lenet import lenet5
from convsmith.objectives.objective import SEEN, Objective, build, targets_of

GIVEN: Any = {"classes": list("abcd"), "counts": torch.tensor([8, 4, 2, 1]), "num_features": 500}
FACTS = {"num_classes": lambda: 4, **{key: lambda key=key: GIVEN[key] for key in GIVEN}}
# One draws images of its own (joint fine-tuning), one listens to a net's layers: both have their own tests.
OTHERS = ("source_task", "auxiliary_heads")
EVERY = pytest.mark.parametrize("name", [name for name in catalog.names("term") if name not in OTHERS])
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


def heads(scale: float, dtype: torch.dtype, targets: str) -> dict[str, Any]:
    """What a term reads, with features and logits of a given size."""
    torch.manual_seed(0)
    net = lenet5(size=16, num_classes=4).to(dtype)
    draws = torch.Generator().manual_seed(7)
    features = (torch.randn(6, 500, generator=draws) * scale).to(dtype)
    logits = (torch.randn(6, 4, generator=draws) * scale).to(dtype)
    target = TARGETS[targets]
    given = {"features": features.requires_grad_(), "input": logits.requires_grad_(), "target": target}
    costs = 1 - torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1])]
    return {
        **given,
        "images": torch.zeros(6, 1, 16, 16),
        "head": net.fc,
        "costs": costs,
        "model": net,
        "progress": torch.tensor(0.5),
    }


def read(given: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {
        key: value.detach().to(dtype).requires_grad_() if key in ("features", "input") else value
        for key, value in given.items()
    }


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [300.0, 1.0, 1e-4])
def test_half_precision_agrees_with_double(name: str, dtype: torch.dtype, scale: float) -> None:
    """Of the same features, logits and weights, in half precision throughout; the term is float32."""
    for targets in kinds(name):
        given = heads(scale, dtype, targets)
        if targets == "numbers":
            given["target"] = given["target"] * scale
        exact = read(given, torch.double)
        exact["model"] = copy.deepcopy(given["model"]).double()
        exact["head"] = exact["model"].fc
        # The term itself must bear half precision too, whatever moved it there.
        for terms in (objective(name, targets).to(dtype), objective(name, targets).terms[name].to(dtype)):
            expected = objective(name, targets).double()(**exact)[name]
            parts = {name: terms} if terms.__class__.__name__ != "Objective" else terms.terms
            found = Objective(dict(parts))(**given)[name]
            assert found.dtype == torch.float32
            rel = 1e-3 if dtype == torch.float16 else 1e-2
            assert found.item() == pytest.approx(expected.item(), rel=rel, abs=1e-7)
            for key in ("features", "input"):
                (slope,) = torch.autograd.grad(found, given[key], allow_unused=True, retain_graph=True)
                (true,) = torch.autograd.grad(expected, exact[key], allow_unused=True, retain_graph=True)
                if slope is not None and true is not None:
                    error = (slope.double() - true).abs().max()
                    assert error <= 16 * torch.finfo(dtype).eps * true.abs().max() + 2**-24


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_no_images_are_nothing(name: str, dtype: torch.dtype, training: bool) -> None:
    """A process gets no image where a batch has fewer than there are processes; its share is 0."""
    for targets in kinds(name):
        given = heads(1.0, dtype, targets)
        none = {k: v[:0] if k not in ("head", "model", "progress") else v for k, v in given.items()}
        terms = objective(name, targets).train(training)
        before = {key: value.clone() for key, value in terms.state_dict().items() if "updates" not in key}
        reads = terms.reads[name]
        alone = terms.terms[name](**{key: none[key] for key in reads})
        for value in (terms(**none)[name], alone):
            assert value.isfinite()
            if terms.per_image(name):
                assert value == 0
            value.backward()
            for parameter in (*given["model"].parameters(), given["features"], given["input"]):
                assert parameter.grad is None or parameter.grad.isfinite().all()
        after = terms.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())


WEIGHTS = [{}, {"class_weight": "effective_number"}, {"smoothing": 0.1}]


@EVERY
@pytest.mark.parametrize("counts", [[8, 4, 0, 1], [5, 0, 0, 0]])
def test_classes_without_images_change_nothing(name: str, counts: list[int]) -> None:
    """Neither in training images nor in the batch: the others' loss is as if the class weren't there."""
    present = torch.tensor(counts).nonzero().flatten()
    for targets in kinds(name):
        facts = {**FACTS, "counts": lambda: torch.tensor(counts)}
        for options in WEIGHTS if name == "weighted_cross_entropy" else [{}]:
            section = {name: options} if targets_of(name) else {name: {}, "cross_entropy": {}}
            terms, _ = build(section, targets=targets, facts=facts)
            given = heads(1.0, torch.float32, targets)
            if targets == "classes":
                given["target"] = present[torch.arange(6) % len(present)]
            elif targets == "distribution":
                soft = torch.zeros(6, 4)
                soft[:, present] = torch.rand(6, len(present), generator=torch.Generator().manual_seed(2))
                given["target"] = soft / soft.sum(1, keepdim=True)
            value = terms(**given)[name]
            assert value.isfinite()
            value.backward()
            assert given["input"].grad is None or given["input"].grad.isfinite().all()
            if name == "logit_adjustment" and len(present) > 1:
                fewer, _ = build(
                    {name: {}}, targets=targets, facts={"counts": lambda: torch.tensor(counts)[present]}
                )
                target = given["target"]
                target = target[:, present] if target.ndim == 2 else torch.searchsorted(present, target)
                assert torch.allclose(value, fewer(input=given["input"][:, present], target=target)[name])


@EVERY
def test_compiles(name: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = lenet5(size=16, num_classes=4)
    targets = kinds(name)[0]
    expected = objective(name, targets)(**seen(net, targets))[name]
    compiled = torch.compile(objective(name, targets), backend="aot_eager")
    assert torch.allclose(compiled(**seen(net, targets))[name], expected, atol=1e-5)
