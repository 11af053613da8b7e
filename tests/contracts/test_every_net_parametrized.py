"""What holds for every net whose weights are computed: masked, weight-normalized, pruned, wholly masked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import convsmith as cs
from conftest import Mask
from convsmith import catalog
from convsmith.errors import UserError
from convsmith.nn.computed import LAYERS, named_layers, read
from convsmith.nn.dense import to_fully_convolutional
from convsmith.nn.folding import folded
from convsmith.nn.receptive_field import Follow
from convsmith.nn.responses import captured
from convsmith.nn.stages import stages
from convsmith.nn.summary import summarize
from convsmith.nn.swap import swap
from convsmith.nn.units import lengths
from convsmith.nn.weights import stored, weights
from convsmith.objectives.objective import build as objective_of
from convsmith.run.directory import RunDirectory
from convsmith.training.average import exponential_average
from convsmith.training.task import Task


def masked(layer: nn.Module, share: float) -> None:
    keep = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(1)) >= share
    parametrize.register_parametrization(layer, "weight", Mask(keep.to(layer.weight)))


WAYS: dict[str, Callable[[nn.Module], object]] = {
    "mask": lambda layer: masked(layer, 0.5),
    "all masked": lambda layer: masked(layer, 1.0),
    "weight norm": parametrizations.weight_norm,
    "old weight norm": torch.nn.utils.weight_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "pruned twice": lambda layer: [prune.random_unstructured(layer, "weight", amount=0.3) for _ in range(2)],
}
EVERY = pytest.mark.parametrize("way", WAYS)
NETS = {"resnet20": {"width": 4}, "lenet5": {}, "nin": {}, "googlenet": {"size": 32}}
SHAPE = (3, 32, 32)
old_weight_norm = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
pytestmark = old_weight_norm


def build(name: str = "resnet20", way: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    given = {"num_classes": 3, "in_channels": 3, "size": 32, **NETS[name]}
    net: nn.Module = catalog.build("model", name, **given)
    for _, layer in list(net.named_modules()):
        if way is not None and isinstance(layer, LAYERS):
            WAYS[way](layer)
    return net


def by_hand(net: nn.Module) -> list[Tensor]:
    """The weights that the layers use, as a forward finds them."""
    net.eval()(torch.zeros(1, *SHAPE))
    net.train()
    return [layer.weight.detach().double() for _, layer in named_layers(net) if isinstance(layer, LAYERS)]


@EVERY
@pytest.mark.parametrize("name", NETS)
def test_weights_are_those_that_the_layers_use_by_the_plain_nets_names(name: str, way: str) -> None:
    net = build(name, way)
    found = weights(net)
    assert list(found) == list(weights(build(name)))
    for value, used in zip(found.values(), by_hand(net), strict=True):
        assert value.double().equal(used)
    behind = [id(p) for own in stored(net).values() for p in own]
    other = [p for n, p in net.named_parameters() if n.endswith("bias") or "norm" in n or "bn" in n]
    assert len(set(behind)) == len(behind)
    assert sorted(behind + [id(p) for p in other if id(p) not in behind]) == sorted(map(id, net.parameters()))


@EVERY
def test_penalties_read_the_computed_weight(way: str) -> None:
    net = build(way=way)
    own = by_hand(net)
    squares = sum(w.square().sum().item() for w in own)
    sizes = sum(w.abs().sum().item() for w in own)
    for term, expected in {
        "l2": 0.15 * squares,
        "l1": 0.3 * sizes,
        "elastic_net": 0.3 * sizes + 0.35 * squares,
    }.items():
        arguments = {"l1": 0.3, "l2": 0.7} if term == "elastic_net" else {"weight": 0.3}
        found = catalog.build("term", {term: arguments})(net)
        assert found.item() == pytest.approx(expected, rel=1e-5)


@EVERY
@pytest.mark.parametrize("term", ["l2", "l1", "elastic_net"])
def test_a_penaltys_gradient_reaches_what_is_stored(way: str, term: str) -> None:
    """Compared with differences of the penalty when one stored number moves."""
    net = build(way=way).double()
    penalty = catalog.build(
        "term", {term: {"l1": 0.3, "l2": 0.7} if term == "elastic_net" else {"weight": 0.3}}
    )
    penalty(net).backward()
    for own in (stored(net)["conv1.weight"], stored(net)["fc.weight"]):
        for parameter in own:
            place = int(parameter.detach().abs().flatten().argmax())
            assert parameter.grad is not None
            step = 1e-6
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[place] += sign * step
                    values.append(penalty(net).item())
                    parameter.view(-1)[place] -= sign * step
            slope = (values[0] - values[1]) / (2 * step)
            assert parameter.grad.flatten()[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "all masked"])
def test_max_norm_holds_and_learns(way: str) -> None:
    net = build(way=way)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    regularizer = catalog.build("regularizer", {"max_norm": {"limit": 0.4}})
    regularizer.attach(net, optimizer)
    zero = {name: value == 0 for name, value in weights(net).items()}
    images = torch.randn(4, *SHAPE)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        for (name, value), layer in zip(weights(net).items(), layers_of(net), strict=True):
            assert lengths(layer, value).max() <= 0.4 + 1e-5, name
            if "norm" not in way:
                assert not value[zero[name]].any(), "what is masked stays so"
    assert 0 < regularizer.figure().item() <= 1
    assert net.eval()(images).isfinite().all()


def layers_of(net: nn.Module) -> list[nn.Module]:
    return [layer for _, layer in named_layers(net) if isinstance(layer, LAYERS)]


@pytest.mark.parametrize("way", ["mask", "pruned"])
def test_max_norm_scales_what_lies_under_a_mask_along(way: str) -> None:
    """The direction of a unit's stored weights stays, also where they are hidden."""
    layer = nn.Linear(6, 4, bias=False)
    WAYS[way](layer)
    (original,) = stored(layer)["weight"]
    before = nn.functional.normalize(original.detach().clone())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    catalog.build("regularizer", {"max_norm": {"limit": 0.01}}).attach(layer, optimizer)
    layer(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    assert read(layer).norm(dim=1).allclose(torch.full((4,), 0.01), rtol=1e-4)
    assert nn.functional.normalize(original.detach()).allclose(before, atol=1e-5)


@EVERY
def test_max_norm_leaves_frozen_layers_alone(way: str) -> None:
    net = build(way=way)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    for parameter in net.fc.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.0)
    regularizer = catalog.build("regularizer", {"max_norm": {"limit": 0.01}})
    regularizer.attach(net, optimizer)
    before = {name: p.clone() for name, p in net.named_parameters()}
    net(torch.randn(2, *SHAPE)).sum().backward()
    optimizer.step()
    for name, parameter in net.named_parameters():
        if not name.startswith("fc"):
            assert parameter.equal(before[name]), name
    if way != "all masked":
        assert lengths(net.fc, read(net.fc)).max() <= 0.01 + 1e-6
        assert regularizer.figure() == 1, "frozen units don't count"


