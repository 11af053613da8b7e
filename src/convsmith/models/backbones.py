"""Any net of timm, by name, with or without its pretrained weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import timm
from annotated_types import Ge
from huggingface_hub import constants
from torch import nn

from convsmith import catalog
from convsmith.catalog import Fetched, Spec, technique
from convsmith.errors import UserError, nearest
from convsmith.models import trained_weights as weights
from convsmith.nn.sections import Activation, Initialization, Norm, Pooling
from convsmith.nn.swap import Kind, swap

Size = Annotated[int, Ge(1)]


@technique(
    "model",
    "timm",
    source="Wightman 2019, PyTorch Image Models",
    chapter="3 经典结构 architectures",
    use="larger images, and pretrained weights: timm:NAME",
)
def backbone(
    architecture: str,
    num_classes: Size = 1000,
    in_channels: Size = 3,
    size: Size = 224,
    pretrained: Annotated[bool, Fetched()] = False,
    drop_rate: Annotated[float, Ge(0)] = 0.0,
    activation: Activation | None = None,
    norm: Norm | None = None,
    pooling: Pooling | None = None,
    init: Initialization | None = None,
) -> nn.Module:
    """The net that timm calls ``architecture``: input (N, in_channels, H, W), output logits (N, num_classes).

    Args:
        architecture: timm's name, with a tag after a dot if one of several sets of weights is meant.
        num_classes: K.
        in_channels: C.
        size: of the images, in pixels.
        pretrained: with timm's weights, of the hub's cache, an installed package (convsmith[weights]) or the
            hub.
        drop_rate: of the dropout before the classifier.
        activation, norm, pooling: exchange all such layers for the one named; None keeps timm's.
        init: initialize anew; None keeps timm's initialization.

    Raises:
        UserError: if timm has no such net, or its weights can't be fetched.

    >>> backbone("resnet18", num_classes=3).num_features
    512
    """
    known = timm.list_models()
    plain = architecture.partition(".")[0]
    if plain not in known:
        close = nearest(plain, known)
        hint = close if "did you mean" in close else "; see timm.list_models()"
        raise UserError(f"timm has no net {architecture!r}{hint}")
    try:
        with _hub() if pretrained else contextlib.nullcontext():
            model: nn.Module = timm.create_model(
                architecture,
                num_classes=num_classes,
                in_chans=in_channels,
                drop_rate=drop_rate,
                **(_pretrained(architecture) if pretrained else {}),
            )
    except Exception as error:  # the hub's client raises a dozen kinds
        if not pretrained:
            raise UserError(f"timm cannot build {architecture!r}: {_line(error)}") from None
        raise UserError(
            f"the pretrained weights of timm:{architecture} cannot be fetched ({_line(error)}); connect to "
            f"the hub, name a weight file with `start_from=FILE`, or train from scratch with "
            f"`model=timm:{plain}`"
        ) from None
    if pretrained and init is not None:
        raise UserError("init would overwrite the pretrained weights; leave out one of the two")
    if init is not None:
        catalog.build("init", init)(model)
    swaps: list[tuple[Kind, Spec | None]] = [
        ("activation", activation),
        ("norm", norm),
        ("pooling", pooling),
    ]
    for kind, spec in swaps:
        if spec is not None:
            swap(model, kind, spec, (in_channels, size, size))
    return model


def _pretrained(architecture: str) -> dict[str, Any]:
    """The arguments by which timm takes the pretrained weights from where they are."""
    found = weights.find(architecture, ask_hub=False)
    if found is None and not constants.HF_HUB_OFFLINE:
        weights.announce(architecture)
    if found is None or found.place != "package":
        return {"pretrained": True}
    return {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": weights.tensors_of(found)}}


@contextlib.contextmanager
def _hub() -> Iterator[None]:
    """Use the hub's cache alone if the hub can't be reached: its client would retry for a minute."""
    before = constants.HF_HUB_OFFLINE
    try:
        constants.HF_HUB_OFFLINE = before or not weights.reachable(constants.ENDPOINT)
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
