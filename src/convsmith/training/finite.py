"""Losses are looked at for infinity and NaN without making a GPU wait for the batch that is under way."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor


class Losses:
    """Gives the loss of the batch before the last one that was noted, as a number.

    On a GPU a loss is copied to pinned memory behind its own batch's work, and read when the next batch has
    been sent: ``.item()`` would wait for all that was sent. With several processes it is the sum over all, so
    that each of them gives up at the same batch.

    >>> losses = Losses(Fabric(accelerator="cpu", devices=1))
    >>> losses.note(torch.tensor(2.0)), losses.note(torch.tensor(3.0)), losses.last()
    (None, 2.0, 3.0)
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.kept: tuple[Tensor, Any] | None = None

    def note(self, loss: Tensor) -> float | None:
        """Keep a loss, a scalar; give the one that was kept before it, None if there is none."""
        before = self.last()
        if self.fabric.world_size > 1:
            loss = self.fabric.all_reduce(loss.detach().clone(), reduce_op="sum")
        if loss.device.type != "cuda":
            self.kept = loss, None
            return before
        host = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        self.kept = host, arrived
        return before

    def last(self) -> float | None:
        """The loss that was kept last."""
        if self.kept is None:
            return None
        loss, arrived = self.kept
        if arrived is not None:
            arrived.synchronize()  # sync: with a batch that is done by now
        return float(loss)
