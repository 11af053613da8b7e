"""How a net is sent through a file, and compared with what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from changed_nets import CLASSES, SIZE, images
from torch import Tensor, nn

import convsmith as cs
from convsmith.data.signature import Signature
from convsmith.inference.predictor import Predictor
from convsmith.nn.computed import copied
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.traced import Traced


def predictor(net: nn.Module, size: int = SIZE, classes: int = CLASSES) -> Predictor:
    normalizer = Normalizer(torch.tensor([120.0, 110, 100]), torch.tensor([60.0, 61, 62]))
    return Predictor.of(net, normalizer, Signature(tuple("abcdefgh"[:classes]), size, 3))


def travelled(net: nn.Module, folder: Path, size: int = SIZE) -> Any:
    """The net, written to a folder and opened again; it must have become a program."""
    before = copied(net)
    predictor(net, size).save(folder)
    assert all(
        value.equal(other) for value, other in zip(net.state_dict().values(), before.state_dict().values())
    )
    opened: Any = cs.load(folder).module
    assert isinstance(opened, Traced)
    return opened


def close(found: Tensor, expected: Tensor) -> bool:
    """Up to the order of sums in the other memory format, for the size of the numbers."""
    coarse = {torch.float64: 1e-8, torch.float32: 1e-5}.get(expected.dtype, 2e-2)
    scale = max(1.0, float(expected.detach().abs().max()))
    return found.shape == expected.shape and found.allclose(expected, rtol=coarse, atol=coarse * scale)


def answers_alike(net: nn.Module, again: nn.Module, size: int = SIZE) -> None:
    net.eval(), again.eval()
    for n in (1, 2, 5):
        x = images(net, n, size)
        assert close(again(x), net(x)), f"batch of {n}"


def trains_alike(net: nn.Module, again: nn.Module, size: int = SIZE) -> None:
    """In training mode with the same seed: outputs, gradients of images and parameters, buffers afterwards.

    In float64, where sums in another order are no difference.
    """
    seen = []
    for own in (net, again):
        # Dropout draws in the order of memory: both in the same format.
        own.double().to(memory_format=torch.contiguous_format).train().zero_grad()
        x = images(own, 4, size).requires_grad_()
        torch.manual_seed(5)
        y = own(x)
        (y.double() * torch.linspace(-1, 2, y.numel()).reshape(y.shape)).sum().backward()
        seen.append((y, x.grad))
    (y, dx), (z, dz) = seen
    assert close(z, y)
    assert dx is not None
    assert close(dz, dx)
    theirs = {plain(name): own for name, own in again.named_parameters()}
    ours = {plain(name): own for name, own in net.named_parameters()}
    assert set(theirs) == set(ours)
    for name, own in ours.items():
        assert (own.grad is None) == (theirs[name].grad is None), name
        assert own.grad is None or close(theirs[name].grad, own.grad), name
    theirs_too = {plain(name): own for name, own in again.named_buffers()}
    for name, buffer in net.named_buffers():
        if "mask" not in name and plain(name) in theirs_too:
            assert close(theirs_too[plain(name)], buffer), name


def plain(name: str) -> str:
    """A parameter's name without the ways in which torch's older hooks and its parametrizations write it."""
    for old, new in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
        ("parametrizations.weight.original", "weight"),
        ("weight_orig", "weight"),
    ):
        name = name.replace(old, new)
    return name
