"""What holds for every net that no name of the catalogue builds: its file opens as the same net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from changed_nets import CLASSES, NETS, SIZE, SIZES, images, made, removed, small, thinner
from torch import Tensor, nn
from travelling import answers_alike, predictor, trains_alike, travelled

import convsmith as cs
from convsmith import catalog
from convsmith.data.picture import sized
from convsmith.inference.predictor import Predictor
from convsmith.nn.computed import LAYERS, named_layers, read
from convsmith.nn.stages import stages
from convsmith.nn.summary import summarize
from convsmith.nn.units import lengths
from convsmith.nn.weights import weights
from convsmith.training.average import exponential_average

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*lazy modules.*:UserWarning"),
]
EVERY = pytest.mark.parametrize("name", NETS)


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
