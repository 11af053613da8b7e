from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.models.highway import Gate, Highway, highway, highway_cnn


def test_closed_gate_is_the_identity_open_gate_a_plain_layer() -> None:
    """T = 0 carries the input, T = 1 transforms it: the notes' two limits."""
    torch.manual_seed(0)
    x = torch.randn(2, 6)
    closed = Highway(lambda: nn.Linear(6, 6), nn.ReLU(), bias=-1e4)
    assert closed(x).equal(x)
    with torch.no_grad():
        closed.gate.layer.bias.fill_(1e4)
    assert torch.allclose(closed(x), torch.relu(closed.transform(x)), atol=1e-6)


def test_formula() -> None:
    torch.manual_seed(0)
    layer = Highway(lambda: nn.Conv2d(3, 3, 3, padding=1), nn.Tanh(), bias=-1.0)
    x = torch.randn(2, 3, 5, 5)
    t = torch.sigmoid(layer.gate.layer(x))
    assert torch.allclose(layer(x), torch.tanh(layer.transform(x)) * t + x * (1 - t), atol=1e-6)


@pytest.mark.parametrize("name", ["highway10", "highway_cnn10"])
@pytest.mark.parametrize("init", ["he", "xavier", "gaussian"])
def test_gates_start_at_their_bias_whatever_the_initialization(name: str, init: str) -> None:
    net = catalog.build("model", {name: {"gate_bias": -3.0, "init": init}})
    gates = [layer for layer in net.modules() if isinstance(layer, Gate)]
    assert gates
    for gate in gates:
        assert gate.layer.bias is not None
        assert gate.layer.bias.unique().tolist() == [-3.0]


def test_depth_counts_layers() -> None:
    for depth in (10, 20, 50, 100):
        layers = [m for m in highway(depth).modules() if isinstance(m, Highway)]
        assert len(layers) == depth - 2
    for depth in (10, 19, 31):
        net = highway_cnn(depth, width=4)
        layers = [m for m in net.modules() if isinstance(m, Highway)]
        plain = [m for m in net.features if isinstance(m, nn.Conv2d)]
        assert len(layers) + len(plain) + 1 == depth


@pytest.mark.slow
def test_a_deep_highway_learns_where_a_deep_plain_net_does_not() -> None:
    """The paper's point, small: 50 layers on a linear problem, same steps."""
    losses = {}
    for bias in (-3.0, 20.0):  # a gate wide open is a plain net
        torch.manual_seed(0)
        model = highway(50, num_classes=2, size=4, width=20, gate_bias=-0.0, activation="tanh")
        for gate in (m for m in model.modules() if isinstance(m, Gate)):
            nn.init.constant_(gate.layer.bias, bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        x = torch.randn(256, 1, 4, 4)
        y = (x.mean((1, 2, 3)) > 0).long()
        for _ in range(150):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        losses[bias] = loss.item()
    assert losses[-3.0] < 0.3
    assert losses[20.0] > 2 * losses[-3.0]
