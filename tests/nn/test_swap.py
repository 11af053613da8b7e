from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import convsmith as cs
from convsmith import catalog
from convsmith.errors import UserError
from convsmith.nn.p_norm_pooling import PNormPool2d
from convsmith.nn.swap import swap
from convsmith.training.transfer import changes, swapped

SHAPE = (3, 32, 32)


def test_same_layers_give_the_same_net() -> None:
    """A swap for what was there changes no output, fused layers of timm included."""
    for name in ("resnet18", "densenet121"):
        torch.manual_seed(0)
        net = timm.create_model(name, num_classes=3).eval()
        x = torch.randn(2, *SHAPE)
        expected = net(x)
        assert swap(net, "activation", "relu", SHAPE)
        if name == "resnet18":
            assert swap(net, "pooling", "max", SHAPE) == ["maxpool"]
        assert torch.allclose(net(x), expected, atol=1e-5)


def test_scale_and_shift_of_a_norm_go_over() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    nn.init.uniform_(net[1].weight)
    nn.init.uniform_(net[1].bias)
    weight, bias = net[1].weight.clone(), net[1].bias.clone()
    swap(net, "norm", {"group": {"groups": 4}}, SHAPE)
    assert isinstance(net[1], nn.GroupNorm)
    assert net[1].weight.equal(weight)
    assert net[1].bias.equal(bias)


def test_a_fused_norm_keeps_its_activation() -> None:
    net = timm.create_model("densenet121", num_classes=2)
    before = sum(isinstance(m, nn.ReLU) for m in net.modules())
    swap(net, "norm", "group", SHAPE)
    assert sum(isinstance(m, nn.ReLU) for m in net.modules()) == before
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert net.eval()(torch.randn(1, *SHAPE)).isfinite().all()


def test_windows_and_channels_are_the_old_layers() -> None:
    net = catalog.build("model", {"timm:resnet18": {"pooling": "p_norm"}}, size=64)
    assert isinstance(net.maxpool, PNormPool2d)
    assert (net.maxpool.kernel_size, net.maxpool.stride, net.maxpool.padding) == (3, 2, 1)
    net = catalog.build("model", {"timm:resnet18": {"activation": {"prelu": {"per_channel": True}}}}, size=64)
    slopes = {m.weight.numel() for m in net.modules() if isinstance(m, nn.PReLU)}
    assert slopes == {64, 128, 256, 512}


def test_gates_stay() -> None:
    net = timm.create_model("seresnet18", num_classes=2)
    gates = {name: type(m) for name, m in net.named_modules() if name.endswith("gate")}
    assert len(gates) == 8
    swap(net, "activation", "elu", SHAPE)
    assert {name: type(m) for name, m in net.named_modules() if name.endswith("gate")} == gates
    assert not any(isinstance(m, nn.ReLU) for m in net.modules())


def test_nothing_to_swap_is_said() -> None:
    with pytest.raises(UserError, match="no pooling that could be replaced; leave pooling out"):
        swap(nn.Sequential(nn.Conv2d(3, 2, 3)), "pooling", "max", SHAPE)


def test_a_run_starts_from_another_with_exchanged_layers_and_says_what_that_means(
    images: Path, tmp_path: Path
) -> None:
    words = ["model.resnet20.width=4", "train.epochs=1", "data.batch_size=16"]
    cs.train(images, out=tmp_path / "a", set=words)
    found = cs.train(
        images,
        out=tmp_path / "b",
        start_from=str(tmp_path / "a"),
        set=[*words, "model.resnet20.activation=prelu", "model.resnet20.norm=group"],
    )
    seen = [finding["seen"] for finding in found["findings"]]
    assert "the pretrained net's activation is exchanged: relu for prelu" in seen
    assert "the pretrained net's norm is exchanged: batch for group" in seen
    with pytest.raises(UserError, match=r"doesn't fit this net: conv1.weight is missing or of another shape"):
        cs.train(
            images,
            out=tmp_path / "c",
            start_from=str(tmp_path / "a"),
            set=["model.resnet20.width=8", "model.resnet20.activation=elu", "train.epochs=1"],
        )


def test_a_parametrized_normalization_is_not_lost() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    nn.utils.prune.l1_unstructured(net[1], "weight", amount=1)
    with pytest.raises(
        UserError, match="1: the weight of this norm is computed by L1Unstructured, which another"
    ):
        swap(net, "norm", "group", (1, 5, 5))
    assert isinstance(net[1], nn.BatchNorm2d)


def test_a_part_that_the_net_chooses_is_called_so() -> None:
    """A run of a NIN whose poolings were both max, continued by the paper's."""
    assert changes({"nin": {"pooling": "max"}}, "nin") == {"pooling": ("max", None)}
    assert swapped({"pooling": ("max", None)})[0].seen.endswith("pooling is exchanged: max for the net's own")
