from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from convsmith.errors import UserError
from convsmith.models.lenet import lenet5, lenet300_100


def test_lenet5_is_the_formula() -> None:
    """Convolutions by scipy, pooling by reshaping, the rest by matrix products, in float64."""
    torch.manual_seed(0)
    net = lenet5(num_classes=3).double().eval()
    image = np.random.default_rng(0).normal(size=(1, 28, 28))

    def convolve(x: np.ndarray, layer: torch.nn.Conv2d) -> np.ndarray:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        return np.stack([correlate(x, w, "valid")[0] + b for w, b in zip(weight, bias)])

    def pool(x: np.ndarray) -> np.ndarray:
        c, h, w = x.shape
        return x.reshape(c, h // 2, 2, w // 2, 2).max((2, 4))

    x = pool(convolve(pool(convolve(image, net.conv1)), net.conv2)).reshape(-1)
    x = np.maximum(net.fc1.weight.detach().numpy() @ x + net.fc1.bias.detach().numpy(), 0)
    expected = net.fc.weight.detach().numpy() @ x + net.fc.bias.detach().numpy()
    found = net(torch.from_numpy(image)[None])[0].detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("make", [lenet5, lenet300_100])
def test_memory_format_does_not_change_the_answer(make) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = make(in_channels=3).eval()
    images = torch.randn(2, 3, 28, 28)
    expected = net(images)
    found = net.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, atol=1e-5)


def test_sizes() -> None:
    assert lenet5(size=16)(torch.zeros(1, 1, 16, 16)).shape == (1, 10)
    assert lenet5(size=33)(torch.zeros(1, 1, 33, 33)).shape == (1, 10)
    with pytest.raises(UserError, match="at least 16 pixels, got 15"):
        lenet5(size=15)
