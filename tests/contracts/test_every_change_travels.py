"""What holds for every net that no name of the catalogue builds: its file opens as the same net, and trains on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torch_pruning as pruning
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import convsmith as cs
from convsmith import catalog
from convsmith.data.pixels import sized
from convsmith.data.signature import Signature
from convsmith.inference import model_file
from convsmith.inference.predictor import Predictor
from convsmith.nn.computed import LAYERS, copied, named_layers, read
from convsmith.nn.manners import classifier
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.stages import stages
from convsmith.nn.summary import summarize
from convsmith.nn.traced import Traced
from convsmith.nn.units import lengths
from convsmith.nn.weights import weights
from convsmith.training.average import exponential_average

SIZE, CLASSES = 16, 3
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*lazy modules.*:UserWarning"),
]


def predictor(net: nn.Module, size: int = SIZE, classes: int = CLASSES) -> Predictor:
    normalizer = Normalizer(torch.tensor([120.0, 110, 100]), torch.tensor([60.0, 61, 62]))
    return Predictor.of(net, normalizer, Signature(tuple("abcdefgh"[:classes]), size, 3))


def travelled(net: nn.Module, folder: Path, size: int = SIZE) -> Any:
    """The net, written to a folder and opened again; it must have become a program."""
    before = copied(net)
    predictor(net, size).save(folder)
    assert all(
        value.equal(other) for value, other in zip(net.state_dict().values(), before.state_dict().values())
    )
    opened: Any = cs.load(folder).module
    assert isinstance(opened, Traced)
    return opened


def images(net: nn.Module, n: int = 3, size: int = SIZE) -> Tensor:
    draws = torch.Generator().manual_seed(n)
    own = torch.randn(n, 3, size, size, generator=draws)
    return own.to(next(net.parameters(), own).dtype)


def close(found: Tensor, expected: Tensor) -> bool:
    """Up to the order of sums in the other memory format, for the size of the numbers."""
    coarse = {torch.float64: 1e-8, torch.float32: 1e-5}.get(expected.dtype, 2e-2)
    scale = max(1.0, float(expected.detach().abs().max()))
    return found.shape == expected.shape and found.allclose(expected, rtol=coarse, atol=coarse * scale)


def answers_alike(net: nn.Module, again: nn.Module, size: int = SIZE) -> None:
    net.eval(), again.eval()
    for n in (1, 2, 5):
        x = images(net, n, size)
        assert close(again(x), net(x)), f"batch of {n}"


def trains_alike(net: nn.Module, again: nn.Module, size: int = SIZE) -> None:
    """In training mode with the same seed: outputs, gradients of images and parameters, buffers afterwards.

    In float64, where sums in another order are no difference.
    """
    seen = []
    for own in (net, again):
        # Dropout draws in the order of memory: both in the same format.
        own.double().to(memory_format=torch.contiguous_format).train().zero_grad()
        x = images(own, 4, size).requires_grad_()
        torch.manual_seed(5)
        y = own(x)
        (y.double() * torch.linspace(-1, 2, y.numel()).reshape(y.shape)).sum().backward()
        seen.append((y, x.grad))
    (y, dx), (z, dz) = seen
    assert close(z, y)
    assert dx is not None
    assert close(dz, dx)
    theirs = {plain(name): own for name, own in again.named_parameters()}
    ours = {plain(name): own for name, own in net.named_parameters()}
    assert set(theirs) == set(ours)
    for name, own in ours.items():
        assert (own.grad is None) == (theirs[name].grad is None), name
        assert own.grad is None or close(theirs[name].grad, own.grad), name
    theirs_too = {plain(name): own for name, own in again.named_buffers()}
    for name, buffer in net.named_buffers():
        if "mask" not in name and plain(name) in theirs_too:
            assert close(theirs_too[plain(name)], buffer), name


def plain(name: str) -> str:
    """A parameter's name without the ways in which torch's older hooks and its parametrizations write it."""
    for old, new in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
        ("parametrizations.weight.original", "weight"),
        ("weight_orig", "weight"),
    ):
        name = name.replace(old, new)
    return name


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


class Mask(nn.Module):
    """Weights times a 0/1 mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


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
EVERY = pytest.mark.parametrize("name", NETS)


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


@EVERY
def test_it_answers_and_trains_as_before(name: str, tmp_path: Path) -> None:
    net, size = made(name), SIZES.get(name, SIZE)
    again = travelled(net, tmp_path, size)
    answers_alike(net, again, size)
    trains_alike(net, again, size)