@EVERY
def test_classifier_noise(way: str) -> None:
    net = build(way=way)
    regularizer = catalog.build("regularizer", {"classifier_noise": {"ratio": 0.5}})
    regularizer.attach(net, torch.optim.SGD(net.parameters(), lr=0.1))
    images = torch.randn(2, *SHAPE)
    logits = [net(images) for _ in range(2)]
    assert logits[0].equal(logits[1]) == (way == "all masked"), "a masked classifier hears no noise"


@EVERY
@pytest.mark.parametrize("init", [name for name in catalog.names("init") if name != "zero"])
def test_init_fills_what_is_computed_or_refuses(way: str, init: str) -> None:
    net = build(way=way)
    fill = catalog.build("init", init)
    if "mask" in way:
        with pytest.raises(
            UserError, match=r"weight of \S+ is computed by Mask, which can't take a new value"
        ):
            fill(net)
        return
    plain = build()
    torch.manual_seed(5)
    fill(plain)
    torch.manual_seed(5)
    fill(net)
    for (name, value), wanted in zip(weights(net).items(), weights(plain).values(), strict=True):
        kept = value != 0
        assert kept.any(), name
        assert value[kept].allclose(wanted[kept], rtol=1e-4, atol=1e-7), name
        assert "pruned" not in way or not kept.all(), "the mask stays"


