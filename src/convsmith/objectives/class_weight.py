"""How much an image of each class weighs in the objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from convsmith.catalog import Place, technique
from convsmith.errors import UserError
from convsmith.objectives.costs import confusion_counts


def normalized(weights: Tensor, counts: Tensor) -> Tensor:
    """Scale the weights to a mean of 1 over the training images, so that the learning rate stays right.

    Classes without training images have no part in the mean; without any image the weights stay.

    >>> normalized(torch.tensor([1.0, 3.0]), torch.tensor([1, 1]))
    tensor([0.5000, 1.5000])
    """
    total = (weights * counts).sum()
    return weights * (counts.sum() / total) if total > 0 else weights


@technique(
    "class_weight",
    "inverse",
    source="King & Zeng 2001; scikit-learn's class_weight='balanced'",
    chapter="11 不平衡样本 imbalance",
    use="every class counts the same; not with ratios of 100, where single images throw the net about",
)
def inverse(counts: Tensor, power: Annotated[float, Ge(0)] = 1.0) -> Tensor:
    """w_k ~ n_k^-power.

    Args:
        counts: training images of each class, (K,); a class without any weighs as one with a single image.
        power: 1 weighs all classes alike, 0.5 is halfway, 0 weighs all images alike.

    >>> inverse(torch.tensor([30, 10]))
    tensor([0.6667, 2.0000])
    """
    return normalized(counts.float().clamp_min(1).pow(-power), counts)


@technique(
    "class_weight",
    "effective_number",
    source="Cui et al. 2019, Class-balanced loss based on effective number of samples, equation 2",
    chapter="11 不平衡样本 imbalance",
    use="as inverse, a little milder with classes of a few images",
)
def effective_number(counts: Tensor, beta: Annotated[float, Ge(0), Lt(1)] = 0.999) -> Tensor:
    """w_k ~ (1 - beta) / (1 - beta^n_k): images overlap, the next one of a large class says less.

    Args:
        counts: training images of each class, (K,); a class without any weighs as one with a single image.
        beta: 0 weighs all images alike; towards 1 it becomes ``inverse``. The paper takes 0.9 to 0.9999.

    >>> effective_number(torch.tensor([1, 1000]), beta=0.0)
    tensor([1., 1.])
    """
    counts = counts.double()
    # expm1, log1p: 1 - beta^n loses its digits for beta near 1
    effective = -torch.expm1(counts.clamp_min(1) * torch.log1p(torch.tensor(-(1 - beta), dtype=torch.double)))
    return normalized(1 / effective, counts).float()


@technique(
    "class_weight",
    "confusion",
    source="the notes, chapter 11",
    chapter="11 不平衡样本 imbalance",
    use="a first run shows which classes it fails on: they shall weigh more in the next",
)
def confusion(
    counts: Tensor,
    classes: Sequence[str],
    run: Annotated[str, Place()] | None = None,
    power: Annotated[float, Gt(0)] = 1.0,
) -> Tensor:
    """w_k ~ e_k^power, e_k = (wrong + 1) / (n + 2) of class k's validation images in a run.

    Args:
        counts: training images of each class, (K,).
        classes: their names.
        run: the run's folder, or its confusion.csv.
        power: > 0.

    Raises:
        UserError: if there is no such run, or it has other classes.
    """
    if run is None:
        raise UserError(
            "class_weight confusion needs a run, e.g. "
            "`objective.weighted_cross_entropy.class_weight.confusion.run=runs/first`"
        )
    table = confusion_counts(run, classes)
    total = table.sum(1)
    errors = (total - table.diag() + 1) / (total + 2)
    return normalized(errors.pow(power), counts.double()).float()
