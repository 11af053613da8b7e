"""Cross-entropy, with label smoothing."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean


@technique(
    "term",
    "cross_entropy",
    source="Bishop 1995; smoothing: Szegedy et al. 2016, section 7",
    chapter="8 目标函数 objectives",
    use="the default for classification",
)
class CrossEntropy(nn.CrossEntropyLoss):
    """-sum_k q_k log softmax(input)_k, with q = (1 - smoothing) onehot(target) + smoothing / K.

    The target may also be a distribution (N, K) itself.

    Args:
        smoothing: share of the target spread evenly over all K classes, in [0, 1).

    >>> import torch
    >>> round(CrossEntropy()(torch.zeros(1, 4), torch.tensor([2])).item(), 4)
    1.3863
    """

    targets = ("classes", "distribution")

    def __init__(self, smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0) -> None:
        super().__init__(label_smoothing=smoothing)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mean(
            F.cross_entropy(wide(input), target, reduction="none", label_smoothing=self.label_smoothing)
        )