@EVERY
@pytest.mark.parametrize("name", NETS)
def test_summary_and_receptive_field_are_the_plain_nets(name: str, way: str) -> None:
    plain, net = summarize(build(name), SHAPE), summarize(build(name, way), SHAPE)
    assert net.macs == plain.macs
    for a, b in zip(net.rows, plain.rows, strict=True):
        assert (a.name, a.kind, a.shape, a.macs) == (b.name, b.kind, b.shape, b.macs)
        assert (a.receptive_field, a.stride) == (b.receptive_field, b.stride)
    assert net.parameters == sum(p.numel() for p in build(name, way).parameters())
    assert sum(row.parameters for row in net.rows) == net.parameters
    assert (net.parameters > plain.parameters) == ("norm" in way), "weight norm stores lengths too"


@EVERY
@pytest.mark.parametrize("name", NETS)
def test_stages_are_the_plain_nets_and_have_each_parameter_once(name: str, way: str) -> None:
    net = build(name, way)
    found = stages(net, SHAPE)
    assert found == stages(build(name), SHAPE)
    own = [id(p) for stage in found for p in stage.parameters(net)]
    assert sorted(own) == sorted(id(p) for p in net.parameters())


@EVERY
def test_the_running_average_averages_what_is_stored_and_copies_masks(way: str) -> None:
    net = build(way=way)
    average = exponential_average(net, decay=0.9)
    average.update_parameters(net)
    first = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
        for name, buffer in net.named_buffers():
            if name.endswith("mask"):
                buffer.copy_(1 - buffer)
            if name.endswith("running_mean"):
                buffer.add_(1.0)
    average.update_parameters(net)
    moved = 1 - 2 / 11  # d = (1 + 1) / (10 + 1) after one update
    for parameter, before in zip(average.module.parameters(), first, strict=True):
        assert parameter.allclose(before + moved, atol=1e-6)
    buffers = dict(net.named_buffers())
    for name, buffer in average.module.named_buffers():
        if name.endswith("mask"):
            assert buffer.equal(buffers[name]), name
        if name.endswith("running_mean"):
            assert buffer.allclose(torch.tensor(moved)), name
    assert average.module.eval()(torch.randn(1, *SHAPE)).isfinite().all()


@EVERY
def test_folding_answers_the_same(way: str) -> None:
    net = build(way=way)
    net(torch.randn(8, *SHAPE))
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert folded(net, SHAPE)(images).allclose(net.eval()(images), atol=1e-5)


@EVERY
def test_layers_are_found_by_their_plain_names(way: str) -> None:
    net = build(way=way)
    with captured(net, ["conv1"]) as seen:
        net(torch.randn(1, *SHAPE))
    assert seen["conv1"].shape == (1, 4, 32, 32)
    message = r"no layer 'conv1\.parametrizations'; choose from act1, bn1, conv1, drop"
    with pytest.raises(UserError, match=message), captured(net, ["conv1.parametrizations"]):
        pass
    assert swap(net, "activation", "elu", SHAPE)
    image = torch.zeros(1, *SHAPE)
    with torch.no_grad(), Follow(image) as follow:
        maps = net.conv1(image)
    assert follow.of(maps).spans[0].size == 3


@pytest.mark.parametrize("way", [way for way in WAYS if way != "old weight norm"])
def test_a_fully_convolutional_copy_computes_its_weights_as_the_net_does(way: str) -> None:
    net = build("lenet5", way).eval()
    dense = to_fully_convolutional(net, SHAPE)
    images = torch.randn(2, *SHAPE)
    assert dense(images).flatten(1).allclose(net(images), atol=1e-5)
    shapes = [value.shape for value in weights(dense).values()]
    assert torch.Size((500, 50, 5, 5)) in shapes
    assert [len(own) for own in stored(dense).values()] == [len(own) for own in stored(net).values()]
    before = [value == 0 for value in weights(dense).values()]
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.1)
    dense(images).square().sum().backward()
    optimizer.step()
    for zero, value in zip(before, weights(dense).values(), strict=True):
        assert not value[zero].any(), "what is masked stays masked in training"


