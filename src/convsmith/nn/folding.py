"""Batch normalizations folded into the layers before them, for nets that only answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode

from convsmith.nn.computed import computed, copied
from convsmith.nn.probe import blank, probe

# Exactly these classes: derived ones may compute their weights anew in each pass.
LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, Conv2dSame)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)


def folded(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """A copy of ``model`` that answers the same, in evaluation, without most batch normalizations.

    A batch normalization y = w (x - m) / sqrt(v + eps) + b after a convolution or fully connected layer is
    a scale and a shift of that layer's weights (Jacob et al. 2018, section 3.2). It is folded only where
    nothing else reads the layer's output, and where both are called once. Layers whose weight is computed
    (parametrized or pruned ones) stay as they are, and so do the normalizations after them.

    Args:
        model: stays as it is.
        shape: of an image (C, H, W), which is run through to see what follows what.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> folded(net, (3, 8, 8))
    Sequential(
      (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): ReLU()
    )
    """
    model = copied(model).eval()
    for norm, before in _pairs(model, shape).items():
        layer, old = model.get_submodule(before), model.get_submodule(norm)
        assert isinstance(old, nn.modules.batchnorm._BatchNorm)
        if isinstance(layer, nn.Linear):
            model.set_submodule(before, fuse_linear_bn_eval(layer, old))
        else:
            model.set_submodule(before, fuse_conv_bn_eval(layer, old))  # type: ignore[type-var]
        # timm's fused layers hold what follows the normalization.
        after = [part for part in old.children() if not isinstance(part, nn.Identity)]
        model.set_submodule(norm, nn.Sequential(*after) if after else nn.Identity())
    return model.eval()


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, counts the operations that read each tensor; keeps them all, so that ids stay unique."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[int] = Counter()
        self.kept: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for given in args:
            for one in given if isinstance(given, list | tuple) else [given]:
                if isinstance(one, Tensor):
                    self.counts[id(one)] += 1
                    self.kept.append(one)
        return func(*args, **(kwargs or {}))


def _pairs(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, str]:
    """By a normalization's name, the layer whose output it alone reads."""
    names = {id(layer): name for name, layer in model.named_modules()}
    users = Counter(id(layer.weight) for layer in model.modules() if _plain(layer))
    calls: Counter[int] = Counter()
    made: dict[int, int] = {}
    read: dict[int, int] = {}

    def after(layer: nn.Module, inputs: Any, output: Any) -> None:
        calls[id(layer)] += 1
        made[id(output)] = id(layer)
        readers.kept.append(output)

    def before(layer: nn.Module, inputs: Any) -> None:
        calls[id(layer)] += 1
        read[id(layer)] = id(inputs[0])

    readers = _Readers()
    linear = {name: after for name, layer in model.named_modules() if _plain(layer)}
    norms = {name: before for name, layer in model.named_modules() if _fixed(layer)}
    probe(model, blank(model, shape), before=norms, after=linear, within=readers)
    found = {}
    for norm, tensor in read.items():
        if tensor not in made:
            continue
        layer = made[tensor]
        alone = calls[norm] == calls[layer] == readers.counts[tensor] == 1
        if alone and users[id(model.get_submodule(names[layer]).weight)] == 1:
            found[names[norm]] = names[layer]
    return found


def _plain(layer: nn.Module) -> bool:
    """Whether a layer multiplies with a weight that it stores."""
    return type(layer) in LINEAR and not computed(layer)


def _fixed(layer: nn.Module) -> bool:
    """Whether a layer is a batch normalization by statistics that it keeps."""
    return type(layer) in NORMS and layer.running_mean is not None
