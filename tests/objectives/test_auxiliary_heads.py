"""Heads inside of a net: the formula, whom they teach, and that nothing of them stays."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convsmith as cs
from convsmith import catalog
from convsmith.errors import UserError
from convsmith.objectives.auxiliary_heads import AuxiliaryHeads
from convsmith.objectives.objective import build

SHAPE = (3, 12, 12)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Conv2d(4, 6, 3),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def test_the_sum_of_the_heads_cross_entropies_on_maps_large_and_small() -> None:
    own, x, target = net(), torch.randn(5, *SHAPE), torch.tensor([0, 1, 2, 1, 0])
    term = AuxiliaryHeads(own, SHAPE, 3, layers=["1", "3"], weight=0.3, hidden=16, dropout=0.0)
    large, small = term.heads
    own(x)
    value = term(own, target)
    maps, last = own[:2](x), own[:4](x)
    expected = torch.zeros(())
    for head, pooled in ((large, F.avg_pool2d(maps, 5, 3)), (small, last.mean((2, 3), keepdim=True))):
        y = F.relu(head[1](pooled)).flatten(1)  # type: ignore[index, operator]
        expected = expected + F.cross_entropy(head[7](F.relu(head[4](y))), target)  # type: ignore[index, operator]
    assert value.item() == pytest.approx(0.3 * expected.item(), rel=1e-5)
    assert large[4].in_features == 128 * 3 * 3  # type: ignore[index, union-attr]


def test_heads_are_the_papers() -> None:
    """Szegedy et al. 2015, section 5: 4x4x512 and 4x4x528 after the pooling, 128 filters, 1024 units, 70%."""
    own = catalog.build("model", "googlenet")
    term = AuxiliaryHeads(own, (3, 224, 224), 1000)
    assert [head[1].in_channels for head in term.heads] == [512, 528]  # type: ignore[index, union-attr]
    assert {(h[1].out_channels, h[4].in_features, h[4].out_features) for h in term.heads} == {
        (128, 2048, 1024)
    }  # type: ignore[index, union-attr]
    assert (term.weight, term.heads[0][6].p) == (0.3, 0.7)  # type: ignore[index, union-attr]


def test_layers_below_a_head_get_its_gradient_and_those_above_none() -> None:
    own = net()
    term = AuxiliaryHeads(own, SHAPE, 3, layers=["1"], hidden=16)
    own(torch.randn(5, *SHAPE))
    term(own, torch.tensor([0, 1, 2, 1, 0])).backward()
    assert own[0].weight.grad.any()  # type: ignore[union-attr, operator]
    assert own[3].weight.grad is None
    assert all(parameter.grad is not None for parameter in term.parameters())
    assert not term.seen, "maps are let go"


def test_in_evaluation_and_of_layers_that_did_not_run_it_is_zero() -> None:
    own, target = net(), torch.tensor([0])
    term = AuxiliaryHeads(own, SHAPE, 3, layers=["1"], hidden=16)
    assert term(own, target) == 0
    own.eval()(torch.randn(1, *SHAPE))
    assert not term.seen
    own.train()(torch.randn(1, *SHAPE))
    assert term.eval()(own, target) == 0
    own(torch.randn(0, *SHAPE))
    assert term.train()(own, target[:0]) == 0, "a process without images"


def test_nothing_of_it_stays_with_the_net() -> None:
    own = net()
    before = list(own.state_dict())
    term = AuxiliaryHeads(own, SHAPE, 3, layers=["1"], hidden=16)
    assert list(own.state_dict()) == before
    assert not [key for key in term.state_dict() if not key.startswith("heads.")]
    copy.deepcopy(own).train()(torch.randn(2, *SHAPE))
    assert not term.seen, "a copy, as a running average is, speaks for itself"
    del term
    gc.collect()
    own(torch.randn(2, *SHAPE))
    copy.deepcopy(own)


def test_mistakes_are_named() -> None:
    for layers, words in ((["10"], "the net has no layer '10'.*layers"), (["4"], "layer '4' gives no maps")):
        with pytest.raises(UserError, match=words):
            AuxiliaryHeads(net(), SHAPE, 3, layers=layers)
    with pytest.raises(UserError, match="objective auxiliary_heads is for classes"):
        build({"auxiliary_heads": {}, "squared": {}}, targets="numbers")


def test_a_training_learns_with_heads_and_stores_a_net_without(images: Path, tmp_path: Path) -> None:
    heads = {"layers": ["0"], "hidden": 16}
    recipe = {"objective": {"cross_entropy": {}, "auxiliary_heads": heads}, "train": {"epochs": 1}}
    run = cs.train(images, out=tmp_path / "a", recipe=recipe, model=_plain())
    columns = (tmp_path / "a" / "metrics.csv").read_text().splitlines()
    named = dict(zip(columns[0].split(","), columns[-1].split(",")))
    assert float(named["train_auxiliary_heads"]) > 0
    assert float(named["val_auxiliary_heads"]) == 0
    assert {key.split(".")[0] for key in cs.load(tmp_path / "a").module.state_dict()} == {"0", "4"}
    assert run["epochs"] == 1


def _plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def test_another_nets_layers_are_answered_with_the_parts_of_this_one() -> None:
    resnet = catalog.build("model", "resnet20", num_classes=3, in_channels=3, size=12)
    with pytest.raises(UserError, match="'inception4a'; choose from conv1, layer1, layer2, layer3; name"):
        AuxiliaryHeads(resnet, SHAPE, 3)