def test_a_hook_that_cannot_go_over_is_refused() -> None:
    with pytest.raises(UserError, match="computed by WeightNorm can't become a convolution"):
        to_fully_convolutional(build("lenet5", "old weight norm"), SHAPE)


def test_a_weight_is_computed_once_a_forward_for_layer_and_terms() -> None:
    class Random(nn.Module):
        calls = 0

        def forward(self, weight: Tensor) -> Tensor:
            Random.calls += 1
            return weight * torch.rand(())

    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    parametrize.register_parametrization(net[1], "weight", Random())
    objective, _ = objective_of({"cross_entropy": {}, "l2": {"weight": 2.0}, "l1": {"weight": 1.0}})
    task = Task(net, objective)
    Random.calls = 0
    images = torch.eye(4).view(4, 1, 2, 2)
    terms, logits = task(images, torch.tensor([0, 1, 0, 1]))
    assert Random.calls == 1
    # The images are a basis: the logits are the very weight that the layer used.
    assert terms["l2"].item() == pytest.approx(logits.square().sum().item())
    assert terms["l1"].item() == pytest.approx(logits.abs().sum().item())
    task(images, torch.tensor([0, 1, 0, 1]))
    assert Random.calls == 2, "the next forward draws anew"


@EVERY
@pytest.mark.usefixtures("unhurried")
def test_it_trains_with_the_default_recipe_and_its_health_is_read(
    way: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither NaN nor warning; health.csv has the computed weight, and gradients of what is stored."""
    made = catalog.build

    def parametrized(kind: str, *args: object, **given: object) -> object:
        part = made(kind, *args, **given)
        if kind == "model":
            for layer in layers_of(part):  # type: ignore[arg-type]
                WAYS[way](layer)
        return part

    monkeypatch.setattr(catalog, "build", parametrized)
    gradients: list[float] = []
    values: list[float] = []

    class Watch:
        def on_start(self, state: object) -> None:
            self.state = state
            state.optimizer.optimizer.register_step_pre_hook(self.look)  # type: ignore[attr-defined]

        def look(self, *_: object) -> None:
            own = stored(self.state.task.model)["conv1.weight"]  # type: ignore[attr-defined]
            entries = torch.cat([p.grad.flatten() for p in own if p.grad is not None])
            gradients.append(entries.square().mean().item())

        def on_epoch_end(self, state: object) -> None:
            value = weights(state.task.model)["conv1.weight"]  # type: ignore[attr-defined]
            values.append(value.detach().square().mean().sqrt().item())

    words = [
        "model.resnet20.width=4",
        "train.epochs=2",
        "data.batch_size=16",
        "objective.max_norm={limit: 3}",
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*grad attribute of a Tensor that is not a leaf.*")
        cs.train(images, out=tmp_path / "run", set=[*words, "train.ema={decay: 0.9}"], callbacks=[Watch()])
    rows = RunDirectory(tmp_path / "run").read_table(RunDirectory(tmp_path / "run").health)
    found = {
        what: [float(r["value"]) for r in rows if r["what"] == what and r["name"] == "conv1.weight"]
        for what in ("gradient", "weight", "first_gradient")
    }
    per_epoch = len(gradients) // 2
    means = [sum(gradients[n * per_epoch : (n + 1) * per_epoch]) / per_epoch for n in range(2)]
    assert found["gradient"] == pytest.approx([math.sqrt(mean) for mean in means], rel=1e-4, abs=1e-12)
    assert found["first_gradient"] == pytest.approx([math.sqrt(gradients[0])], rel=1e-4, abs=1e-12)
    assert found["weight"] == pytest.approx(values, rel=1e-4, abs=1e-12)
    assert not any("parametrizations" in row["name"] or "orig" in row["name"] for row in rows)
    assert all(
        math.isfinite(float(value)) for value in RunDirectory(tmp_path / "run").read_metrics()[-1].values()
    )
    if way == "all masked":
        assert set(found["gradient"]) == {0.0}
