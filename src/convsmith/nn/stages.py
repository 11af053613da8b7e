"""The stages of a net, from its input to its classifier: what fine-tuning paces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.nn.computed import named_layers, own_parameters
from convsmith.nn.manners import classifier
from convsmith.nn.probe import After, Before, blank, probe


@dataclass(frozen=True)
class Stage:
    """Layers that work at one resolution: names of modules that have parameters of their own.

    The parameters behind a layer's parametrized weight are the layer's.
    """

    name: str
    modules: tuple[str, ...]

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """All parameters of the stage's layers; a shared one once for each layer that has it."""
        return [p for m in self.modules for p in own_parameters(model.get_submodule(m))]


def stages(model: nn.Module, shape: tuple[int, int, int]) -> list[Stage]:
    """Cut a net where its maps change size; the classifier is the last stage.

    One image is run through, so it holds for any net: residual, branching, of timm or of anyone. Layers
    whose own maps are smaller than those of later ones (squeeze-and-excitation) belong to their
    neighbors. Hidden fully connected layers are one stage. A net whose maps never change size
    (a transformer) is cut into four equal parts.

    Args:
        model: any net; :func:`convsmith.nn.manners.classifier` finds its classifier.
        shape: of an image, (C, H, W).

    Raises:
        UserError: if the net has no classifier.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3, 2), nn.Flatten(), nn.Linear(36, 2))
    >>> [stage.modules for stage in stages(net, (3, 16, 16))]
    [('0',), ('1',), ('3',)]
    """
    head = {id(module) for module in classifier(model).modules()}
    order, sides = _sides(model, shape)
    body = [name for name in order if id(model.get_submodule(name)) not in head]
    for name in body:
        if sides[name] == 1:
            sides[name] = _side_of_block(name, body, sides)
    # Small maps that large ones follow are a side path of theirs.
    largest = 0
    for name in reversed(body):
        largest = sides[name] = max(largest, sides[name])
    groups: list[list[str]] = []
    for number, name in enumerate(body):
        if not number or (
            sides[name] != sides[body[number - 1]]
            # A normalization is no stage of its own.
            and any(p.ndim > 1 for p in own_parameters(model.get_submodule(name)))
        ):
            groups.append([])
        groups[-1].append(name)
    if len(groups) == 1 and len(body) >= 8:
        cut = torch.arange(len(body)).tensor_split(4)
        groups = [[body[place] for place in part.tolist()] for part in cut]
    found = [Stage(f"stage {number}", tuple(group)) for number, group in enumerate(groups, start=1)]
    last = tuple(name for name in order if name not in set(body))
    return [*found, Stage("head", last)] if last else found


def _side_of_block(name: str, body: list[str], sides: dict[str, int]) -> int:
    """Side of the maps in the block around a layer that works on 1x1 maps, such as a gate; 1 without one."""
    around = name.rpartition(".")[0]
    before = body[: body.index(name)]
    while around:
        inside = [sides[other] for other in before if other.startswith(f"{around}.") and sides[other] > 1]
        if inside:
            return inside[-1]
        around = around.rpartition(".")[0]
    return 1


def _sides(model: nn.Module, shape: tuple[int, int, int]) -> tuple[list[str], dict[str, int]]:
    """Modules with parameters in the order of their first call, and the side of the maps that each gives.

    A vector has side 0. Modules that aren't called come last, with the side of the last map.
    """
    order: list[str] = []
    sides: dict[str, int] = {}
    before = [shape[1]]

    def noting(name: str) -> After:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                side = int(max(output.shape[2:]))
            elif isinstance(output, Tensor) and output.ndim == 2:
                side = 0
            else:
                side = before[0]
            before[0] = side
            sides.setdefault(name, side)

        return note

    def entering(name: str) -> Before:
        def enter(module: nn.Module, inputs: Any) -> None:
            if name not in order:
                order.append(name)

        return enter

    own = [name for name, module in named_layers(model) if own_parameters(module)]
    # Use the place of a module's first call; its children may be called before it ends.
    probe(
        model,
        blank(model, shape),
        before={name: entering(name) for name in own},
        after={name: noting(name) for name in own},
    )
    order += [name for name in own if name not in order]
    for name in order:
        sides.setdefault(name, before[0])
    return order, sides
