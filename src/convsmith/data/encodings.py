"""Encodings of numeric targets by name: plain numbers, points on a circle, distributions, votes.

Each is built from the recipe's ``data.target`` and fitted to the training targets (see ``data.targets``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from convsmith.catalog import technique
from convsmith.data.bells import around_mean, ends
from convsmith.errors import UserError

Kind = Literal["numbers", "distribution"]


@technique(
    "target",
    "numbers",
    source="LeCun et al. 1998, Efficient backprop, section 4.3 (standardizing)",
    chapter="8 目标函数 objectives",
    use="the default for numeric targets: ages, counts, coordinates",
)
class Numbers:
    """Each target less its training mean, over its training standard deviation.

    Args:
        columns: names of the T targets.

    >>> encoding = Numbers(["age"]); encoding.fit(torch.tensor([[20.0], [40.0]]))
    >>> encoding.decode(encoding.encode(torch.tensor([[33.0]])))
    tensor([[33.]])
    """

    kind: Kind = "numbers"
    numeric = True

    def __init__(self, columns: Sequence[str]) -> None:
        self.outputs = list(columns)
        self.mean = [0.0] * len(columns)
        self.std = [1.0] * len(columns)

    def fit(self, values: Tensor) -> None:
        self.mean = values.double().mean(0).tolist()
        spread = values.double().std(0, correction=0)
        self.std = torch.where(spread > 0, spread, 1).tolist()

    def encode(self, values: Tensor) -> Tensor:
        return (
            (values.double() - torch.tensor(self.mean).double()) / torch.tensor(self.std).double()
        ).float()

    def decode(self, output: Tensor) -> Tensor:
        return output * output.new_tensor(self.std) + output.new_tensor(self.mean)

    def error(self, found: Tensor, true: Tensor) -> Tensor:
        return found - true

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std}


def around(difference: Tensor, period: float) -> Tensor:
    """The same difference on a circle, in [-period / 2, period / 2).

    >>> around(torch.tensor([350.0]), 360)
    tensor([-10.])
    """
    return (difference + period / 2).remainder(period) - period / 2


@technique(
    "target",
    "angle",
    source="Bishop 2006, section 2.3.8, on periodic variables",
    chapter="8 目标函数 objectives",
    use="angles and times of day by regression: 359 degrees are close to 1",
)
class Angle:
    """The point (cos, sin) on the circle for each target; decoded by its direction, in [0, period).

    Args:
        columns: names of the T targets.
        period: of the circle, in the targets' units.

    >>> encoding = Angle(["angle"])
    >>> encoding.decode(encoding.encode(torch.tensor([[-90.0]]))).round()
    tensor([[270.]])
    """

    kind: Kind = "numbers"
    numeric = True

    def __init__(self, columns: Sequence[str], period: Annotated[float, Gt(0)] = 360.0) -> None:
        self.period = period
        self.outputs = [f"{function} {name}" for name in columns for function in ("cos", "sin")]

    def fit(self, values: Tensor) -> None:
        """Do nothing: there is nothing to fit."""

    def encode(self, values: Tensor) -> Tensor:
        turn = values.double() * (2 * math.pi / self.period)
        return torch.stack([turn.cos(), turn.sin()], 2).flatten(1).float()

    def decode(self, output: Tensor) -> Tensor:
        cosine, sine = output[:, 0::2], output[:, 1::2]
        return (torch.atan2(sine, cosine) * (self.period / (2 * math.pi))).remainder(self.period)

    def error(self, found: Tensor, true: Tensor) -> Tensor:
        return around(found - true, self.period)

    def state(self) -> dict[str, Any]:
        return {}


def _of_each(given: Any, columns: Sequence[str]) -> list[Any]:
    """An option that is one value for all columns, or a list with one for each."""
    return list(given) if isinstance(given, list | tuple) else [given] * len(columns)


def _names(columns: Sequence[str], centers: Sequence[Tensor]) -> list[str]:
    """Outputs by the centers of their bins; by column too, where there are several."""
    prefixes = [f"{name} " for name in columns] if len(columns) > 1 else [""]
    return [f"{prefix}{center:g}" for prefix, own in zip(prefixes, centers) for center in own.tolist()]


@technique(
    "target",
    "gaussian",
    source="Geng et al. 2013, Facial age estimation by learning from label distributions",
    chapter="8 目标函数 objectives",
    use="a number that is uncertain and has near neighbors, such as an age",
)
class GaussianBins:
    """A Gaussian around the target over evenly spaced bins, summing to 1; decoded by its mean.

    The bins reach beyond the training targets, by 4 ``std`` or 6 bins (at most a quarter of them), so that
    the Gaussian isn't cut off and somewhat larger values have a place (Geng et al. widen the range of ages
    likewise). Where a given end does cut it off, it is shifted until its mean is the target. Of T targets
    each has K bins of its own, which sum to 1 / T.

    Args:
        columns: names of the T targets.
        bins: K, for each target.
        std: of the Gaussian, in the targets' units; None is 1.5 bins.
        low, high: centers of the first and last bin, for all targets or as a list; None is beyond the
            training targets. Values outside count as the ends.

    Raises:
        UserError: if ``low`` isn't below ``high``, or all training targets are alike.

    >>> encoding = GaussianBins(["age"], bins=101, std=2.0, low=0.0, high=100.0)
    >>> p = encoding.encode(torch.tensor([[30.0]]))
    >>> round(p.sum().item(), 4), encoding.decode(p.log()).round(decimals=3)
    (1.0, tensor([[30.]]))
    """

    kind: Kind = "distribution"
    numeric = True

    def __init__(
        self,
        columns: Sequence[str],
        bins: Annotated[int, Ge(2)] = 40,
        std: Annotated[float, Gt(0)] | None = None,
        low: float | list[float] | None = None,
        high: float | list[float] | None = None,
    ) -> None:
        for name, given in (("low", low), ("high", high)):
            if isinstance(given, list) and len(given) != len(columns):
                raise UserError(
                    f"data.target gaussian: {name} has {len(given)} values; there are {len(columns)} targets"
                )
        for one, other in zip(_of_each(low, columns), _of_each(high, columns)):
            if one is not None and other is not None and one >= other:
                raise UserError(f"data.target gaussian: low={one} must be below high={other}")
        self.columns = list(columns)
        self.bins, self.std, self.low, self.high = bins, std, low, high

    def fit(self, values: Tensor) -> None:
        found = [
            ends(own, low, high, self.bins, self.std)
            for own, low, high in zip(
                values.double().unbind(1), _of_each(self.low, self.columns), _of_each(self.high, self.columns)
            )
        ]
        lows, highs = [low for low, _ in found], [high for _, high in found]
        self.low, self.high = (lows[0], highs[0]) if len(found) == 1 else (lows, highs)

    @property
    def centers(self) -> list[Tensor]:
        """Of the bins of each target, (K,) float64."""
        assert self.low is not None
        assert self.high is not None
        return [
            torch.linspace(low, high, self.bins, dtype=torch.double)
            for low, high in zip(_of_each(self.low, self.columns), _of_each(self.high, self.columns))
        ]

    @property
    def outputs(self) -> list[str]:
        return _names(self.columns, self.centers)

    def encode(self, values: Tensor) -> Tensor:
        parts = [
            around_mean(values[:, [place]], centers, self.std or 1.5 * float(centers[1] - centers[0]))
            for place, centers in enumerate(self.centers)
        ]
        return (torch.cat(parts, 1) / len(parts)).float()

    def decode(self, output: Tensor) -> Tensor:
        shares = output.view(len(output), len(self.columns), self.bins).softmax(2)
        found: Tensor = (shares * torch.stack(self.centers).to(output)).sum(2)
        return found

    def error(self, found: Tensor, true: Tensor) -> Tensor:
        return found - true

    def state(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


@technique(
    "target",
    "circular",
    source="Geng & Xia 2014, Head pose estimation based on multivariate label distribution",
    chapter="8 目标函数 objectives",
    use="an uncertain angle or time of day",
)
class CircularBins:
    """A Gaussian of the distance around the circle over K bins, summing to 1; decoded by the mean direction.

    Of T targets each has K bins of its own, which sum to 1 / T.

    Args:
        columns: names of the T targets.
        bins: K, for each target; the first lies at 0.
        period: of the circle, in the targets' units.
        std: of the Gaussian, in the targets' units; None is 1.5 bins.

    >>> encoding = CircularBins(["angle"], bins=36)
    >>> p = encoding.encode(torch.tensor([[355.0]]))
    >>> p.argmax().item() in (35, 0), encoding.decode(p.log()).round(decimals=3)
    (True, tensor([[355.]]))
    """

    kind: Kind = "distribution"
    numeric = True

    def __init__(
        self,
        columns: Sequence[str],
        bins: Annotated[int, Ge(3)] = 36,
        period: Annotated[float, Gt(0)] = 360.0,
        std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        self.columns = list(columns)
        self.bins, self.period = bins, period
        self.std = std or 1.5 * period / bins
        self.outputs = _names(columns, [self.centers] * len(columns))

    @property
    def centers(self) -> Tensor:
        return torch.arange(self.bins, dtype=torch.double) * (self.period / self.bins)

    def fit(self, values: Tensor) -> None:
        """Do nothing: there is nothing to fit."""

    def encode(self, values: Tensor) -> Tensor:
        away = around(values.double()[:, :, None] - self.centers, self.period)
        shares = (-0.5 * (away / self.std) ** 2).softmax(2)
        return (shares.flatten(1) / len(self.columns)).float()

    def decode(self, output: Tensor) -> Tensor:
        turn = self.centers.to(output) * (2 * math.pi / self.period)
        share = output.view(len(output), len(self.columns), self.bins).softmax(2)
        direction = torch.atan2((share * turn.sin()).sum(2), (share * turn.cos()).sum(2))
        return (direction * (self.period / (2 * math.pi))).remainder(self.period)

    def error(self, found: Tensor, true: Tensor) -> Tensor:
        return around(found - true, self.period)

    def state(self) -> dict[str, Any]:
        return {}


@technique(
    "target",
    "votes",
    source="Geng 2016, Label distribution learning",
    chapter="8 目标函数 objectives",
    use="several annotators, or probabilities as labels: one column a class",
)
class Votes:
    """Each image's votes for the classes, one column each, divided by their sum.

    Args:
        columns: names of the classes.

    >>> Votes(["cat", "dog"]).encode(torch.tensor([[3.0, 1.0]]))
    tensor([[0.7500, 0.2500]])
    """

    kind: Kind = "distribution"
    numeric = False

    def __init__(self, columns: Sequence[str]) -> None:
        if len(columns) < 2:
            raise UserError("data.target votes needs a target column for each class, at least two")
        self.outputs = list(columns)

    def fit(self, values: Tensor) -> None:
        if (values < 0).any():
            raise UserError("data.target votes: a vote is negative; votes are counts or shares, >= 0")

    def encode(self, values: Tensor) -> Tensor:
        total = values.double().sum(1, keepdim=True)
        if (total <= 0).any():
            row = int((total <= 0).nonzero()[0, 0])
            raise UserError(f"data.target votes: image {row + 1} has no vote at all; drop it from the CSV")
        return (values.double() / total).float()

    def decode(self, output: Tensor) -> Tensor:
        return output.softmax(1)

    def error(self, found: Tensor, true: Tensor) -> Tensor:
        return found - true

    def state(self) -> dict[str, Any]:
        return {}
