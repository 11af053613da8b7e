"""What holds for every regularizer, and for the norms."""

from __future__ import annotations

import pytest
import torch

from convsmith import catalog
from convsmith.models.lenet import lenet5


@pytest.mark.parametrize("name", catalog.names("regularizer"))
def test_it_gives_a_finite_figure_and_lets_the_net_train_and_rest(name: str) -> None:
    torch.manual_seed(0)
    net = lenet5(size=16, num_classes=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    regularizer = catalog.build("regularizer", name)
    regularizer.attach(net, optimizer)
    images = torch.randn(4, 1, 16, 16)
    net(images).square().sum().backward()
    optimizer.step()
    assert regularizer.figure().shape == ()
    assert regularizer.figure().isfinite()
    net.eval()
    assert net(images).equal(net(images)), "nothing random in test"


@pytest.mark.parametrize("kind", ["vector_norm", "matrix_norm"])
def test_norms_are_norms(kind: str) -> None:
    """Zero for zero, proportional, and no longer around two sides of a triangle than along both."""
    draws = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 10, 4, 5, generator=draws, dtype=torch.double)
    for name in catalog.names(kind):
        norm = catalog.build(kind, name)
        assert not norm(torch.zeros(3, 4, 5)).any()
        assert torch.allclose(norm(-3 * a), 3 * norm(a))
        assert (norm(a + b) <= norm(a) + norm(b) + 1e-12).all()
        assert norm(a).shape == (a.shape[:-1] if kind == "vector_norm" else a.shape[:-2])
