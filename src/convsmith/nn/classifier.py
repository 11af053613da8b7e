"""The manners of a classifying net, timm's: features, head, and a head that can be replaced."""

from __future__ import annotations

from torch import Tensor, nn


class Classifier(nn.Module):
    """``forward`` = ``forward_head(forward_features(x))``; subclasses give ``forward_features`` and ``pool``.

    Args:
        num_features: D, the length of the vector before the classifier.
    """

    fc: nn.Module

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = 0

    def forward_features(self, x: Tensor) -> Tensor:
        raise AssertionError(f"{type(self).__name__} must define forward_features")

    def pool(self, x: Tensor) -> Tensor:
        """From feature maps to vectors (N, D)."""
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.pool(x)
        logits: Tensor = x if pre_logits else self.fc(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for ``num_classes``; 0 leaves the features as they are."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
