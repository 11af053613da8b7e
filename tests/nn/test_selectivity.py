from __future__ import annotations

import numpy as np
import pytest
import torch

from convsmith.nn.selectivity import selectivity


def test_the_index_is_that_of_the_paper() -> None:
    draws = np.random.default_rng(0)
    means, target = draws.random((50, 7)).astype(np.float32), draws.integers(0, 5, 50) * 2
    found = selectivity(torch.from_numpy(means), torch.from_numpy(target))
    for unit in range(7):
        by_class = {label: means[target == label, unit].mean() for label in np.unique(target)}
        best = max(by_class, key=lambda label: by_class[label])
        others = np.mean([value for label, value in by_class.items() if label != best])
        expected = (by_class[best] - others) / (by_class[best] + others)
        assert found.index[unit] == pytest.approx(expected, abs=1e-6)
        assert found.best[unit] == best


def test_chance_is_what_few_images_make_of_noise() -> None:
    """Sparse noise over two images a class looks selective, over many it doesn't; true units do."""
    generator = torch.Generator().manual_seed(1)
    few = (torch.rand(8, 200, generator=generator) < 0.2).float()
    found = selectivity(few, torch.arange(8) % 4)
    assert found.selective.sum() > 60
    assert found.by_chance == pytest.approx(float(found.selective.sum()), rel=0.25)
    target = torch.arange(800) % 4
    many = (torch.rand(800, 200, generator=generator) < 0.2).float()
    many[:, :20] = (target == 3).float()[:, None]
    found = selectivity(many, target)
    assert found.selective.nonzero().flatten().tolist() == list(range(20))
    assert found.best[:20].eq(3).all()
    assert found.index[:20].eq(1).all()
    assert found.by_chance == 0


def test_dead_units_answer_to_no_class_and_refusals() -> None:
    means = torch.tensor([[0.0, 3.0], [0.0, 1.0], [0.0, 1.0]])
    found = selectivity(means, torch.tensor([0, 1, 2]))
    assert found.index[0].isnan()
    assert found.selective.tolist() == [False, True], "three times the others' mean is enough"
    with pytest.raises(ValueError, match="at least 2 classes"):
        selectivity(means, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="responses >= 0"):
        selectivity(-means, torch.tensor([0, 1, 2]))
