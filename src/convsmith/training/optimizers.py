"""Optimizers by name; each is torch's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn
from torch.optim import Optimizer

from convsmith.catalog import technique

Params = Iterable[nn.Parameter]
Rate = Annotated[float, Gt(0)]
Beta = Annotated[float, Ge(0), Lt(1)]


@technique(
    "optimizer",
    "sgd",
    source="Robbins & Monro 1951; Sutskever et al. 2013",
    chapter="10 网络训练 training",
    use="the default",
)
def sgd(params: Params, lr: Rate = 0.1, momentum: Beta = 0.9, nesterov: bool = True) -> Optimizer:
    """v <- momentum v + g; w <- w - lr v, or with ``nesterov`` w - lr (g + momentum v).

    >>> sgd([nn.Parameter(torch.zeros(1))], lr=0.5).defaults["momentum"]
    0.9
    """
    return torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)


@technique(
    "optimizer",
    "adam",
    source="Kingma & Ba 2015",
    chapter="10 网络训练 training",
    use="gradients of very different size",
)
def adam(
    params: Params, lr: Rate = 1e-3, beta1: Beta = 0.9, beta2: Beta = 0.999, eps: Rate = 1e-8
) -> Optimizer:
    """Adam: each step divided by the root of the gradient's running second moment.

    >>> adam([nn.Parameter(torch.zeros(1))]).defaults["betas"]
    (0.9, 0.999)
    """
    return torch.optim.Adam(params, lr=lr, betas=(beta1, beta2), eps=eps)


@technique(
    "optimizer",
    "adamw",
    source="Loshchilov & Hutter 2019",
    chapter="10 网络训练 training",
    use="Adam with weight decay",
)
def adamw(
    params: Params,
    lr: Rate = 1e-3,
    beta1: Beta = 0.9,
    beta2: Beta = 0.999,
    eps: Rate = 1e-8,
    weight_decay: Annotated[float, Ge(0)] = 0.01,
) -> Optimizer:
    """Adam whose weight decay bypasses the division; use it instead of the term ``l2``.

    Vectors (biases, norms) aren't decayed.

    >>> len(adamw(nn.Linear(2, 2).parameters()).param_groups)
    2
    """
    params = list(params)
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=lr, betas=(beta1, beta2), eps=eps
    )
