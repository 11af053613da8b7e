from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith.errors import UserError
from convsmith.objectives.objective import Objective, build


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
