"""The net that a training starts from, kept as it is; for nets that no name in the catalogue builds."""

from __future__ import annotations

from torch import nn

from convsmith.catalog import technique
from convsmith.errors import UserError


@technique(
    "model",
    "source",
    source="the run, file or module that a training starts from",
    chapter="10 网络训练 training",
    use="a net that was pruned, factorized, masked, or is your own: it trains on as it is",
)
def source() -> nn.Module:
    """The net that ``train.start_from`` names, with its own layers; only its classifier may be replaced.

    Raises:
        UserError: always, since the name alone describes no net.

    >>> source()
    Traceback (most recent call last):
    convsmith.errors.UserError: model source is the net that a training starts from; ...
    """
    raise UserError("model source is the net that a training starts from; name a run or file as `start_from`")
