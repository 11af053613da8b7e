"""The weights of each unit of a layer: their lengths, and how to scale them in place, however computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from convsmith.errors import UserError
from convsmith.nn import norms
from convsmith.nn.computed import computed, copied, forms_of, read, write_
from convsmith.nn.weights import Weight


def rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """The incoming weights of each unit or filter of ``layer`` as a row, (O, inputs of a unit).

    The weight is (O, I, ...), that of a transposed convolution (I, O / groups, ...).

    >>> rows(nn.ConvTranspose1d(2, 1, 1), torch.tensor([[[3.0]], [[4.0]]]))
    tensor([[3., 4.]])
    """
    if isinstance(layer, _ConvTransposeNd):
        groups = weight.view(layer.groups, -1, *weight.shape[1:])
        weight = groups.transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


def lengths(layer: nn.Module, weight: Tensor) -> Tensor:
    """Length of the incoming weights of each unit or filter of ``layer``, (O,); the weight as in `rows`.

    >>> lengths(nn.ConvTranspose1d(2, 1, 1), torch.tensor([[[3.0]], [[4.0]]]))
    tensor([5.])
    """
    return norms.by_unit(rows(layer, weight))


def along(layer: nn.Module, scale: Tensor, weight: Tensor) -> Tensor:
    """One factor for each unit, (O,), in the shape that multiplies the layer's weight.

    >>> along(nn.ConvTranspose1d(2, 1, 1), torch.ones(1), torch.zeros(2, 1, 1)).shape
    torch.Size([2, 1, 1])
    """
    if isinstance(layer, _ConvTransposeNd):
        inputs = len(weight) // layer.groups
        scale = scale.view(layer.groups, 1, -1).expand(-1, inputs, -1).flatten(0, 1)
    return scale.view(*scale.shape, *[1] * (weight.ndim - scale.ndim))


class Scaler:
    """Scales the weights of each unit of a layer in place; never what is frozen.

    A computed weight is scaled through a parameter in whose units it is proportional (a mask's original,
    the lengths of weight normalization), else through its ``right_inverse``. Which of the two works is
    tried once, on a copy of the layer with random values.

    Args:
        name: of the weight, for the message.
        weight: where it is.
        why: what asks for it, for the message.

    Raises:
        UserError: if neither works.

    >>> layer = nn.Linear(2, 2, bias=False); _ = nn.init.ones_(layer.weight)
    >>> Scaler("weight", Weight(layer, "weight"))(torch.tensor([1.0, 0.5])); layer.weight.tolist()
    [[1.0, 1.0], [0.5, 0.5]]
    """

    def __init__(self, name: str, weight: Weight, why: str = "scaling") -> None:
        self.name = name.rpartition(".")[0] or "this layer"
        self.weight = weight
        parameters = weight.parameters()
        if weight.key not in computed(weight.layer) or not parameters:
            self.proportional = parameters
            return
        # Before the right inverse: that of a mask forgets what lies under the mask, this scales it along.
        self.proportional = [parameters[place] for place in _proportional(weight)]
        if not self.proportional and not _invertible(weight):
            raise UserError(
                f"{why} can't scale the weights of {self.name}: {forms_of(weight.layer, weight.key)} "
                f"computes them, is not proportional to a parameter, and has no right_inverse that gives "
                f"shortened weights back. Name the other layers with {why}'s argument layers, or add a "
                f"right_inverse"
            )

    @property
    def frozen(self) -> bool:
        """Whether the parameters that would be written have no gradients now."""
        if self.proportional:
            return not any(p.requires_grad for p in self.proportional)
        behind = self.weight.parameters()
        return not behind or not all(p.requires_grad for p in behind)

    @torch.no_grad()
    def __call__(self, scale: Tensor) -> None:
        """Multiply the weights of each unit by its factor in ``scale`` (O,)."""
        layer, key = self.weight
        target = next((p for p in self.proportional if p.requires_grad), None)
        if target is not None:
            target.mul_(along(layer, scale, target))
        elif not self.frozen:
            value = read(layer, key)
            write_(layer, value * along(layer, scale, value), key, name=self.name)


def _random(layer: nn.Module, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like)


def _trial(weight: Weight) -> tuple[Weight, Tensor, torch.Generator]:
    """A copy of the layer to try on, a factor for each of its units, and a generator for random values."""
    layer = copied(weight.layer).eval()
    generator = torch.Generator().manual_seed(0)
    value = read(layer, weight.key).detach()
    units = lengths(layer, value)
    scale = (0.25 + 0.75 * torch.rand(len(units), generator=generator)).to(value)
    return Weight(layer, weight.key), scale, generator


def _close(a: Tensor, b: Tensor) -> bool:
    precision = 100 * torch.finfo(a.dtype).eps
    return torch.allclose(a, b, rtol=precision, atol=precision * float(b.abs().max()))


@torch.no_grad()
def _proportional(weight: Weight) -> list[int]:
    """Places of the parameters behind a weight whose units, when scaled, scale the weight's units."""
    trial, scale, generator = _trial(weight)
    found = []
    for place, parameter in enumerate(trial.parameters()):
        try:
            for other in trial.parameters():
                other.copy_(_random(trial.layer, other, generator))
            before = trial.value()
            factor = along(trial.layer, scale, parameter)
            parameter.mul_(factor)  # raises where it has no axis for the units
            if _close(trial.value(), before * along(trial.layer, scale, before)):
                found.append(place)
        except (RuntimeError, ValueError):  # another shape, or a form that refuses random values
            continue
    return found


@torch.no_grad()
def _invertible(weight: Weight) -> bool:
    """Whether the weight's form gives back weights of its own with scaled units."""
    trial, scale, generator = _trial(weight)
    layer, key = trial
    try:
        write_(layer, _random(layer, trial.value(), generator), key)
        value = trial.value()
        wanted = value * along(layer, scale, value)
        write_(layer, wanted, key)
        return _close(trial.value(), wanted)
    except (UserError, RuntimeError, ValueError):
        return False
