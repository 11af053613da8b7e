"""Cross-entropy in which classes weigh differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import Kind, Spec, technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean


@technique(
    "term",
    "weighted_cross_entropy",
    source="King & Zeng 2001; Cui et al. 2019",
    chapter="11 不平衡样本 imbalance",
    use="in cross_entropy's place where classes are uneven",
)
class WeightedCrossEntropy(nn.Module):
    """Mean over images of w_y * cross-entropy; the weights have a mean of 1 over the training images.

    (torch's ``weight=`` divides by the batch's own sum of weights, which makes a rare image's step depend
    on its neighbors.) The target may also be a distribution (N, K), whose weight is its mean.

    Args:
        counts: training images of each class, (K,).
        classes: their names.
        class_weight: ``inverse``, ``effective_number`` or ``confusion``, with arguments.
        smoothing: share of the target spread evenly over all K classes, in [0, 1).

    >>> import torch
    >>> loss = WeightedCrossEntropy(torch.tensor([30, 10]), ["a", "b"])
    >>> round(loss(torch.zeros(1, 2), torch.tensor([1])).item(), 4)
    1.3863
    """

    targets = ("classes", "distribution")
    weight: Tensor

    def __init__(
        self,
        counts: Tensor,
        classes: Sequence[str],
        class_weight: Annotated[Spec, Kind("class_weight")] = "inverse",
        smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__()
        self.smoothing = smoothing
        weight = catalog.build("class_weight", class_weight, counts=counts, classes=classes)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        losses = F.cross_entropy(wide(input), target, reduction="none", label_smoothing=self.smoothing)
        weight = wide(self.weight)
        # a sum of products, not a matrix product, which autocast would round
        weights = (target * weight).sum(1) if target.ndim == 2 else weight[target]
        return mean(losses * weights)
