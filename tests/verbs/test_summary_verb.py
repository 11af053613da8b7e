"""The counts of a net by name, of a run, of a file, of a module: the same for the same net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith import catalog
from convsmith.data.signature import Signature
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    net = catalog.build("model", "lenet5", num_classes=4, in_channels=1, size=20)
    signature = Signature(tuple("abcd"), 20, 1)
    Predictor.of(net, Normalizer(torch.zeros(1), torch.ones(1)), signature).save(tmp_path / "net")
    return tmp_path / "net"


def test_every_way_to_name_a_net_counts_the_same(saved: Path) -> None:
    by_name = cs.summary("lenet5", (1, 20, 20), 4)
    opened = cs.load(saved)
    for model in (saved, saved / "model.safetensors", opened):
        assert cs.summary(model).rows == by_name.rows
    assert cs.summary(opened.module, (1, 20, 20)).rows == by_name.rows
    assert by_name.parameters == sum(p.numel() for p in opened.module.parameters())


def test_it_prints_as_a_table(saved: Path) -> None:
    found = cs.summary(saved)
    lines = repr(found).splitlines()
    assert len(lines) == len(found.rows) + 2
    assert all(f"{row.parameters:,}" in line for row, line in zip(found.rows, lines[1:]))
    assert lines[-1] == f"{found.parameters:,} parameters, {found.macs:,} multiply-accumulates an image"


def test_refusals(saved: Path) -> None:
    with pytest.raises(cs.UserError, match="say for which images"):
        cs.summary(nn.Conv2d(1, 2, 3))
    with pytest.raises(cs.UserError, match="can't take images of 3x32x32"):
        cs.summary(nn.Conv2d(1, 2, 3), (3, 32, 32))
    with pytest.raises(cs.UserError, match=r"there is no run or model file runs/gone"):
        cs.summary("runs/gone")
    with pytest.raises(cs.UserError, match=r"there is no model 'lenet'; did you mean 'lenet5'"):
        cs.summary("lenet")
    both = cs.Predictor.together([cs.load(saved), cs.load(saved)])
    with pytest.raises(cs.UserError, match="an ensemble has several"):
        cs.summary(both)
