"""Base classes of our nets, with timm's interface: features, head, and a head that can be replaced."""

from __future__ import annotations

from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.nn.init import RECTIFIERS
from convsmith.nn.manners import inputs_of
from convsmith.nn.parts import Parts


class Classifier(nn.Module):
    """``forward`` = ``forward_head(forward_features(x))``; subclasses give ``forward_features``.

    The head pools the maps to vectors, passes them through the neck (say, feature normalization) and
    dropout, and classifies. Nets with hidden fully connected layers have their own ``pool``.

    Args:
        num_features: D, the length of the vector before the classifier.
        parts: pooling, neck and dropout of the head.
    """

    fc: nn.Module

    def __init__(self, num_features: int, parts: Parts) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = 0
        self.global_pool = parts.pool_all()
        self.neck = parts.before_classifier(num_features)
        self.drop = parts.drop()

    def forward_features(self, x: Tensor) -> Tensor:
        raise AssertionError(f"{type(self).__name__} must define forward_features")

    def pool(self, x: Tensor) -> Tensor:
        """From feature maps to vectors (N, D)."""
        vectors: Tensor = self.global_pool(x)
        return vectors

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(self.neck(self.pool(x)))
        logits: Tensor = x if pre_logits else self.fc(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.fc

    @property
    def features_read(self) -> int:
        """Features that the classifier reads now; fewer than once built, where channels were removed."""
        return inputs_of(getattr(self, "fc", None)) or self.num_features

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for ``num_classes``; 0 leaves the features as they are."""
        self.num_features = self.features_read
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


class ConvClassifier(Classifier):
    """A net whose classifier is a 1x1 convolution with an activation, whose maps are then averaged.

    Features (N, D) are the averages of the maps that the convolution reads. The logits are no linear
    function of them: the activation comes before the average. Where it rectifies, the classifier's biases
    start at 1: with all scores at zero half of them would be cut off, and a few steps later all of them, for
    ever. A shift that all classes share changes no probability.
    """

    def __init__(self, num_features: int, parts: Parts) -> None:
        super().__init__(num_features, parts)
        self.parts = parts

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits:
            return self.pool(x)
        return self.pool(self.last_act(self.fc(self.drop(x))))

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh 1x1 convolution for ``num_classes``; 0 leaves the features as they are."""
        self.num_features = self.features_read
        self.num_classes = num_classes
        self.fc = nn.Conv2d(self.num_features, num_classes, 1) if num_classes else nn.Identity()
        self.last_act = self.parts.act(num_classes or self.num_features)
        if isinstance(self.fc, nn.Conv2d) and self.fc.bias is not None:
            nn.init.constant_(self.fc.bias, self.bias_start)

    @property
    def bias_start(self) -> float:
        """Where the classifier's biases start."""
        return 1.0 if isinstance(self.last_act, RECTIFIERS) else 0.0


def require(name: str, size: int, smallest: int) -> None:
    """Refuse images that are too small for a net.

    Raises:
        UserError: if ``size`` is below ``smallest`` pixels.
    """
    if size < smallest:
        raise UserError(f"{name} needs images of at least {smallest} pixels, got {size}; set data.size")
