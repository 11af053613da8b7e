"""Cross-entropy with the classes' frequencies added to the logits in training."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean

# Logarithm of the prior of a class without images: out of the softmax, as -inf would be, but 0 * it is 0.
# float16 holds it.
ABSENT = -1e4


@technique(
    "term",
    "logit_adjustment",
    source="Menon et al. 2021, Long-tail learning via logit adjustment, equation 10",
    chapter="11 不平衡样本 imbalance",
    use="today's strong baseline for long tails, in cross_entropy's place: costs nothing",
)
class LogitAdjustment(nn.Module):
    """Cross-entropy of input + tau log(prior): its minimum ranks classes as if all were as frequent.

    In evaluation the logits stay as they are. The target may also be a distribution (N, K). A class without
    training images is left out.

    Args:
        counts: training images of each class, (K,).
        tau: >= 0; 0 is plain cross-entropy, 1 is consistent for the balanced error.

    >>> import torch
    >>> loss = LogitAdjustment(torch.tensor([30, 10]))
    >>> round(loss(torch.zeros(1, 2), torch.tensor([1])).exp().item(), 4)
    4.0
    """

    targets = ("classes", "distribution")
    adjustment: Tensor

    def __init__(self, counts: Tensor, tau: Annotated[float, Ge(0)] = 1.0) -> None:
        super().__init__()
        prior = counts.float() / counts.sum().clamp_min(1)
        self.register_buffer("adjustment", tau * prior.log().clamp_min(ABSENT))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        logits = wide(input) + self.adjustment if self.training else wide(input)
        return mean(F.cross_entropy(logits, target, reduction="none"))
