"""Which parameters of a net are weights: what penalties act on and decay leaves out otherwise."""

from __future__ import annotations

from torch import nn


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of convolutions and fully connected layers by name; no biases, no norms, each once.

    >>> list(weights(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))))
    ['0.weight', '2.weight']
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and id(layer.weight) not in seen:
            assert isinstance(layer.weight, nn.Parameter)
            seen.add(id(layer.weight))
            found[f"{name}.weight" if name else "weight"] = layer.weight
    return found
