"""Optimizers by name; each is torch's own.

All take parameters or torch's groups of them, ``{"params": [...], "scale": 0.5}``: a group's rate is its
``scale`` times the rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn
from torch.optim import Optimizer

from convsmith.catalog import technique

Params = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
Rate = Annotated[float, Gt(0)]
Beta = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Gt(0), Le(1)]


@technique(
    "optimizer",
    "sgd",
    source="Robbins & Monro 1951; Sutskever et al. 2013",
    chapter="10 网络训练 training",
    use="the default, but for many layers without normalization",
)
def sgd(
    params: Params,
    lr: Rate = 0.1,
    momentum: Beta = 0.9,
    nesterov: bool = True,
    momentum_start: Beta | None = None,
    momentum_rise: Share = 0.5,
) -> Optimizer:
    """v <- momentum v + g; w <- w - lr v, or with ``nesterov`` w - lr (g + momentum v).

    With ``nesterov``, w is the look-ahead point of Nesterov's method.

    Args:
        params: parameters or groups.
        lr: the rate.
        momentum: in [0, 1).
        nesterov: correct the momentum by the new gradient.
        momentum_start: where the momentum starts, to rise linearly to ``momentum``; None: it is constant.
        momentum_rise: share of the training over which it rises.

    >>> sgd([nn.Parameter(torch.zeros(1))], lr=0.5).defaults["momentum"]
    0.9
    """
    optimizer = torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)
    if momentum_start is not None:
        for group in optimizer.param_groups:
            group["momentum_path"] = [momentum_start, momentum, momentum_rise]
    return optimizer


def rising(passed: float, start: float, end: float, rise: float) -> float:
    """From ``start`` linearly to ``end`` while the share ``passed`` of a training goes from 0 to ``rise``.

    >>> [rising(passed, 0.5, 0.9, 0.5) for passed in (0, 0.25, 0.5, 1)]
    [0.5, 0.7, 0.9, 0.9]
    """
    return start + (end - start) * min(1.0, passed / rise)


@technique(
    "optimizer",
    "adagrad",
    source="Duchi, Hazan & Singer 2011",
    chapter="10 网络训练 training",
    use="sparse gradients; its rate only falls, so long trainings end early",
)
def adagrad(params: Params, lr: Rate = 0.01, eps: Rate = 1e-10) -> Optimizer:
    """s <- s + g²; w <- w - lr g / (sqrt(s) + eps).

    >>> adagrad([nn.Parameter(torch.zeros(1))]).defaults["lr"]
    0.01
    """
    return torch.optim.Adagrad(params, lr=lr, eps=eps)


@technique(
    "optimizer",
    "adadelta",
    source="Zeiler 2012",
    chapter="10 网络训练 training",
    use="no rate to choose",
)
def adadelta(params: Params, lr: Rate = 1.0, rho: Beta = 0.95, eps: Rate = 1e-6) -> Optimizer:
    """Steps in the units of the weights: the gradient times the ratio of two running root mean squares.

    s <- rho s + (1 - rho) g²; d = g sqrt(u + eps) / sqrt(s + eps); u <- rho u + (1 - rho) d²; w <- w - lr d.

    >>> adadelta([nn.Parameter(torch.zeros(1))]).defaults["rho"]
    0.95
    """
    return torch.optim.Adadelta(params, lr=lr, rho=rho, eps=eps)


@technique(
    "optimizer",
    "rmsprop",
    source="Tieleman & Hinton 2012, lecture 6.5",
    chapter="10 网络训练 training",
    use="Adadelta with a rate of its own",
)
def rmsprop(
    params: Params, lr: Rate = 1e-3, rho: Beta = 0.9, eps: Rate = 1e-8, momentum: Beta = 0.0
) -> Optimizer:
    """s <- rho s + (1 - rho) g²; w <- w - lr g / (sqrt(s) + eps), or with momentum over those steps.

    >>> rmsprop([nn.Parameter(torch.zeros(1))]).defaults["alpha"]
    0.9
    """
    return torch.optim.RMSprop(params, lr=lr, alpha=rho, eps=eps, momentum=momentum)


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
    groups = []
    for group in _groups(params):
        for decay, some in (
            (weight_decay, [p for p in group["params"] if p.ndim > 1]),
            (0.0, [p for p in group["params"] if p.ndim <= 1]),
        ):
            if some:
                groups.append({**group, "params": some, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps)


def _groups(params: Params) -> list[dict[str, Any]]:
    given: list[Any] = list(params)
    return given if given and isinstance(given[0], dict) else [{"params": given}]


@technique(
    "optimizer",
    "lbfgs",
    source="Liu & Nocedal 1989; Nocedal & Wright 2006, algorithms 7.4 and 3.5",
    chapter="10 网络训练 training",
    use="small problems: data.batch_size as large as the training split",
)
def lbfgs(
    params: Params,
    lr: Rate = 1.0,
    max_iter: Annotated[int, Ge(1)] = 20,
    history: Annotated[int, Ge(1)] = 10,
) -> Optimizer:
    """Newton steps with the Hessian's inverse from the last ``history`` steps, and a Wolfe line search.

    One update makes up to ``max_iter`` steps on one batch, each of one or more evaluations. The curvature
    is that of the batches seen: with small batches it is mostly noise.

    Raises:
        UserError: (by the training) with several processes, accumulation or float16.

    >>> lbfgs([nn.Parameter(torch.zeros(1))]).defaults["line_search_fn"]
    'strong_wolfe'
    """
    every = [parameter for group in _groups(params) for parameter in group["params"]]
    return torch.optim.LBFGS(
        every, lr=lr, max_iter=max_iter, history_size=history, line_search_fn="strong_wolfe"
    )
