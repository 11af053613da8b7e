"""How a net is written: as its name where that makes the same net, else as a program."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.data.signature import Signature
from convsmith.errors import UserError
from convsmith.inference.pipeline import Pipeline
from convsmith.inference.predictor import Predictor
from convsmith.inference.structure import check, net_of, normalizer_of, structure_of
from convsmith.nn.normalizer import Normalizer


def pipeline(net: nn.Module, size: int = 16) -> Pipeline:
    return Predictor.of(
        net.eval(),
        Normalizer(torch.full((3,), 99.0), torch.full((3,), 50.0)),
        Signature(("a", "b", "c"), size, 3),
    ).pipeline


def resnet(**given: Any) -> Any:
    torch.manual_seed(0)
    return catalog.build("model", {"resnet20": given}, num_classes=3, in_channels=3, size=16, width=4)


def kind(net: nn.Module) -> str:
    return next(key for key in ("spec", "program") if key in structure_of(pipeline(net)).net)


def test_a_net_of_the_catalogue_is_its_name() -> None:
    found = structure_of(pipeline(resnet(activation="elu"))).net
    assert found["spec"]["resnet20"]["activation"] == "elu"
    assert found["size"] == 16


@pytest.mark.parametrize("change", ["layer", "hook", "momentum", "rate", "scale", "tied"])
def test_a_net_that_was_changed_is_a_program(change: str) -> None:
    net = resnet(dropout={"classic": {}} if change == "rate" else "none")
    assert kind(net) == "spec"
    conv = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    norm = next(layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))
    if change == "layer":
        net.fc = nn.Sequential(nn.Linear(16, 2), nn.Linear(2, 3))
    elif change == "hook":
        conv.register_forward_hook(lambda module, given, output: output * 2)
    elif change == "momentum":
        norm.momentum = 0.5
    elif change == "rate":
        next(layer for layer in net.modules() if "Dropout" in type(layer).__name__).p = 0.9
    elif change == "scale":
        net.forward = lambda x, own=net.forward: 2 * own(x)
    else:
        others = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer is not conv]
        first, second = (layer for layer in others[:2])
        second.weight = first.weight
    assert kind(net) == "program"


def test_a_name_that_makes_other_tensors_is_refused_before_they_are_made() -> None:
    own = pipeline(resnet())
    structure = structure_of(own)
    given = {"spec": {"resnet20": {**structure.net["spec"]["resnet20"], "width": 5}}, "size": 16}
    with pytest.raises(ValueError, match="and the weights have none such"):
        net_of(given, structure.tensors(own))


def test_tensors_are_those_of_now() -> None:
    own = pipeline(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))
    structure = structure_of(own)
    with torch.no_grad():
        own.model[1].bias.fill_(7)
    tensors = structure.tensors(own)
    assert tensors["model.1.bias"].tolist() == [7, 7, 7]
    again = net_of(structure.net, tensors)
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    assert again.outputs(pixels).allclose(own.outputs(pixels), atol=1e-5)


def test_a_net_that_isnt_the_same_is_refused_with_the_difference() -> None:
    own, other = pipeline(resnet()), pipeline(resnet())
    check(own, other, 16, 3, 3)
    with pytest.raises(UserError, match=r"its signature names 4 outputs"):
        check(own, other, 16, 3, 4)
    with torch.no_grad():
        other.model.fc.bias.add_(1)
    with pytest.raises(UserError, match="read again it answers otherwise"):
        check(own, other, 16, 3, 3)
    with torch.no_grad():
        other.model.fc.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="read again it answers otherwise"):
        check(own, other, 16, 3, 3)


@pytest.mark.parametrize(
    ("mean", "std"), [((3,), ()), ((2,), (3,)), ((4, 3), (3,)), ((), (3,)), ((3,), (3, 1))]
)
def test_normalizers_of_other_shapes(mean: tuple[int, ...], std: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a normalizer has no mean"):
        normalizer_of({"normalizer.mean": torch.zeros(mean), "normalizer.std": torch.ones(std)})


def test_a_torch_generator_isnt_moved() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    structure = structure_of(pipeline(resnet_untouched := NET))
    net_of(structure.net, structure.tensors(pipeline(resnet_untouched)))
    structure_of(pipeline(nn.Sequential(nn.Flatten(), FC)))
    assert torch.rand(2).equal(expected)


NET = resnet()
FC = nn.Linear(768, 3)
