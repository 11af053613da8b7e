"""Kullback-Leibler divergence to a target distribution over classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean


def divergence(input: Tensor, target: Tensor) -> Tensor:
    """sum_k p_k log(p_k / softmax(input)_k) for each image, (N, K) and (N, K) to (N,); 0 log 0 is 0.

    >>> import torch
    >>> divergence(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor([0.])
    """
    return F.kl_div(F.log_softmax(wide(input), 1), wide(target), reduction="none").sum(1)


@technique(
    "term",
    "kl_divergence",
    source="Geng 2016, Label distribution learning; Gao et al. 2017, Deep label distribution learning",
    chapter="8 目标函数 objectives",
    use="labels are uncertain, or neighbors are nearly right too: ages, angles, annotators' votes",
)
class KLDivergence(nn.Module):
    """Mean over images of KL(target || softmax(input)), targets (N, K) being distributions.

    >>> import torch
    >>> KLDivergence()(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """

    targets = ("distribution",)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mean(divergence(input, target))
