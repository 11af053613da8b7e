"""The counts of a net by name, of a run, of a file, of a module: the same for the same net."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith import catalog
from convsmith.data.signature import Signature
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer

Run = Callable[..., subprocess.CompletedProcess[str]]


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
    with pytest.raises(cs.UserError, match="3x32x32: its first layer reads 1 channels; give 1x32x32"):
        cs.summary(nn.Conv2d(1, 2, 3), (3, 32, 32))
    with pytest.raises(cs.UserError, match=r"there is no run or model file runs/gone"):
        cs.summary("runs/gone")
    with pytest.raises(cs.UserError, match=r"there is no model 'lenet'; did you mean 'lenet5'"):
        cs.summary("lenet")
    both = cs.Predictor.together([cs.load(saved), cs.load(saved)])
    with pytest.raises(cs.UserError, match="an ensemble has several"):
        cs.summary(both)


def test_options_change_the_net_that_is_counted(tmp_path: Path) -> None:
    """By the formula: batch normalization adds a scale and a shift for each map of vgg11's convolutions."""
    plain = cs.summary("vgg11", (3, 32, 32), 4)
    normed = cs.summary("vgg11", (3, 32, 32), 4, set="model.vgg11.norm=batch")
    convolutions = [row for row in plain.rows if row.kind == "Conv2d"]
    assert len(convolutions) == 8
    assert normed.parameters - plain.parameters == 2 * sum(row.shape[0] for row in convolutions)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {vgg11: {norm: batch}}\ndata: {size: 64}\ntrain: {epochs: 3}\n")
    assert cs.summary(recipe=recipe, num_classes=4).rows[0].shape == (64, 64, 64)
    assert cs.summary(recipe=recipe, num_classes=4, set={"data.size": 32}).rows == normed.rows


def test_options_of_a_stored_net_keep_its_classes_and_images(tmp_path: Path) -> None:
    net = catalog.build("model", {"resnet20": {"width": 4}}, num_classes=7, in_channels=1, size=24)
    signature = Signature(tuple("abcdefg"), 24, 1)
    Predictor.of(net, Normalizer(torch.zeros(1), torch.ones(1)), signature).save(tmp_path / "net")
    elu = cs.summary(tmp_path / "net", set=["model.resnet20.activation=elu"])
    assert [row.kind for row in elu.rows].count("ELU") == 19
    assert elu.parameters == sum(p.numel() for p in net.parameters())
    assert elu.macs == cs.summary(tmp_path / "net").macs
    wide = cs.summary(tmp_path / "net", set=["model.resnet20.width=8"])
    assert wide.rows == cs.summary("resnet20", (1, 24, 24), 7, set="model.resnet20.width=8").rows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vgg11", "--set", "model.vgg11.nrm=batch"], "did you mean 'norm'"),
        (
            ["vgg11", "--set", "model.resnet20.width=4"],
            "--set is about the net resnet20, and the net is vgg11",
        ),
        ([], "name what to list: a net (convsmith summary resnet20), a run, a model file"),
        (["--recipe", "gone.yaml"], "cannot read the recipe gone.yaml"),
        (["{net}", "--recipe", "gone.yaml"], "has a net already; name the run or a --recipe, not both"),
    ],
)
def test_mistakes_about_options(saved: Path, convsmith: Run, words: list[str], message: str) -> None:
    answer = convsmith("summary", *(word.format(net=saved) for word in words))
    assert answer.returncode == 2
    assert message in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_the_command_takes_options(saved: Path, convsmith: Run) -> None:
    answer = convsmith("summary", saved, "--set", "model.lenet5.activation=tanh", "--json")
    assert answer.returncode == 0, answer.stderr
    kinds = [row["kind"] for row in json.loads(answer.stdout.splitlines()[-1])["layers"]]
    assert "Tanh" in kinds
    assert "ReLU" not in kinds


def test_a_net_without_a_name_has_no_options(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 2))
    signature = Signature(("a", "b"), 8, 1)
    Predictor.of(net, Normalizer(torch.zeros(1), torch.ones(1)), signature).save(tmp_path / "net")
    with pytest.raises(cs.UserError, match="no name in the catalogue makes, so it has no options"):
        cs.summary(tmp_path / "net", set=["model.resnet20.width=4"])
    with pytest.raises(cs.UserError, match="a module's layers are what they are"):
        cs.summary(net, (1, 8, 8), set=["model.resnet20.width=4"])


def test_a_whole_section_is_a_net_by_name() -> None:
    text = "{with_convolution: {model: resnet20, convolution: deformable}}"
    section = {"with_convolution": {"model": "resnet20", "convolution": "deformable"}}
    assert cs.summary(text).rows == cs.summary(recipe={"model": section}).rows
    assert cs.summary(text).parameters > cs.summary("resnet20").parameters
