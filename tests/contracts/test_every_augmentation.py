"""What holds for every augmentation."""

from __future__ import annotations

import pytest
import torch

from convsmith import catalog
from convsmith.data.shuffle import generator


@pytest.mark.parametrize("name", catalog.names("augmentation"))
def test_draws_are_matrices_and_repeat_with_the_seed(name: str) -> None:
    augmentation = catalog.build("augmentation", name)
    first = augmentation.matrices(50, generator(0, 1))
    assert first.shape[0] == 50
    assert first.isfinite().all()
    assert first.equal(augmentation.matrices(50, generator(0, 1)))
    assert not first.equal(augmentation.matrices(50, generator(0, 2)))
    assert torch.linalg.det(first.double()).abs().min() > 1e-6, "an image must stay an image"
