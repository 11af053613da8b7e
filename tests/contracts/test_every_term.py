"""What holds for every term of an objective."""

from __future__ import annotations

import pytest
import torch

from convsmith import catalog
from convsmith.models.lenet import lenet5
from convsmith.objectives.objective import SEEN, build


@pytest.mark.parametrize("name", catalog.names("term"))
def test_a_term_is_a_finite_number_with_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    net = lenet5(size=16, num_classes=4)
    images = torch.randn(6, 1, 16, 16)
    features = net.forward_head(net.forward_features(images), pre_logits=True)
    seen = {
        "images": images,
        "features": features,
        "input": net.fc(features),
        "target": torch.tensor([0, 1, 2, 3, 0, 1]),
        "head": net.fc,
        "model": net,
    }
    assert set(seen) == SEEN
    (value,) = build({name: {}})(**seen).values()
    assert value.shape == ()
    assert value.isfinite()
    value.backward()
    assert any(p.grad is not None and p.grad.any() for p in net.parameters())
