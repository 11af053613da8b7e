"""The expected cost of a random decision by the posteriors."""

from __future__ import annotations

from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean


@technique(
    "term",
    "expected_cost",
    source="Elkan 2001; the notes, chapter 11",
    chapter="11 不平衡样本 imbalance",
    use="mistakes have known costs (data.costs, or cost_CLASS columns); beside cross_entropy, or after it",
)
class ExpectedCost(nn.Module):
    """weight * mean over images of sum_k softmax(input)_k c_k, c = the image's costs of each decision.

    The costs are the image's own (columns ``cost_CLASS`` of the CSV), else the row of its class in the
    cost matrix. Bounded like the costs, so its gradient vanishes on images that are surely wrong.

    Args:
        weight: > 0.

    >>> import torch
    >>> ExpectedCost()(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[0.0, 20.0]]))
    tensor(10.)
    """

    targets = ("classes",)

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, input: Tensor, target: Tensor, costs: Tensor) -> Tensor:
        return mean((wide(input).softmax(1) * wide(costs)).sum(1)) * self.weight
