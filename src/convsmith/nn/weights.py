"""Which parameters of a net are weights: what penalties act on and decay leaves out otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from convsmith.errors import UserError, nearest

EVERY = ("*",)


def weights(
    model: nn.Module, layers: Sequence[str] = EVERY, *, everything: bool = False
) -> dict[str, nn.Parameter]:
    """Weights of convolutions and fully connected layers by name; no biases, no norms, each once.

    Args:
        model: any net.
        layers: patterns of layer names as in a shell, e.g. ``["fc", "layer3.*"]``.
        everything: all parameters of the layers that fit, biases and norms too.

    Raises:
        UserError: if a pattern fits no layer.

    >>> list(weights(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))))
    ['0.weight', '2.weight']
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, layer in model.named_modules():
        own = layer.named_parameters(recurse=False)
        if not everything:
            own = ((key, p) for key, p in own if key == "weight" and isinstance(layer, nn.Conv2d | nn.Linear))
        for key, parameter in own:
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{name}.{key}" if name else key] = parameter
    if tuple(layers) == EVERY:
        return found
    names = {key: key.rpartition(".")[0] for key in found}
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in names.values()):
            raise UserError(f"no layer with weights is called {pattern!r}{nearest(pattern, names.values())}")
    return {k: p for k, p in found.items() if any(fnmatchcase(names[k], pattern) for pattern in layers)}
