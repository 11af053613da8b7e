from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith import catalog
from convsmith.errors import UserError
from convsmith.models.lenet import lenet5
from convsmith.nn.norms import by_unit
from convsmith.nn.weights import weights
from convsmith.objectives.penalties import L1, L2
from convsmith.objectives.regularizers import ClassifierNoise, MaxNorm, project
from convsmith.run.directory import RunDirectory


def test_projection_shortens_long_units_and_leaves_short_ones() -> None:
    torch.manual_seed(0)
    w = torch.randn(6, 3, 2, 2) * torch.arange(1.0, 7).view(6, 1, 1, 1)
    before = w.clone()
    limit = 6.0
    longer = project(w, limit)
    lengths = before.flatten(1).norm(dim=1)
    assert longer.equal(lengths > limit)
    for unit in range(6):
        expected = before[unit] * min(1.0, limit / lengths[unit].item())
        assert torch.allclose(w[unit], expected)


def test_max_norm_holds_after_each_update() -> None:
    torch.manual_seed(0)
    net = lenet5(size=16, num_classes=3)
    torch.nn.init.constant_(net.fc.bias, 3.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    constraint = MaxNorm(limit=0.5)
    constraint.attach(net, optimizer)
    for _ in range(3):
        net(torch.randn(4, 1, 16, 16)).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        for weight in weights(net).values():
            assert by_unit(weight).max() <= 0.5 + 1e-5
    assert 0 < constraint.figure().item() <= 1
    assert net.fc.bias.abs().max() > 0.5, "biases are free"


def test_max_norm_of_chosen_layers() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    for layer in net:
        nn.init.constant_(layer.weight, 5.0)
        layer.weight.grad = torch.zeros(3, 3)
    MaxNorm(limit=1.0, layers=["1"]).attach(net, optimizer)
    optimizer.step()
    assert by_unit(net[0].weight)[0] > 8
    assert by_unit(net[1].weight)[0].item() == pytest.approx(1.0)


def test_max_norm_leaves_a_stage_alone_until_it_wakes() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    for layer in net:
        nn.init.constant_(layer.weight, 5.0)
    net[0].requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    constraint = MaxNorm(limit=1.0)
    constraint.attach(net, optimizer)
    for awake, share in ((False, 1.0), (False, 0.0), (True, 0.5)):
        net[0].requires_grad_(awake)
        optimizer.zero_grad()
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        assert by_unit(net[0].weight).max().item() == pytest.approx(1.0 if awake else 5 * 3**0.5)
        assert constraint.figure().item() == share, "of the units that learn"
    net.requires_grad_(False)
    optimizer.step()
    assert constraint.figure().item() == 0


def test_max_norm_refuses_when_attached_what_it_cannot_shorten() -> None:
    class Squared(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight.square()

    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    nn.utils.parametrize.register_parametrization(net[1], "weight", Squared())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(UserError, match="max_norm can't scale the weights of 1: Squared computes them"):
        MaxNorm().attach(net, optimizer)
    MaxNorm(layers=["0"]).attach(net, optimizer)


def test_noise_finds_the_classifier_of_any_net() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2), nn.ReLU())
    noise = ClassifierNoise(ratio=0.5)
    noise.attach(net, torch.optim.SGD(net.parameters(), lr=0.1))
    net(torch.ones(1, 3))
    assert noise.figure() > 0
    assert len(net[1]._forward_pre_hooks) == 1


def test_noise_has_its_deviation_in_training_and_is_absent_in_test() -> None:
    torch.manual_seed(0)
    net = lenet5(size=16, num_classes=3)
    with torch.no_grad():
        net.fc.weight.copy_(torch.eye(3, 500))
        net.fc.bias.zero_()
    noise = ClassifierNoise(ratio=0.5)
    noise.attach(net, torch.optim.SGD(net.parameters(), lr=0.1))
    images = torch.randn(1, 1, 16, 16).expand(4000, 1, 16, 16)
    net.eval()
    quiet = net(images)
    features = net.forward_head(net.forward_features(images[:1]), pre_logits=True)
    net.train()
    noisy = net(images) - quiet
    expected = 0.5 * features.square().mean().sqrt().item()
    assert quiet.var(0).max() < 1e-8
    assert noisy.std().item() == pytest.approx(expected, rel=0.05)
    assert noise.figure().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", catalog.names("regularizer"))
def test_each_is_visible_by_name_in_metrics_and_report(name: str, images: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    words = ["model.resnet20.width=4", "train.epochs=2", "data.batch_size=16", f"objective.{name}={{}}"]
    cs.train(images, out=run.path, set=words)
    rows = run.read_metrics()
    assert all(f"train_{name}" in row for row in rows)
    assert name in run.report.read_text()


def test_a_resumed_run_with_regularizers_is_the_same(images: Path, tmp_path: Path) -> None:
    words = [
        "model.resnet20.width=4",
        "data.batch_size=16",
        "objective={cross_entropy: {}, center: {}, elastic_net: {}, max_norm: {limit: 1}, "
        "classifier_noise: {}}",
    ]

    class Stop:
        def on_epoch_end(self, state: object) -> None:
            if state.epoch == 1:  # type: ignore[attr-defined]
                raise RuntimeError("killed")

    cs.train(images, out=tmp_path / "whole", set=[*words, "train.epochs=2"])
    with pytest.raises(RuntimeError, match="killed"):
        cs.train(images, out=tmp_path / "cut", set=[*words, "train.epochs=2"], callbacks=[Stop()])
    cs.train(out=tmp_path / "cut", resume=True)
    a, b = (RunDirectory(tmp_path / name).read_metrics() for name in ("whole", "cut"))
    for one, other in zip(a, b):
        for key in one:
            if key not in ("seconds", "images_per_second"):
                assert one[key] == other[key], key


def test_noise_in_half_precision_and_without_images() -> None:
    """Squares of features above 255 exceed float16; a process may have no images."""
    noise = ClassifierNoise(ratio=0.5)
    head = nn.Linear(1000, 1).half()
    noise.attach(head, torch.optim.SGD(head.parameters(), 0.1))
    seen: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head(torch.full((4, 1000), 300.0).half())
    assert noise.figure().item() == pytest.approx(150)
    assert seen[0].float().std().item() == pytest.approx(150, rel=0.1)
    head(torch.zeros(0, 1000).half())
    assert noise.figure().item() == pytest.approx(150)


def test_penalties_of_a_large_half_precision_layer() -> None:
    layer = nn.Linear(2000, 1000).half()
    torch.nn.init.constant_(layer.weight, 0.5)
    assert L1(1.0)(layer).item() == pytest.approx(1e6)
    assert L2(1.0)(layer).item() == pytest.approx(2.5e5)
