"""Time and memory of a training on this machine, measured on a few batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Estimate:
    """Cost of a whole training.

    Args:
        seconds: in all.
        memory: bytes of weights, gradients, momentum and kept activations.
        step_seconds: of one update.
        updates: in all.
    """

    seconds: float
    memory: int
    step_seconds: float
    updates: int

    def __str__(self) -> str:
        minutes = self.seconds / 60
        shown = f"{minutes:.0f} minutes" if minutes >= 2 else f"{self.seconds:.0f} seconds"
        return f"about {shown} and {self.memory / 2**20:,.0f} MiB, {self.updates:,} updates"


def estimate(
    model: nn.Module, batch: Tensor, *, updates: int, frozen: bool = False, rounds: int = 3
) -> Estimate:
    """Run a few steps of ``model`` on a batch (N, C, H, W), forward and back, on its device.

    Args:
        model: net; its weights and statistics stay as they were.
        batch: images of one batch of the training.
        updates: number of updates of the whole training.
        frozen: run forward only, as for features that are computed once.
        rounds: timed steps, after one for warming up.
    """
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    kept = [0]

    def pack(tensor: Tensor) -> Tensor:
        kept[0] += tensor.numel() * tensor.element_size()
        return tensor

    def step() -> None:
        with torch.set_grad_enabled(not frozen), torch.autograd.graph.saved_tensors_hooks(pack, _same):
            loss = model(batch).float().square().mean()
        if not frozen:
            loss.backward()
        if batch.is_cuda:
            torch.cuda.synchronize(batch.device)

    model.train(not frozen)
    step()
    activations = kept[0]
    start = time.perf_counter()
    for _ in range(rounds):
        step()
    seconds = (time.perf_counter() - start) / rounds
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(state[name])
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return Estimate(seconds * updates, 3 * weights + activations, seconds, updates)


def _same(tensor: Any) -> Any:
    return tensor