@pytest.mark.parametrize("name", ["branches", "names", "tied", "transposed", "prune", "functional"])
def test_opened_it_is_written_and_opened_again(name: str, tmp_path: Path) -> None:
    """A net from a file is written as any other: the same description, the same answers."""
    net = made(name)
    first = travelled(net, tmp_path / "first")
    second = travelled(first, tmp_path / "second")
    answers_alike(net, second)
    trains_alike(net, second)


@pytest.mark.parametrize("name", ["channels removed from resnet20", "channels removed from lenet5"])
def test_channels_are_removed_again_after_opening(name: str, tmp_path: Path) -> None:
    net = made(name)
    again = travelled(net, tmp_path / "first")
    before = sum(p.numel() for p in again.parameters())
    thinner(again, 0.5)
    assert sum(p.numel() for p in again.parameters()) < 0.6 * before
    assert again.num_features == again.get_classifier().weight.shape[1]
    third = travelled(again, tmp_path / "second")
    answers_alike(again, third)
    trains_alike(again, third)


def test_a_removed_group_that_its_norm_doesnt_know_of(tmp_path: Path) -> None:
    """Counts as the weights have them, where surgery by hand left the attributes as they were."""
    net: Any = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )
    for layer, key in ((net[0], "weight"), (net[0], "bias"), (net[1], "weight")):
        setattr(layer, key, nn.Parameter(getattr(layer, key)[:3].detach().clone()))
    net[4].weight = nn.Parameter(net[4].weight[:, :3].detach().clone())
    again = travelled(net.eval(), tmp_path)
    answers_alike(net, again)
    assert (again.get_submodule("0").out_channels, again.get_submodule("1").num_parameters) == (3, 3)
    assert again.num_features == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["mask", "branches", "tied", "channels removed from resnet20", "timm vit"])
