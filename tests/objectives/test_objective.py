from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith.errors import UserError
from convsmith.objectives.objective import Objective, build
from convsmith.objectives.penalties import L2


def test_terms_read_what_they_name_and_nothing_else() -> None:
    class Distance(nn.Module):
        def forward(self, features: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
            return features.sum() - images.sum()

    objective = Objective({"ce": nn.CrossEntropyLoss(), "distance": Distance()})
    assert objective.needs == {"input", "target", "features", "images"}
    values = objective(
        input=torch.zeros(2, 4),
        target=torch.tensor([0, 1]),
        features=torch.ones(2, 3),
        images=torch.ones(2),
        model=None,
        head=None,
    )
    assert values["distance"].item() == 4
    assert values["ce"].item() == pytest.approx(torch.log(torch.tensor(4.0)).item())


def test_a_term_that_reads_something_unknown_is_refused() -> None:
    class Odd(nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits.sum()

    with pytest.raises(
        UserError, match="term odd reads 'logits'; a term can read costs, features, head, images, input"
    ):
        Objective({"odd": Odd()})


def test_penalties_are_not_means_over_images() -> None:
    objective, _ = build({"cross_entropy": {"smoothing": 0.1}, "l2": {}})
    assert objective.per_image("cross_entropy")
    assert not objective.per_image("l2")


def test_terms_keep_float32_where_the_net_goes_to_half_precision() -> None:
    """In float16 a center's small steps would round away."""
    facts = {"num_classes": lambda: 3, "num_features": lambda: 2}
    objective, _ = build({"cross_entropy": {}, "center": {}}, facts=facts)
    centers = torch.tensor([[0.1234567, 1.0], [2.0, 3.0], [4.0, 5.0]])
    objective.terms["center"].centers.copy_(centers)  # type: ignore[union-attr, operator]
    task = nn.ModuleDict({"net": nn.Linear(2, 3), "objective": objective}).half()
    assert task["net"].weight.dtype == torch.float16
    assert torch.equal(objective.terms["center"].centers, centers)  # type: ignore[arg-type]
    assert objective.double().terms["center"].centers.dtype == torch.double  # type: ignore[union-attr]


def test_torchs_own_losses_are_nothing_without_images() -> None:
    objective = Objective({"ce": nn.CrossEntropyLoss(), "l2": L2(0.5)})
    layer = nn.Linear(2, 3)
    logits = layer(torch.zeros(0, 2))
    values = objective(input=logits, target=torch.zeros(0, dtype=torch.long), model=layer)
    assert values["ce"].item() == 0
    values["ce"].backward()
    assert not layer.weight.grad.any()  # type: ignore[union-attr]
    assert values["l2"].item() == pytest.approx(layer.weight.square().sum().item() / 4)
