"""The verbs that need no run: summary, techniques."""

from __future__ import annotations

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.nn.summary import Summary, summarize


def summary(model: str, shape: tuple[int, int, int], num_classes: int = 10) -> Summary:
    """Layers, output shapes, parameters and multiply-accumulates of a net for images (C, H, W).

    Raises:
        UserError: if there is no such net, or it can't take such images.
    """
    channels, height, width = shape
    net = catalog.build("model", model, num_classes=num_classes, in_channels=channels, size=height)
    try:
        return summarize(net, shape)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{model} can't take images of {channels}x{height}x{width}: {first}") from None


def techniques(kind: str | None = None) -> list[catalog.Card]:
    """The catalogue's cards by kind and name, of one kind or of all."""
    return [card for (k, _), card in sorted(catalog.listed()[0].items()) if kind in (None, k)]
