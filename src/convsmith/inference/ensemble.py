"""Several nets as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.inference.pipeline import answered


class Ensemble(nn.Module):
    """Pipelines, each with its own size and normalization, whose answers are averaged.

    Outputs (N, K) are logarithms of the mean posteriors, so that their softmax is that mean; where outputs
    are numbers, the mean of the numbers.

    Args:
        members: pipelines or ensembles, from uint8 images (N, S, S, C) to outputs (N, K).
        numeric: outputs are numbers.

    Raises:
        UserError: if there are no members.
    """

    def __init__(self, members: Sequence[nn.Module], *, numeric: bool = False) -> None:
        super().__init__()
        if not members:
            raise UserError("an ensemble needs at least one member; give two or more nets")
        self.members = nn.ModuleList(members)
        self.numeric = numeric

    def forward(self, pixels: Tensor) -> Tensor:
        outputs = [member(pixels).double() for member in self.members]
        if self.numeric:
            return torch.stack(outputs).mean(0)
        # Sums of exponentials, not logarithms of sums: a class that no member believes in stays finite.
        return torch.stack([own.log_softmax(1) for own in outputs]).logsumexp(0)

    def outputs(self, pixels: Tensor) -> Tensor:
        """Outputs (N, K) in float64 on the CPU."""
        return answered(self, pixels)
