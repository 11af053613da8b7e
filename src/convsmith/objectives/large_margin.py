"""Large-margin softmax: the true class must win by an angle."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.errors import UserError
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean

# Updates of the authors' trainings, in which `decay` counts.
UPDATES = 20_000


def psi(cosine: Tensor, m: int) -> Tensor:
    """(-1)^k cos(m theta) - 2k for theta in [k pi / m, (k + 1) pi / m], a function of cos(theta).

    Equation 6 of the paper: continuous, decreasing on [0, pi] from 1 to 1 - 2m, and cos(theta) for m = 1.

    >>> psi(torch.tensor([1.0, 0.0, -1.0]), 2)
    tensor([ 1., -1., -3.])
    """
    # cos(m theta) as Chebyshev's polynomial: no arc cosine, whose slope is infinite at the ends
    multiple: Tensor = {
        1: lambda c: c,
        2: lambda c: 2 * c**2 - 1,
        3: lambda c: 4 * c**3 - 3 * c,
        4: lambda c: 8 * c**4 - 8 * c**2 + 1,
    }[m](cosine)
    with torch.no_grad():
        k = torch.zeros_like(cosine)
        for border in range(1, m):
            k += cosine < math.cos(border * math.pi / m)
        sign = 1 - 2 * (k % 2)
    return sign * multiple - 2 * k


@technique(
    "term",
    "large_margin",
    source="Liu et al. 2016, Large-margin softmax loss",
    chapter="8 目标函数 objectives",
    use="features must tell classes apart (faces, retrieval); in the place of cross_entropy",
)
class LargeMarginSoftmax(nn.Module):
    """Cross-entropy in which the true class's logit |W||x| cos(theta) + b becomes |W||x| f(theta) + b.

    f = (lambda cos(theta) + psi(theta)) / (1 + lambda), with psi of :func:`psi`; lambda falls from ``start``
    as start * (1 + decay * 20,000 * progress)^(-power), no lower than ``end``: training begins as
    cross-entropy, and lambda is 1 after 44% of it. In evaluation it is cross-entropy, so that epochs can be
    compared; in training they can't.

    Args:
        m: margin, 1 to 4; 1 is cross-entropy.
        start, end: of lambda; the authors' 1000 and 0.
        decay, power: the authors' 0.000025 and 35, for an update of the 20,000 that their trainings have.

    Raises:
        UserError: if the net's classifier is no fully connected layer.

    >>> head = nn.Linear(3, 4); x, y = torch.randn(2, 3), torch.tensor([1, 3])
    >>> a = LargeMarginSoftmax(m=1)(input=head(x), features=x, target=y, head=head)
    >>> torch.allclose(a, F.cross_entropy(head(x), y))
    True
    """

    targets = ("classes",)
    comparable = ("val",)

    def __init__(
        self,
        m: Literal[1, 2, 3, 4] = 2,
        start: Annotated[float, Ge(0)] = 1000.0,
        end: Annotated[float, Ge(0)] = 0.0,
        decay: Annotated[float, Ge(0)] = 2.5e-5,
        power: Annotated[float, Gt(0)] = 35.0,
    ) -> None:
        super().__init__()
        self.m = m
        self.start, self.end, self.decay, self.power = start, end, decay, power

    def forward(
        self,
        input: Tensor,
        features: Tensor,
        target: Tensor,
        head: nn.Module,
        progress: Tensor | float = 0.0,
    ) -> Tensor:
        if not isinstance(head, nn.Linear):
            raise UserError(
                f"large_margin needs a net that ends in a fully connected layer; this one's classifier is a "
                f"{type(head).__name__}. Take another net, or cross_entropy"
            )
        logits = wide(input)
        if not self.training:
            return mean(F.cross_entropy(logits, target, reduction="none"))
        features, weight = wide(features), wide(head.weight[target])
        length = weight.norm(dim=1) * features.norm(dim=1)
        # The square root has no gradient at zero, and a zero vector has no angle.
        cosine = ((weight * features).sum(1) / length.clamp_min(1e-12)).clamp(-1, 1)
        shift = length * (psi(cosine, self.m) - cosine) / (1 + self.strength(progress))
        own = F.one_hot(target, logits.shape[1]).to(logits.dtype)
        return mean(F.cross_entropy(logits + own * shift[:, None], target, reduction="none"))

    def strength(self, progress: Tensor | float) -> Tensor:
        """Lambda when ``progress`` of the training, in [0, 1], has passed.

        >>> loss = LargeMarginSoftmax(); [round(loss.strength(share).item(), 4) for share in (0.0, 0.5, 1.0)]
        [1000.0, 0.4056, 0.0007]
        """
        passed = torch.as_tensor(progress, dtype=torch.float32)
        return (self.start * (1 + self.decay * UPDATES * passed) ** -self.power).clamp_min(self.end)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Checkpoints of earlier versions count the updates.
        state_dict.pop(prefix + "updates", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)
