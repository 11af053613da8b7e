"""torchvision's names of weights, where they differ from ours: its classifiers end in a numbered layer.

| net | torchvision | here |
|---|---|---|
| alexnet, vgg | classifier.6 | fc |
| squeezenet | classifier.1 | fc |
| googlenet | aux1, aux2 | (left out) |
| resnet | the same | |
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

LAST = {"AlexNet": "classifier.6.", "VGG": "classifier.6.", "SqueezeNet": "classifier.1."}


def renamed(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A state_dict of torchvision under the names of ``model``; others pass as they are.

    >>> from convsmith.models.squeezenet import squeezenet
    >>> list(renamed({"classifier.1.bias": Tensor()}, squeezenet(1)))
    ['fc.bias']
    """
    last = LAST.get(type(model).__name__)
    own = {key: v for key, v in tensors.items() if not key.startswith(("aux1.", "aux2."))}
    if last is None or not any(key.startswith(last) for key in own):
        return own
    return {f"fc.{key.removeprefix(last)}" if key.startswith(last) else key: v for key, v in own.items()}
