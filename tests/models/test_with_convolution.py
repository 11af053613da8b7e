"""Any net with other convolutions: as a recipe's net, from trained weights, through a file, in a training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith import catalog
from convsmith.data.opened import open_data
from convsmith.data.signature import Signature
from convsmith.errors import UserError
from convsmith.inference import model_file
from convsmith.inference.predictor import Predictor
from convsmith.models import backbones
from convsmith.nn.convolution import DeformableConv2d
from convsmith.nn.normalizer import Normalizer
from convsmith.recipe import Data, Recipe
from convsmith.training import source as sources
from convsmith.training.transfer import changes

NET = "model.with_convolution"


def test_a_run_goes_on_as_it_was_with_deformable_convolutions(images: Path, tmp_path: Path) -> None:
    """Begun from a trained net: answers are equal at first, the finding says so, and the offsets learn."""
    torch.manual_seed(0)
    own = catalog.build("model", {"resnet20": {"width": 4}}, num_classes=3, in_channels=3, size=16)
    signature = Signature(("class0", "class1", "class2"), 16, 3)
    Predictor.of(own, Normalizer(torch.zeros(3), torch.ones(3)), signature).save(tmp_path / "a")
    around = {"model": {"resnet20": {"width": 4}}, "stages": [2, -1]}
    recipe = Recipe().changed({"model.with_convolution": around, "train.start_from": str(tmp_path / "a")})
    begin = sources.initial(recipe, open_data(Data(path=str(images))))
    assert not begin.new_head
    x = torch.randn(2, 3, 16, 16)
    assert torch.allclose(begin.model.eval()(x), own.eval()(x), atol=1e-5)
    seen = "the pretrained net's convolution is exchanged: plain for deformable in stages 2, -1"
    assert seen in [finding.seen for finding in begin.findings]

    optimizer = torch.optim.SGD(begin.model.parameters(), lr=0.01)
    for _ in range(2):
        begin.model.train()(x).square().sum().backward()
        optimizer.step()
    Predictor.of(begin.model, Normalizer(torch.zeros(3), torch.ones(3)), signature).save(tmp_path / "b")
    opened = cs.load(tmp_path / "b").module
    assert torch.allclose(opened(x), begin.model.eval()(x), rtol=1e-3, atol=1e-4)
    moved = [layer for layer in opened.modules() if isinstance(layer, DeformableConv2d)]
    assert len(moved) == 12
    assert any(layer.offsets.weight.any() for layer in moved)
    described = json.loads((tmp_path / "b" / "model.json").read_text())["net"]["spec"]
    assert described["with_convolution"]["model"] == {"resnet20": {"width": 4}}


def test_convolution_is_an_exchange_for_nets_that_choose_it_themselves_too() -> None:
    assert changes("resnet20", {"resnet20": {"convolution": "dilated"}}) == {
        "convolution": ("plain", "dilated")
    }
    around = {"with_convolution": {"model": "resnet20"}}
    assert changes("resnet20", around) == {"convolution": ("plain", "deformable in stages -1")}
    assert changes(around, around) == changes("vgg11", around) == {}


def test_the_nets_own_weights_fit_by_name() -> None:
    torch.manual_seed(0)
    inner = {"vgg11": {"width": 8, "hidden": 8}}
    own = catalog.build("model", inner, num_classes=3, size=32).eval()
    spec = {"with_convolution": {"model": inner, "stages": [-1, -2]}}
    net = catalog.build("model", spec, num_classes=3, in_channels=3, size=32).eval()
    missing, strange = net.load_state_dict(own.state_dict(), strict=False)
    assert all(".offsets." in key for key in missing)
    assert len(missing) == 2 * 4
    assert not strange
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(net(x), own(x), atol=1e-5)


def test_timms_weights_are_fetched_for_the_net_within(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is out of reach here: what timm is asked for tells."""
    asked: list[bool] = []
    create = backbones.timm.create_model

    def creating(name: str, pretrained: bool = False, **given: object) -> nn.Module:
        asked.append(pretrained)
        given.pop("pretrained_cfg_overlay", None)
        return create(name, **given)

    monkeypatch.setattr(backbones.timm, "create_model", creating)
    around = {"model": "timm:resnet10t", "convolution": "dilated"}
    recipe = Recipe().changed({"model.with_convolution": around, "train.start_from": "timm:resnet10t"})
    dataset = open_data(Data(path=str(images), size=32))
    begin = sources.initial(recipe, dataset)
    assert asked == [True]
    assert begin.new_head
    assert "convolution is exchanged: timm's for dilated in stages -1" in begin.findings[0].seen
    signature = Signature(("class0", "class1", "class2"), 32, 3)
    Predictor.of(begin.model.eval(), Normalizer(torch.zeros(3), torch.ones(3)), signature).save(
        tmp_path / "a"
    )
    net = model_file.load(tmp_path / "a").module
    assert asked[1:]
    assert not any(asked[1:]), "a file fetches nothing"
    assert (net.layer3[0].conv1.dilation, net.layer4[0].conv1.dilation) == ((1, 1), (2, 2))
    with pytest.raises(UserError, match="the weights of another net than `model=timm:resnet10t`; name one"):
        sources.initial(recipe.changed({"train.start_from": "timm:resnet18"}), dataset)


def test_a_net_without_such_convolutions_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this net has no plain 3x3 convolution"):
        cs.train(images, out=tmp_path / "a", set=[f"{NET}.model=lenet5", "train.epochs=1"])
