"""95% intervals of figures that were measured on some images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

# Standard errors of a 95% interval.
Z = 1.96


def of_share(share: float, images: int) -> tuple[float, float]:
    """Interval of a share that was measured on ``images`` (Wilson 1927).

    >>> [round(end, 3) for end in of_share(0.9, 100)]
    [0.826, 0.945]
    """
    n, z = images, Z
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def of_mean(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Interval of the mean of independent values (n,), by Student's t; infinite for one value.

    Where no value is negative, as among sizes of errors, its lower end isn't either.

    >>> [round(end, 2) for end in of_mean(np.array([1.0, 2.0, 3.0]))]
    [0.0, 4.48]
    """
    n = len(values)
    mean = float(values.mean())
    least = 0.0 if (values >= 0).all() else -math.inf
    if n < 2:
        return least, math.inf
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))
    return max(least, mean - half), mean + half


def of_recalls(right: Sequence[int], images: Sequence[int]) -> tuple[float, float]:
    """Interval of the mean recall over classes, each of its own number of images.

    Each class counts one image more right and one more wrong, so that a class of which all are right isn't
    taken for certain (Agresti & Coull 1998).

    >>> low, high = of_recalls([90, 5], [100, 10])
    >>> low < 0.7 < high
    True
    """
    recalls = [own / n for own, n in zip(right, images)]
    adjusted = [((own + 1) / (n + 2), n + 2) for own, n in zip(right, images)]
    error = math.sqrt(sum(share * (1 - share) / n for share, n in adjusted)) / len(recalls)
    mean = sum(recalls) / len(recalls)
    return max(0.0, mean - Z * error), min(1.0, mean + Z * error)