def test_in_other_types(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    net = made(name).to(dtype)
    again = travelled(net, tmp_path)
    assert {name: p.dtype for name, p in again.named_parameters()} == {
        n: p.dtype for n, p in net.named_parameters()
    }
    answers_alike(net, again)


@pytest.mark.parametrize("name", ["mask", "channels removed from resnet20", "factorized"])
def test_after_channels_last(name: str, tmp_path: Path) -> None:
    net = made(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    answers_alike(net, travelled(net, tmp_path))


def test_an_ensemble_of_two_sizes(tmp_path: Path) -> None:
    members = [predictor(made("mask")), predictor(removed("resnet20", size=32, width=4).eval(), size=32)]
    together = Predictor.together(members)
    together.save(tmp_path)
    opened = cs.load(tmp_path)
    assert opened.is_ensemble
    assert opened.size == 32
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    assert opened.outputs(pixels).allclose(together.outputs(pixels), atol=1e-5)
    mean = sum(member.probabilities(sized(pixels, member.size)) for member in members) / 2
    assert torch.allclose(opened.probabilities(pixels), mean, atol=1e-5)


# ---- layers stay layers


@pytest.mark.parametrize(
    "name", ["channels removed from resnet20", "prune", "mask", "factorized", "weight norm"]
)
def test_trainings_see_the_layers_that_they_saw(name: str, tmp_path: Path) -> None:
    """Penalties, limits on norms, averages, counts and stages are the same on the opened net."""
    net = made(name)
    again = travelled(net, tmp_path)
    shape = (3, SIZE, SIZE)
    assert {key: value.shape for key, value in weights(again).items()} == {
        key: value.shape for key, value in weights(net).items()
    }
    for term in ("l2", "l1"):
        penalty = catalog.build("term", {term: {"weight": 0.3}})
        assert penalty(again).item() == pytest.approx(penalty(net).item(), rel=1e-5)
    mine, theirs = summarize(net, shape), summarize(again, shape)
    assert (theirs.macs, theirs.parameters) == (mine.macs, mine.parameters)
    counted = {row.name: row.macs for row in mine.rows if row.macs}
    assert {row.name: row.macs for row in theirs.rows if row.macs} == counted
    own = [id(p) for stage in stages(again, shape) for p in stage.parameters(again)]
    assert sorted(own) == sorted(id(p) for p in again.parameters())

    limit = catalog.build("regularizer", {"max_norm": {"limit": 0.2}})
    optimizer = torch.optim.SGD(again.parameters(), lr=0.1)
    limit.attach(again, optimizer)
    again.train()(images(again, 4)).square().sum().backward()
    optimizer.step()
    layers = [layer for _, layer in named_layers(again) if isinstance(layer, LAYERS)]
    for layer in layers:
        assert lengths(layer, read(layer)).max() <= 0.2 + 1e-5
    average = exponential_average(again, decay=0.9)
    average.update_parameters(again)
    assert sum(p.numel() for p in average.module.parameters()) == sum(p.numel() for p in again.parameters())


# ---- names


def test_layers_may_have_any_name(tmp_path: Path) -> None:
    class Usual(nn.Module):
        """Names that a net from a file might need itself."""

        def __init__(self) -> None:
            super().__init__()
            for name in (
                "output",
                "_ops",
                "_maps",
                "head",
                "program",
                "calls",
                "sizes",
                "features",
                "layers",
            ):
                self.add_module(name, nn.Conv2d(3, 3, 1))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.children():
                x = layer(x)
            return x.mean((2, 3))

    net = Usual().eval()
    answers_alike(net, travelled(net, tmp_path))


def test_a_name_that_is_taken_is_said(tmp_path: Path) -> None:
    net = small().eval()
    net.register_buffer("num_classes", torch.tensor(3))
    with pytest.raises(cs.UserError, match="'num_classes' already exists.*rename it"):
        predictor(net).save(tmp_path)


# ---- what a program can't carry is said


class Depth(nn.Module):
    """Stochastic depth."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x * (torch.rand(x.shape[0], 1, 1, 1) < 0.5) / 0.5
        return x


class Straight(torch.autograd.Function):
    """The sign, with the gradient of the identity."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Straight.apply(x)
        return y


def spectral(way: Callable[[nn.Module], object]) -> nn.Module:
    net = small()
    way(net[4])
    return net


OTHERWISE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "depth": (lambda: small(norm=Depth()), "layer 1 does"),
    "two depths": (lambda: small(nn.Sequential(nn.Unflatten(1, (32, 1, 1)), Depth(), nn.Flatten(), nn.Linear(32, 3)), Depth()), "layers 1, 9.1 do"),
    "sign": (lambda: small(norm=Sign()), "layer 0 does"),
    "spectral norm": (lambda: spectral(parametrizations.spectral_norm), "layer 4 does"),
    "old spectral norm": (lambda: spectral(torch.nn.utils.spectral_norm), "layer 4 does"),
    "attention's dropout": (of_timm("vit_tiny_patch16_224", img_size=SIZE, patch_size=4, embed_dim=12, depth=2, num_heads=3, attn_drop_rate=0.3), "layers blocks.0.attn, blocks.1.attn do"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_training_does_otherwise_is_said_with_the_layers(name: str, tmp_path: Path) -> None:
    make, where = OTHERWISE[name]
    torch.manual_seed(0)
    net = make().eval()
    before = copied(net).state_dict()
    own = predictor(net)
    (finding,) = model_file.draft(own).findings
    assert finding.seen == f"{where} in training what a program can't carry"
    assert finding.change
    with pytest.warns(UserWarning, match=where):
        own.save(tmp_path)
    answers_alike(net, cs.load(tmp_path).module)
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("name", [name for name in NETS if not name.startswith("timm")])
def test_nothing_is_said_of_what_trains_alike(name: str) -> None:
    assert model_file.draft(predictor(made(name), SIZES.get(name, SIZE))).findings == ()


# ---- what is refused


class If(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


class Batches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.shape[0] > 1 else x.amax((2, 3))


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x.mean((2, 3)) * self.seen


class Free(nn.Module):
    def __init__(self, way: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Any:
        return self.way(x)


def no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x.mean((2, 3))


def without_autocast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return x.mean((2, 3))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "values": (lambda: small(norm=nn.Sequential(nn.Tanh(), If())), r"layer 1\.1 \(If\) .*depends on the values.*torch\.where"),
    "item": (lambda: Free(lambda x: x.mean((2, 3)) * float(x.max())), "depends on the values"),
    "numpy": (lambda: Free(lambda x: torch.from_numpy(x.numpy().mean((2, 3)))), r"numpy\(\) is not supported"),
    "tuple": (lambda: Free(lambda x: (x.mean((2, 3)), x)), r"gives a tuple.*one tensor \(N, K\)"),
    "dict": (lambda: Free(lambda x: {"logits": x.mean((2, 3))}), "gives a dict"),
    "constant": (lambda: Free(lambda x: torch.zeros(2, CLASSES)), "isn't computed from the images"),
    "maps": (lambda: Free(lambda x: x), r"gives \(1, 3, 16, 16\) for one image"),
    "batches": (Batches, "branch on the number of images"),
    "counting": (Counting, "changes its tensor seen when it answers"),
    "no_grad": (lambda: Free(no_grad), r"torch\.no_grad\(\).*\.detach\(\)"),
    "autocast": (lambda: Free(without_autocast), r"torch\.autocast.*around the call"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cant_travel_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    net = make().eval()
    before = copied(net).state_dict()
    with pytest.raises(cs.UserError, match=message) as caught:
        predictor(net).save(tmp_path / "net")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "net").exists()
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    assert not net._forward_hooks
    assert not net._forward_pre_hooks
