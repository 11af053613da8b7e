"""How the classifier of any net is found, read and replaced, and the features that it classifies.

timm's nets and ours say it themselves (``get_classifier``, ``forward_features``, ``forward_head``,
``reset_classifier``). Of any other module the last fully connected layer by definition order is the
classifier, else the last convolution, and its features are what that layer is called with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.nn.computed import named_layers


def classifier(model: nn.Module) -> nn.Module:
    """The layer that turns features into logits.

    Raises:
        UserError: if the net has neither a fully connected layer nor a 2-d convolution, or several
            classifiers.

    >>> classifier(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Softmax(1)))
    Linear(in_features=3, out_features=2, bias=True)
    """
    ask = getattr(model, "get_classifier", None)
    if ask is not None:
        found = ask()
        if not isinstance(found, nn.Module):
            raise UserError(
                f"{type(model).__name__}.get_classifier() gives a {type(found).__name__}, not one layer; "
                f"take a net with one classifier"
            )
        return found
    last = _last_layer(model)
    if last is None:
        raise UserError(
            f"{type(model).__name__} has no classifier: no nn.Linear and no nn.Conv2d; give it a method "
            f"get_classifier() that returns the layer"
        )
    return last


def _last_layer(module: nn.Module) -> nn.Linear | nn.Conv2d | None:
    """The last fully connected layer within ``module``, itself included; else the last convolution."""
    layers = [layer for _, layer in named_layers(module)]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    return (linear or convolutions or [None])[-1]


def inputs_of(layer: nn.Module | None) -> int | None:
    """Number of features that a classifier reads; None if it has no layer with weights.

    >>> inputs_of(nn.Linear(7, 3)), inputs_of(nn.Conv2d(8, 3, 1)), inputs_of(nn.Identity())
    (7, 8, None)
    """
    last = None if layer is None else _last_layer(layer)
    if last is None:
        return None
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


def num_features(model: nn.Module) -> int:
    """D, the length of the features (N, D) that the classifier of ``model`` reads.

    It is read off the classifier, so that it holds after channels were removed, and for timm's nets that
    widen the features in their head. A net whose classifier was taken off says it itself.

    Raises:
        UserError: if the net has no classifier and doesn't say.

    >>> num_features(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(32, 2)))
    32
    """
    own = inputs_of(classifier(model))
    own = own or getattr(model, "head_hidden_size", 0) or getattr(model, "num_features", 0)
    if not own:
        raise UserError(
            f"{type(model).__name__} doesn't say how many features it has: its classifier has no weights; "
            f"give it an attribute num_features"
        )
    return int(own)


def has_features(model: nn.Module) -> bool:
    """Whether a net parts its forward into ``forward_features`` and ``forward_head``, as timm's do."""
    return all(hasattr(model, name) for name in ("get_classifier", "forward_features", "forward_head"))


def features(model: nn.Module, images: Tensor) -> Tensor:
    """Features (N, D) of images (N, C, H, W): the input of the net's classifier, as vectors.

    Maps and tokens are averaged over their places.

    Raises:
        UserError: if the net's forward doesn't call its classifier.

    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(4, 2))
    >>> features(net, torch.tensor([[[[1.0, -1.0], [2.0, -2.0]]]]))
    tensor([[1., 0., 2., 0.]])
    """
    if has_features(model):
        net: Any = model
        vectors: Tensor = net.forward_head(net.forward_features(images), pre_logits=True)
        return vectors
    return _watched(model, images)[0]


def with_features(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and logits (N, K) of images (N, C, H, W), in one forward.

    Raises:
        UserError: if the net's forward doesn't call its classifier.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> vectors, logits = with_features(net, torch.ones(1, 1, 2, 2))
    >>> bool((net[1](vectors) == logits).all())
    True
    """
    if not has_features(model):
        return _watched(model, images)
    net: Any = model
    head, maps = classifier(model), net.forward_features(images)
    vectors = net.forward_head(maps, pre_logits=True)
    # Once through the head's dropout where that can be; a convolution as a classifier reads maps.
    return _read(head, vectors) if is_linear(model) else (vectors, net.forward_head(maps))


def _read(head: nn.Module, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """What ``head`` reads when it is given ``vectors``, after its hooks, and what it answers."""
    if not head._forward_pre_hooks:
        return vectors, head(vectors)
    seen: list[Tensor] = []
    handle = head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    try:
        logits = head(vectors)
    finally:
        handle.remove()
    return seen[-1], logits


def is_linear(model: nn.Module) -> bool:
    """Whether a net's logits are its classifier's output for its features (N, D), and nothing follows."""
    ends = getattr(model, "ends_in_classifier", True)
    return has_features(model) and bool(ends) and isinstance(classifier(model), nn.Linear)


def _watched(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of a net that doesn't part its forward."""
    head = classifier(model)
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...], __: Any) -> None:
        seen.append(inputs[0])

    # After the hooks that change what the classifier reads: features and logits belong together.
    handle = head.register_forward_hook(note)
    try:
        logits = model(images)
    finally:
        handle.remove()
    if not seen:
        raise UserError(
            f"the forward of {type(model).__name__} doesn't call its classifier {type(head).__name__}, so "
            f"its features are unknown; give it a method get_classifier() that returns the right layer"
        )
    read = seen[-1]
    if isinstance(head, nn.Conv2d):
        return read.mean((2, 3)), logits
    return read.flatten(1, -2).mean(1) if read.ndim > 2 else read, logits


def replace_classifier_(model: nn.Module, num_classes: int) -> nn.Module:
    """Give ``model``, in place, a fresh classifier for ``num_classes`` that reads the same features.

    A net's own ``reset_classifier`` does it where it has one; it is corrected where it counts on channels
    that were removed since.

    Args:
        model: any net.
        num_classes: K, at least 1.

    Returns:
        the new classifier, where the old one was and in its type.

    Raises:
        UserError: if the net has no classifier that could be replaced.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)); replace_classifier_(net, 5)
    Linear(in_features=4, out_features=5, bias=True)
    """
    old = _last_layer(classifier(model))
    width = num_features(model)
    like = next(model.parameters(), torch.zeros(()))
    if hasattr(model, "reset_classifier"):
        model.reset_classifier(num_classes)  # type: ignore[operator]
        new = _last_layer(classifier(model))
        if new is None:
            raise UserError(f"{type(model).__name__}.reset_classifier({num_classes}) leaves no classifier")
        if inputs_of(new) != width:
            old, new = new, fresh(new, width, num_classes)
            _exchange(model, old, new)
    elif old is None:
        raise UserError(f"{type(model).__name__} has no classifier that could be replaced")
    else:
        new = fresh(old, width, num_classes)
        _exchange(model, old, new)
        if hasattr(model, "num_classes"):
            model.num_classes = num_classes  # type: ignore[assignment]
    return new.to(like).train(model.training)


def fresh(old: nn.Module, width: int, num_classes: int) -> nn.Linear | nn.Conv2d:
    """A new layer like ``old``, a linear one or a convolution, from ``width`` features to ``num_classes``."""
    bias = old.bias is not None
    if not isinstance(old, nn.Conv2d):
        return nn.Linear(width, num_classes, bias)
    window: dict[str, Any] = {
        key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation")
    }
    return nn.Conv2d(width, num_classes, bias=bias, **window)


def _exchange(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    names = [name for name, module in model.named_modules(remove_duplicate=False) if module is old]
    if "" in names:
        raise UserError("a net that is one layer can't have its classifier replaced; put it in nn.Sequential")
    for name in names:
        model.set_submodule(name, new)
