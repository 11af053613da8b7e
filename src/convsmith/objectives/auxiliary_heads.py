"""Small classifiers on maps inside of a net, which help it to learn and aren't part of it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.errors import UserError, nearest
from convsmith.nn.precision import wide
from convsmith.nn.probe import blank, probe
from convsmith.objectives.mean import mean


@technique(
    "term",
    "auxiliary_heads",
    source="Szegedy et al. 2015, section 5; Lee et al. 2015, Deeply-supervised nets",
    chapter="8 目标函数 objectives",
    use="deep nets without normalization, GoogLeNet's two heads; needless with batch normalization",
)
class AuxiliaryHeads(nn.Module):
    """weight * sum over heads of cross-entropies; a head is a small classifier on the maps of one layer.

    A head is the paper's: average pooling of 5 with stride 3 (of the whole map where it is smaller), 128 1x1
    convolutions, ``hidden`` units, dropout, a unit for each class. Heads learn with the net but are the
    term's: in evaluation the term is zero, and the net, its file and its answers have no part of them.
    Training losses are no measure beside validation's, see ``comparable`` of
    :class:`convsmith.objectives.objective.Objective`.

    Args:
        model: the net, whose layers are listened to.
        shape: of an image (C, H, W).
        num_classes: K.
        layers: names of layers that give maps (N, C, H, W); the default are GoogLeNet's, after 4a and 4d.
        weight: of each head, >= 0.
        hidden: units of each head.
        dropout: share of them that is dropped.

    Raises:
        UserError: if the net has no such layer, or it gives no maps.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    >>> term = AuxiliaryHeads(net, (3, 8, 8), 2, layers=["1"], hidden=8)
    >>> _ = net(torch.zeros(5, 3, 8, 8)); bool(term(net, torch.tensor([0, 1, 0, 1, 0])) > 0)
    True
    """

    targets = ("classes",)
    comparable = ("val",)

    def __init__(
        self,
        model: nn.Module,
        shape: tuple[int, int, int],
        num_classes: int,
        layers: Sequence[str] = ("inception4a", "inception4d"),
        weight: Annotated[float, Ge(0)] = 0.3,
        hidden: Annotated[int, Ge(1)] = 1024,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.7,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.weight = weight
        found = _maps(model, shape, self.layers)
        self.heads = nn.ModuleList(
            _head(maps.shape[1], maps.shape[2:], hidden, dropout, num_classes) for maps in found
        )
        self.seen: dict[str, Tensor] = {}
        for name in self.layers:
            _listen(self, name, model.get_submodule(name))

    def forward(self, model: nn.Module, target: Tensor) -> Tensor:
        # Taken out at once: the net's maps are let go with the step.
        seen, self.seen = self.seen, {}
        total = torch.zeros((), device=target.device)
        # Of layers that didn't run, as where only a classifier is trained on features, there is nothing.
        for name, head in zip(self.layers, self.heads):
            if self.training and name in seen:
                scores = wide(head(seen[name]))
                total = total + mean(F.cross_entropy(scores, target, reduction="none"))
        return total * self.weight


def _maps(model: nn.Module, shape: tuple[int, int, int], layers: Sequence[str]) -> list[Tensor]:
    """What the layers give for one image."""
    known = [name for name, _ in model.named_modules() if name]
    for name in layers:
        if name not in known:
            raise UserError(
                f"auxiliary_heads: the net has no layer {name!r}{nearest(name, _parts(model))}; name some "
                f"with `objective.auxiliary_heads.layers=[NAME, NAME]`"
            )
    seen: dict[str, Any] = {}
    after = {name: (lambda layer, given, output, name=name: seen.update({name: output})) for name in layers}
    probe(model, blank(model, shape), after=after)
    for name in layers:
        if not (isinstance(seen.get(name), Tensor) and seen[name].ndim == 4):
            raise UserError(
                f"auxiliary_heads: layer {name!r} gives no maps (N, C, H, W), which a head reads; "
                f"name another"
            )
    return [seen[name] for name in layers]


def _parts(model: nn.Module) -> list[str]:
    """The outermost parts of a net that hold convolutions."""
    return [
        name
        for name, part in model.named_children()
        if any(isinstance(layer, nn.Conv2d) for layer in part.modules())
    ]


def _head(
    channels: int, sides: Sequence[int], hidden: int, dropout: float, num_classes: int
) -> nn.Sequential:
    small = min(sides) < 5
    places = 1 if small else ((sides[0] - 5) // 3 + 1) * ((sides[1] - 5) // 3 + 1)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1) if small else nn.AvgPool2d(5, 3),
        nn.Conv2d(channels, 128, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * places, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
    )
    catalog.build("init", "he")(head)
    return head.append(nn.Linear(hidden, num_classes))


def _listen(term: AuxiliaryHeads, name: str, layer: nn.Module) -> None:
    """Have the term see what ``layer`` gives in training, for as long as there is a term."""
    # Weak, so that the net neither keeps the term nor is kept by it; a copy of the net has the hook too.
    place, own = weakref.ref(term), weakref.ref(layer)

    def hear(heard: nn.Module, given: Any, output: Tensor) -> None:
        there = place()
        if there is not None and heard.training and heard is own():
            there.seen[name] = output

    layer.register_forward_hook(hear)
