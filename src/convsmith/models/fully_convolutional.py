"""Any net with fully connected layers as one that slides over larger images."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import Kind, Spec, technique
from convsmith.errors import UserError
from convsmith.nn.computed import copied
from convsmith.nn.dense import to_fully_convolutional
from convsmith.nn.manners import classifier, inputs_of, num_features

Size = Annotated[int, Ge(1)]


class FullyConvolutional(nn.Module):
    """A net whose hidden fully connected layers are convolutions; its vectors are averaged over the places.

    Args:
        net: a classifier with a linear head.
        shape: of the images (C, H, W) that it is for.

    Raises:
        UserError: if the net can't be traced.
    """

    def __init__(self, net: Any, shape: tuple[int, int, int]) -> None:
        super().__init__()
        net = copied(net)
        self.num_features = num_features(net)
        head = classifier(net)
        if not isinstance(head, nn.Linear):
            raise UserError("this net is fully convolutional as it is; name it without fully_convolutional")
        net.reset_classifier(0)
        self.net = to_fully_convolutional(net, shape).train()
        self.fc: nn.Module = head

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.net(x)
        return maps

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        # Averaging before a linear layer equals averaging its outputs.
        vectors = x.mean((2, 3))
        logits: Tensor = vectors if pre_logits else self.fc(vectors)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for ``num_classes``; 0 leaves the features as they are."""
        self.num_features = inputs_of(self.fc) or self.num_features
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


@technique(
    "model",
    "fully_convolutional",
    source="Long et al. 2015, section 3.1; Sermanet et al. 2014",
    chapter="10 网络训练 training",
    use="weights of a net with fully connected layers, for larger images than it was trained on",
)
def fully_convolutional(
    num_classes: Size = 10,
    in_channels: Size = 1,
    size: Size = 28,
    model: Annotated[Spec, Kind("model")] = "lenet5",
    trained_size: Size = 28,
) -> FullyConvolutional:
    """The net that ``model`` names for images of ``trained_size``, slid over images of ``size`` pixels.

    Input (N, in_channels, size, size), output logits (N, num_classes): those of ``model`` averaged over
    all places that its subsampling allows. Parameters are as many as the net's own, whatever ``size`` is.

    Raises:
        UserError: if ``size`` is below ``trained_size``.

    >>> fully_convolutional(size=40)(torch.zeros(1, 1, 40, 40)).shape
    torch.Size([1, 10])
    """
    if size < trained_size:
        raise UserError(
            f"a net for {trained_size} pixels can't slide over {size}; set data.size to at least "
            f"{trained_size}, or train.resize_weights=interpolate"
        )
    net = catalog.build("model", model, num_classes=num_classes, in_channels=in_channels, size=trained_size)
    return FullyConvolutional(net, (in_channels, trained_size, trained_size))


def converted(net: nn.Module, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """The state that :class:`FullyConvolutional` has with the weights of ``net``."""
    with torch.no_grad():
        return FullyConvolutional(net, shape).state_dict()
