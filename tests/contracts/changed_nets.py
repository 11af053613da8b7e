"""Nets that no name of the catalogue builds: users' own, pruned, factorized, masked, timm's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torch_pruning as pruning
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from conftest import Mask
from convsmith import catalog
from convsmith.nn.manners import classifier

SIZE, CLASSES = 16, 3


# ---- nets of a user's own


class Functional(nn.Module):
    """All of it by functions, the tensors held by the net itself."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3) * 0.2)
        self.shift = nn.Parameter(torch.zeros(4))
        self.last = nn.Parameter(torch.randn(CLASSES, 4))
        self.register_buffer("blur", torch.full((4, 1, 3, 3), 1 / 9), persistent=False)
        self.scale = torch.tensor([1.0, 2.0, 3.0, 4.0])  # a plain attribute

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.kernel, self.shift, stride=2, padding=1))
        x = F.conv2d(x, self.blur, padding=1, groups=4)
        x = x * self.scale.view(1, -1, 1, 1) + torch.ones(4, 1, 1)
        x = F.dropout(x, 0.4, training=self.training)
        return F.adaptive_avg_pool2d(x, 1).flatten(1) @ self.last.t()


class Branches(nn.Module):
    """Branches on shape, views, chunks, concatenation, einsum, interpolation, in-place operations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding="same", dilation=2)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.mix = nn.Parameter(torch.randn(8, 8) * 0.3)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Linear(8 * 4 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] > 8:
            x = F.max_pool2d(x, 2)
        x = self.first(x)
        x += 0.5
        x = x.relu_()
        one, two = x.chunk(2, dim=1)
        x = torch.cat([two, one], 1) + self.second(x)
        three, four = torch.split(x, [3, 5], 1)
        x = torch.cat((four, three), dim=1)
        x = torch.einsum("nchw,dc->ndhw", x, self.mix)
        x = F.interpolate(self.up(x), size=(8, 8), mode="bilinear", align_corners=False)
        x = F.adaptive_max_pool2d(x, (4, 4))
        return self.head(x.reshape(x.size(0), -1))


class View(nn.Module):
    """Flattens by view, so that it takes no channels_last, and reads the batch's size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.fc = nn.Linear(4 * 4 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        y = self.conv(x).contiguous()
        pad = x.new_zeros(n, 4)
        y = torch.cat([y.view(n, -1)[:, :-4], pad], 1)
        return self.fc(y) / (1 + 0 * n)


class Names(nn.Module):
    """Odd names, lists and dictionaries of modules and parameters, a module twice, and under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("a-b", nn.Conv2d(3, 4, 3, padding=1))
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)])
        self.by_name = nn.ModuleDict({"relu": nn.PReLU(4), "x y": nn.GroupNorm(2, 4)})
        self.gains = nn.ParameterList([nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor([0.5]))])
        self.by_key = nn.ParameterDict({"k": nn.Parameter(torch.ones(4, 1, 1))})
        self.same = self.blocks[0]
        self.unused = nn.Linear(2, 2)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = getattr(self, "a-b")(x)
        for _ in range(2):
            x = self.by_name["relu"](self.blocks[1](self.blocks[0](x)))
        x = self.by_name["x y"](self.same(x)) * self.gains[0] + self.gains[1] * self.by_key["k"]
        return self.fc(x.mean((2, 3)))


class Tied(nn.Module):
    """Two layers of one weight, and a classifier that is a layer's weight transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.one = nn.Conv2d(6, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 6, 3, padding=1)
        self.two.weight = self.one.weight
        self.down = nn.Linear(6, CLASSES)
        self.back = nn.Linear(CLASSES, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.two(self.one(self.stem(x)))).mean((2, 3))
        x = x + F.linear(self.back(self.down(x)), self.back.weight @ self.down.weight)
        return self.down(x)


class Sequences(nn.Module):
    """1-d convolutions, normalization of layers and instances, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.rnorm = nn.BatchNorm1d(8)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(self.stem(x)).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = self.norm(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.rnorm(self.conv(x.transpose(1, 2)))
        return self.fc(x[:, :, 0])


class Transposed(nn.Module):
    """Transposed convolutions, unpooling of sizes, a convolution as the classifier, log_softmax after it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.head = nn.Conv2d(6, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.up(self.down(x))))
        return F.log_softmax(self.head(x).mean((2, 3)), dim=1)


class NoClassifier(nn.Module):
    """No layer with weights at its end: the means of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).clamp(-1, 1).mean((2, 3))


class OwnLayer(nn.Linear):
    """A user's subclass of a layer of torch."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.tanh(), self.bias)


