"""Any classifier as a net that gives a map of scores for a larger image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.nn.computed import copied
from convsmith.nn.dense import linear_to_conv, to_fully_convolutional
from convsmith.nn.manners import classifier
from convsmith.nn.probe import blank, evaluating


class Pooled(nn.Module):
    """A net of maps, their mean over a window, and a linear classifier, at each place of the window.

    Args:
        net: with ``forward_features``, which gives maps, as timm's nets have it.
        window: the height and width of the maps that the classifier's features are means of.
    """

    def __init__(self, net: Any, window: tuple[int, int]) -> None:
        super().__init__()
        self.net = net
        self.window = window
        head = classifier(net)
        assert isinstance(head, nn.Linear)
        self.fc = linear_to_conv(head, (head.in_features, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.net.forward_features(x)
        scores: Tensor = self.fc(F.avg_pool2d(maps, self.window, stride=1))
        return scores


def sliding(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """A copy of a classifier: scores (N, K, 1, 1) for images of ``shape``, a map of them for larger ones.

    By :func:`convsmith.nn.dense.to_fully_convolutional`; where a net can't be traced, but is one of maps,
    their mean and a linear classifier, as such a net. That is not assumed: both must answer alike.

    Args:
        model: a classifier, in any mode.
        shape: of the images (C, H, W) that it is for.

    Raises:
        UserError: if it can't slide, with the reason.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5))
    >>> sliding(net, (1, 4, 4))(torch.zeros(1, 1, 6, 4)).shape
    torch.Size([1, 5, 3, 1])
    """
    try:
        return to_fully_convolutional(model, shape)
    except UserError as error:
        found = _pooled(model, shape)
        if found is None:
            raise error from None
        return found


@torch.no_grad()
def _pooled(model: nn.Module, shape: tuple[int, int, int]) -> Pooled | None:
    """``model`` as maps, mean and classifier; None if it is no such net."""
    net: Any = copied(model).eval()
    if not hasattr(net, "forward_features") or not isinstance(classifier(net), nn.Linear):
        return None
    # Not zeros: what differs from place to place must be averaged as the net does it.
    images = torch.randn_like(blank(net, shape))
    with evaluating(net):
        maps = net.forward_features(images)
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            return None
        found = Pooled(net, (maps.shape[2], maps.shape[3])).eval()
        if classifier(net).in_features != maps.shape[1]:
            return None
        same = torch.allclose(found(images).flatten(1), net(images), rtol=1e-3, atol=1e-4)
    return found if same else None
