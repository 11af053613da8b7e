"""One image run through a net, with hooks on its layers: how anything is learned of a net from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

Before = Callable[[nn.Module, Any], None]
After = Callable[[nn.Module, Any, Any], None]


def blank(model: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """A black image (1, C, H, W) where the weights of ``model`` are, in the type of the first real one."""
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    return torch.zeros(1, *shape, device=first.device, dtype=first.dtype)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """While open, ``model`` is in evaluation mode; afterwards each layer is in the mode that it was in.

    >>> net = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with evaluating(net): net[0].training
    False
    >>> net[0].training, net[1].training
    (True, False)
    """
    # Layer by layer: frozen ones are in evaluation mode within a net that trains.
    was_training = [(layer, layer.training) for layer in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for layer, mode in was_training:
            layer.training = mode


def probe(
    model: nn.Module,
    image: Tensor,
    *,
    before: Mapping[str, Before] | None = None,
    after: Mapping[str, After] | None = None,
    within: AbstractContextManager[Any] | None = None,
) -> None:
    """Run ``image`` (1, C, H, W) through ``model`` in evaluation mode, without gradients; leave no trace.

    Args:
        before: by a layer's name, called with (layer, inputs) as it begins.
        after: by a layer's name, called with (layer, inputs, output) as it ends.
        within: a context that the pass runs in.

    >>> net, seen = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), []
    >>> probe(net, blank(net, (1, 5, 5)), after={"0": lambda layer, given, output: seen.append(output.shape)})
    >>> seen
    [torch.Size([1, 2, 3, 3])]
    """
    handles = [model.get_submodule(n).register_forward_pre_hook(hook) for n, hook in (before or {}).items()]
    handles += [model.get_submodule(n).register_forward_hook(hook) for n, hook in (after or {}).items()]
    try:
        with evaluating(model), torch.no_grad(), within or nullcontext():
            model(image)
    finally:
        for handle in handles:
            handle.remove()


def takes_channels_last(model: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether a net reads images in channels_last; one that flattens maps by ``view`` can't.

    Raises:
        RuntimeError: if it reads such images in no memory format.

    >>> takes_channels_last(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (1, 5, 5))
    True
    """
    # Two images: of a single one, many layouts are the same.
    images = blank(model, shape).repeat(2, 1, 1, 1)
    try:
        probe(model, images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        probe(model, images)
        return False
    return True