class Standardized(nn.Conv2d):
    """Weight standardization, by a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class Gate(nn.Module):
    """Squeeze and excitation within a residual block, used by a net that has it twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.fc = nn.Sequential(nn.Linear(width, 2), nn.ReLU(), nn.Linear(2, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return torch.relu(x + y * self.fc(y.mean((2, 3)))[:, :, None, None])


def small(head: nn.Module | None = None, norm: nn.Module | None = None) -> nn.Sequential:
    """conv, norm, relu, pool, conv, relu, flatten, linear."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        norm or nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        head or nn.Linear(32, CLASSES),
    )


class Codebook(nn.Module):
    """Weights that are entries of a codebook: what is trained has another shape than the weight."""

    def __init__(self, indices: Tensor) -> None:
        super().__init__()
        self.register_buffer("indices", indices)

    def forward(self, entries: Tensor) -> Tensor:
        return entries[self.indices]

    def right_inverse(self, weight: Tensor) -> Tensor:
        return torch.linspace(-0.5, 0.5, 4)


def masked() -> nn.Module:
    net = small()
    for place in (0, 4, 9):
        weight = net[place].weight
        parametrize.register_parametrization(net[place], "weight", Mask((weight.abs() > 0.08).to(weight)))
    return net


def codebook() -> nn.Module:
    net = small()
    indices = torch.randint(0, 4, net[4].weight.shape)
    parametrize.register_parametrization(net[4], "weight", Codebook(indices), unsafe=True)
    return net


def masked_codebook() -> nn.Module:
    net: Any = codebook()
    parametrize.register_parametrization(net[4], "weight", Mask((torch.rand(8, 6, 3, 3) > 0.5).float()))
    return net


def with_(way: Callable[[nn.Module], object]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        net = small()
        for place in (0, 4, 9):
            way(net[place])
        return net

    return made


def orthogonal(net: nn.Sequential) -> nn.Module:
    parametrizations.orthogonal(net[9])
    return net


def tied_masks() -> nn.Module:
    net: Any = Tied()
    for layer in (net.one, net.two):
        parametrize.register_parametrization(layer, "weight", Mask((torch.rand(6, 6, 3, 3) > 0.5).float()))
    net.two.parametrizations.weight.original = net.one.parametrizations.weight.original
    return net


def removed(name: str, ratio: float = 0.5, size: int = SIZE, **given: Any) -> nn.Module:
    net: nn.Module = catalog.build("model", name, num_classes=CLASSES, in_channels=3, size=size, **given)
    return thinner(net, ratio, size)


def thinner(net: nn.Module, ratio: float, size: int = SIZE) -> nn.Module:
    pruning.pruner.MagnitudePruner(
        net.eval(),
        torch.randn(2, 3, size, size),
        importance=pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[classifier(net)],
    ).step()
    return net


def factorized() -> nn.Module:
    """A net of the catalogue, whose linear layers and a convolution became two each."""
    net: Any = catalog.build("model", "lenet5", num_classes=CLASSES, in_channels=3, size=SIZE)
    for name, layer in list(net.named_modules()):
        if isinstance(layer, nn.Linear):
            rank = 2
            net.set_submodule(
                name,
                nn.Sequential(
                    nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features)
                ),
            )
    name, conv = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d)][-1]
    k = conv.kernel_size[0]
    pair = nn.Sequential(
        nn.Conv2d(conv.in_channels, 3, (k, 1), bias=False),
        nn.Conv2d(3, conv.out_channels, (1, k)),
    )
    net.set_submodule(name, pair)
    return net


def of_timm(name: str, **given: Any) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        net: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES, **given)
        return net

    return made


NETS: dict[str, Callable[[], nn.Module]] = {
    "functional": Functional,
    "branches": Branches,
    "view": View,
    "names": Names,
    "tied": Tied,
    "sequences": Sequences,
    "transposed": Transposed,
    "no classifier": NoClassifier,
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, CLASSES)),
    "own layer": lambda: small(OwnLayer(32, CLASSES)),
    "own classifier": lambda: small(nn.Sequential(nn.Linear(32, 5), nn.Tanh(), OwnLayer(5, CLASSES))),
    "weight standardization": lambda: nn.Sequential(
        Standardized(3, 6, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)
    ),
    "gates": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3), Gate(6), Gate(6), nn.AvgPool2d(14), nn.Flatten(), nn.Linear(6, CLASSES)
    ),
    "bare batch norm": lambda: small(norm=nn.BatchNorm2d(6, affine=False, momentum=None)),
    "batch norm of batches": lambda: small(norm=nn.BatchNorm2d(6, track_running_stats=False)),
    "reflecting": lambda: small(norm=nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")),
    "mask": masked,
    "codebook": codebook,
    "masked codebook": masked_codebook,
    "weight norm": with_(parametrizations.weight_norm),
    "old weight norm": with_(torch.nn.utils.weight_norm),
    "weight norm by input": with_(lambda layer: parametrizations.weight_norm(layer, dim=1)),
    "orthogonal": lambda: orthogonal(small()),
    "prune": with_(lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5)),
    "pruned twice": with_(
        lambda layer: [prune.random_unstructured(layer, "weight", amount=0.3) for _ in range(2)]
    ),
    "tied masks": tied_masks,
    "channels removed from resnet20": lambda: removed("resnet20", width=8),
    "channels removed from resnet18": lambda: removed("resnet18", width=8),
    "channels removed from lenet5": lambda: removed("lenet5"),
    "channels removed from squeezenet": lambda: removed("squeezenet1_1", size=SIZE + 16),
    "factorized": factorized,
    "linear factorized": lambda: small(nn.Sequential(nn.Linear(32, 2, bias=False), nn.Linear(2, CLASSES))),
    "timm convnext": of_timm("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 12, 16, 20)),
    "timm efficientnet": of_timm("efficientnet_lite0", drop_rate=0.2),
    "timm vit": of_timm(
        "vit_tiny_patch16_224", img_size=SIZE, patch_size=4, embed_dim=12, depth=2, num_heads=3
    ),
    "timm regnet": of_timm("regnetx_002"),
}
SIZES = {
    "timm efficientnet": 32,
    "timm regnet": 32,
    "timm convnext": 32,
    "channels removed from squeezenet": 32,
}


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    net = NETS[name]()
    settle(net, SIZES.get(name, SIZE))
    return net


def settle(net: nn.Module, size: int) -> None:
    """Statistics as after some training: fresh ones hide mistakes."""
    net.train()
    with torch.no_grad():
        for n in (3, 4):
            net(images(net, n, size))
    net.eval()


def images(net: nn.Module, n: int = 3, size: int = SIZE) -> Tensor:
    draws = torch.Generator().manual_seed(n)
    own = torch.randn(n, 3, size, size, generator=draws)
    return own.to(next(net.parameters(), own).dtype)
