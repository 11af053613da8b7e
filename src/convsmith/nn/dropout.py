"""Dropout by name: inverted, as torch and everybody today, and classic, as the paper."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from convsmith.catalog import technique

Share = Annotated[float, Ge(0), Lt(1)]


@technique(
    "dropout",
    "none",
    source="the absence of one",
    chapter="9 正则化 regularization",
    use="nets without large fully connected layers",
)
def no_dropout() -> nn.Module:
    """Values as they are."""
    return nn.Identity()


@technique(
    "dropout",
    "inverted",
    source="Srivastava et al. 2014, section 10",
    chapter="9 正则化 regularization",
    use="before large fully connected layers",
)
def inverted(p: Share = 0.5) -> nn.Module:
    """Training sets values to 0 with probability p and divides the others by 1 - p; test leaves all alone."""
    return nn.Dropout(p)


@technique(
    "dropout",
    "classic",
    source="Hinton et al. 2012",
    chapter="9 正则化 regularization",
    use="to follow the paper; the same expectation as inverted",
)
class ClassicDropout(nn.Module):
    """Training sets values to 0 with probability p; test multiplies all by 1 - p.

    >>> ClassicDropout(0.25).eval()(torch.ones(2))
    tensor([0.7500, 0.7500])
    """

    def __init__(self, p: Share = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= self.p) if self.training else x * (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
