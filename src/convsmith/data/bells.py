"""Distributions over evenly spaced bins whose mean is a given number, also where the bins end."""

from __future__ import annotations

import torch
from torch import Tensor

from convsmith.errors import UserError

# Halvings of the interval in which the bell's middle is looked for; float64 has 53 digits.
HALVINGS = 60
# How many cells of a table (rows x bins) are computed at once: 32 MiB in float64.
CELLS = 1 << 22


def bell(middles: Tensor, centers: Tensor, std: float) -> Tensor:
    """p_k ~ exp(-(c_k - middle)^2 / (2 std^2)), (N, 1) and (K,) to (N, K), rows summing to 1.

    >>> bell(torch.tensor([[1.0]]), torch.tensor([0.0, 1.0, 2.0]), 1.0)
    tensor([[0.2741, 0.4519, 0.2741]])
    """
    return (-0.5 * ((middles - centers) / std) ** 2).softmax(1)


def around_mean(values: Tensor, centers: Tensor, std: float) -> Tensor:
    """The :func:`bell` whose mean over the bins is the value, in float64.

    Cut off at the end of the bins, a bell around a value has another mean than the value. So its middle
    moves out until the mean is right: it becomes one-sided, and at the very end all lies in the last bin.
    Values beyond the ends count as the ends.

    Args:
        values: (N, 1).
        centers: of the bins, (K,), evenly spaced and increasing.
        std: > 0.

    >>> p = around_mean(torch.tensor([[0.5]]), torch.arange(5.0), 1.0)
    >>> round(float((p * torch.arange(5.0)).sum()), 6)
    0.5
    """
    values, centers = values.double(), centers.double()
    parts = torch.split(values, max(1, CELLS // len(centers)))
    return torch.cat([_around_mean(part, centers, std) for part in parts])


def _around_mean(values: Tensor, centers: Tensor, std: float) -> Tensor:
    spacing = float(centers[1] - centers[0])
    values = values.clamp(float(centers[0]), float(centers[-1]))
    found = bell(values, centers, std)
    off = ((found * centers).sum(1) - values.squeeze(1)).abs() > 1e-6 * spacing
    if not off.any():
        return found
    # So far beyond the end the second bin holds less than a millionth of the last.
    reach = 20 * std**2 / spacing
    low = torch.full_like(values[off], float(centers[0]) - reach)
    high = torch.full_like(values[off], float(centers[-1]) + reach)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = (bell(middle, centers, std) * centers).sum(1, keepdim=True) > values[off]
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    found[off] = bell((low + high) / 2, centers, std)
    return found


def ends(
    values: Tensor, low: float | None, high: float | None, bins: int, std: float | None
) -> tuple[float, float]:
    """Centers of the first and last bin: as given, else beyond the values by 4 ``std`` or 6 bins.

    Args:
        values: training targets, (N,).
        low, high: given ends.
        bins: K; at most a quarter of them lie beyond either end.
        std: of the bells; None is 1.5 bins.

    Raises:
        UserError: if nothing lies between the ends.

    >>> ends(torch.tensor([0.0, 27.0]), None, None, bins=40, std=None)
    (-6.0, 33.0)
    """
    least, most = float(values.min()), float(values.max())
    first, last = least if low is None else low, most if high is None else high
    if first >= last:
        raise UserError(
            f"data.target gaussian: all training targets are {least}; nothing to learn"
            if least == most
            else f"data.target gaussian: the training targets are {least:g} to {most:g}, which leaves "
            f"nothing between `low` and `high`; change them, or leave them out"
        )
    free = (low is None) + (high is None)
    beyond = min(6.0, (bins - 1) / 4)
    margin = beyond * (last - first) / (bins - 1 - free * beyond)
    if std is not None:
        margin = max(margin, 4 * std)
    return first - margin * (low is None), last + margin * (high is None)
