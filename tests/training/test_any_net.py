"""A net that no name builds trains, resumes, and trains on as any other; its true layers are seen."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as pruning
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import convsmith as cs
from conftest import Mask, make_images
from convsmith.nn.computed import read
from convsmith.training.loop import Fit
from convsmith.training.planning import planned
from convsmith.verbs.words import recipe_of

WORDS = ["data.batch_size=12", "train.device=cpu", "optimizer.sgd.lr=0.02"]


class Own(nn.Module):
    """Of a user: functional operations, a branch on the size, a view, and no method of timm's."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.out = nn.Linear(6 * 16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        if x.shape[2] > 4:
            x = F.adaptive_avg_pool2d(x, 4)
        x = F.dropout(x, 0.1, self.training)
        logits: Tensor = self.out(x.view(x.size(0), -1))
        return logits


def factorized() -> nn.Module:
    net = Own()
    net.stem = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.Conv2d(2, 6, 1))  # type: ignore[assignment]
    net.out = nn.Sequential(nn.Linear(96, 4, bias=False), nn.Linear(4, 3))  # type: ignore[assignment]
    return net


def masked() -> nn.Module:
    net = Own()
    mask = (torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    parametrize.register_parametrization(net.stem, "weight", Mask(mask))
    return net


def pruned() -> nn.Module:
    from convsmith import catalog

    net: Any = catalog.build("model", {"resnet20": {"width": 8}}, num_classes=3, in_channels=3)
    pruning.pruner.MagnitudePruner(
        net,
        torch.randn(1, 3, 16, 16),
        pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[net.fc],
    ).step()
    return net  # type: ignore[no-any-return]


NETS = {"own": Own, "factorized": factorized, "masked": masked, "pruned": pruned}
EVERY = pytest.mark.parametrize("name", NETS)


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]()


@EVERY
def test_it_trains_and_trains_on_with_all_that_reads_layers(name: str, images: Path, tmp_path: Path) -> None:
    """With L2, max-norm and a running average; health, inspection and summary see its convolutions."""
    module = made(name)
    before = copy.deepcopy(module.state_dict())
    words = [*WORDS, "objective.max_norm.limit=2", "train.ema.decay=0.9", "objective.center.weight=0.001"]
    run = cs.train(images, out=tmp_path / "run", model=module, epochs=2, set=words)
    assert all(value.equal(before[key]) for key, value in module.state_dict().items()), "a copy is trained"
    again = cs.train(images, out=tmp_path / "on", start_from=run, epochs=2, set=words)
    convolutions = [key for key, layer in module.named_modules() if isinstance(layer, nn.Conv2d)]
    for place in (run.path, again.path):
        with open(place / "health.csv", newline="") as stream:
            measured = {row["name"] for row in csv.DictReader(stream) if row["what"] == "weight"}
        assert {f"{key}.weight" for key in convolutions} <= measured
        assert cs.inspect(place)["zero_share"].keys() >= {"act"} if name != "pruned" else True
        layers = {row.name: row for row in cs.summary(place).rows}
        assert all(layers[key].kind == "Conv2d" and layers[key].macs > 0 for key in convolutions)
        loss = [row["train_l2"] for row in cs.Run({"run": str(place)}).metrics]
        assert min(loss) > 0
    net = again.model().module
    if name == "masked":
        mask = module.stem.parametrizations.weight[0].mask  # type: ignore[union-attr, index]
        assert net.stem.parametrizations["weight"][0].mask.equal(mask), "not averaged"  # type: ignore[union-attr, index]
        assert not net.stem.weight[mask == 0].any()  # type: ignore[union-attr, index]
    if name == "pruned":
        shapes = {key: value.shape for key, value in module.state_dict().items()}
        assert {key: value.shape for key, value in net.state_dict().items()} == shapes


class Stop:
    def on_batch_end(self, state: Fit) -> None:
        if state.epoch == 1:
            raise MemoryError("stopped in the second epoch")


@EVERY
def test_stopped_and_resumed_it_is_the_same_training(name: str, images: Path, tmp_path: Path) -> None:
    """With the module and without it, as from the command line: the run holds what it began with."""
    words = [*WORDS, "train.checkpoint_minutes=0"]
    whole = cs.train(images, out=tmp_path / "whole", model=made(name), epochs=3, set=words)
    expected = whole.model().module.state_dict()
    for module in (None, made(name)):
        out = tmp_path / f"parts {module is None}"
        with pytest.raises(MemoryError):
            cs.train(images, out=out, model=made(name), epochs=3, set=words, callbacks=[Stop()])
        parts = cs.train(out=out, resume=True, model=module)
        losses = [[row["val_loss"] for row in run.metrics] for run in (whole, parts)]
        assert losses[0] == losses[1]
        found = parts.model().module.state_dict()
        assert all(value.equal(found[key]) for key, value in expected.items())


@EVERY
def test_one_call_of_fit_trains_it_in_place(name: str, images: Path) -> None:
    module = made(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = cs.fit(module, images, epochs=2, set=WORDS)
    assert [row["epoch"] for row in state.history] == [1, 2]
    # A bias before a batch normalization has no gradient.
    still = [key for key, p in module.named_parameters() if p.ndim > 1 and p.equal(before[key])]
    assert not still


def test_fit_is_the_training_that_train_does(images: Path, tmp_path: Path) -> None:
    """The same rows of metrics, epoch by epoch."""
    run = cs.train(images, out=tmp_path / "run", model=made("own"), epochs=2, set=WORDS)
    state = cs.fit(made("own"), images, epochs=2, set=WORDS)
    for mine, theirs in zip(state.history, run.metrics, strict=True):
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"])
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"])


@pytest.mark.gpu
@EVERY
def test_on_a_gpu_it_travels_and_trains_on(name: str, images: Path, tmp_path: Path) -> None:
    """Saved from a GPU, opened on the CPU and moved back: the same answers; then trained on there."""
    words = ["data.batch_size=12", "train.precision=32-true"]
    run = cs.train(images, out=tmp_path / "run", model=made(name), epochs=2, set=words, device="cuda")
    there, here = cs.load(run).to("cuda"), cs.load(run)
    pixels = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    torch.testing.assert_close(there.outputs(pixels), here.outputs(pixels), atol=1e-2, rtol=1e-2)
    there.save(tmp_path / "again")
    torch.testing.assert_close(cs.load(tmp_path / "again").outputs(pixels), here.outputs(pixels))
    more = cs.train(images, out=tmp_path / "on", start_from=run, epochs=1, set=words, device="cuda")
    assert 0 <= more["accuracy"] <= 1
    half = cs.load(run).to("cuda")
    half.module.half()
    half.save(tmp_path / "half")
    again = cs.load(tmp_path / "half").to("cuda")
    assert again.outputs(pixels).equal(half.outputs(pixels))


def test_other_classes_get_a_new_head_at_zero(images: Path, tmp_path: Path) -> None:
    run = cs.train(images, out=tmp_path / "run", model=made("own"), epochs=1, set=WORDS)
    others = make_images(tmp_path / "others", classes=4, images=10)
    ready = planned(recipe_of(others, None, run, None, ["train.device=cpu"]))
    assert ready.initial is not None
    assert ready.initial.new_head
    assert not ready.initial.model.get_classifier().weight.any()  # type: ignore[operator]
    old = run.model().module.state_dict()
    kept = [key for key, value in ready.initial.model.state_dict().items() if value.equal(old[key])]
    assert {"stem.weight", "norm.running_mean"} <= set(kept)
    done = cs.train(others, out=tmp_path / "on", start_from=run, epochs=1, set=["train.device=cpu"])
    assert any("its classifier" in finding["seen"] for finding in done["findings"])


def test_a_fresh_module_trains_from_scratch_and_a_trained_one_takes_small_steps(
    tmp_path: Path,
) -> None:
    data = make_images(tmp_path / "data", images=60)
    words = ["data.batch_size=12", "train.device=cpu"]
    module = made("own")
    fresh = planned(recipe_of(data, None, None, None, words), module=module)
    assert "He et al.'s 0.1" in fresh.reasons["optimizer.sgd.lr"]
    cs.fit(module, data, epochs=8, set=WORDS)
    trained = planned(recipe_of(data, None, None, None, words), module=module)
    assert "trained already" in trained.reasons["optimizer.sgd.lr"]
    assert trained.plan.train.epochs < fresh.plan.train.epochs


def test_refusals(images: Path, tmp_path: Path) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = Gate()
            self.out = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.gate(x).mean((2, 3)))  # type: ignore[no-any-return]

    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(cs.UserError, match=r"layer gate \(Gate\) can't be written to a model file"):
        cs.train(images, out=tmp_path / "a", model=Branches(), epochs=1, set=WORDS)
    with pytest.raises(cs.UserError, match="can't take images of 3x16x16"):
        cs.train(images, out=tmp_path / "b", model=nn.Sequential(nn.Conv2d(1, 2, 3)), epochs=1, set=WORDS)
    with pytest.raises(cs.UserError, match=r"must give one tensor of logits \(N, K\)"):
        cs.train(images, out=tmp_path / "c", model=nn.Conv2d(3, 2, 3), epochs=1, set=WORDS)
    one = cs.train(images, out=tmp_path / "one", model=made("own"), epochs=1, set=WORDS)
    cs.Predictor.together([one.model(), one.model()]).save(tmp_path / "both")
    with pytest.raises(cs.UserError, match="an ensemble isn't trained on as one"):
        cs.train(images, out=tmp_path / "d", start_from=tmp_path / "both", epochs=1, set=WORDS)
    with pytest.raises(cs.UserError, match=r"holds a net that resnet20 doesn't build"):
        cs.train(images, out=tmp_path / "e", start_from=one, model="resnet20", epochs=1, set=WORDS)


def test_a_plan_changes_nothing_that_it_was_given(images: Path) -> None:
    """Twice the same recipe, module and data give the same plan, and are as they were."""
    module = made("own")
    recipe = recipe_of(images, None, None, None, WORDS)
    before = recipe.model_dump(), copy.deepcopy(module.state_dict())
    first, second = (planned(recipe, module=module) for _ in range(2))
    assert first.plan == second.plan
    assert recipe.model_dump() == before[0]
    assert all(value.equal(before[1][key]) for key, value in module.state_dict().items())
    with pytest.raises(Exception, match="frozen"):
        first.plan.data.size = 3


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_a_net_of_another_type_is_trained_in_float32_and_says_so(
    images: Path, tmp_path: Path, kind: torch.dtype
) -> None:
    first = cs.train(images, model=Own(), out=tmp_path / "first", epochs=1, set=WORDS)
    opened = first.model()
    opened.module.to(kind)
    opened.save(tmp_path / "other")
    run = cs.train(images, start_from=tmp_path / "other", out=tmp_path / "second", epochs=1, set=WORDS)
    assert any("trained in float32" in found["seen"] for found in run["findings"])
    assert {p.dtype for p in run.model().module.parameters()} == {torch.float32}
    net = Own().to(kind)
    assert cs.fit(net, images, epochs=1, set=WORDS).history
    assert net.out.weight.dtype == torch.float32


def test_a_net_pruned_by_torch_itself_trains(images: Path, tmp_path: Path) -> None:
    net = Own()
    prune.l1_unstructured(net.stem, "weight", amount=0.5)
    zeros = net.stem.weight == 0
    run = cs.train(images, model=net, out=tmp_path / "run", epochs=1, set=WORDS)
    assert (read(run.model().module.get_submodule("stem"), "weight")[zeros] == 0).all()


def test_a_fit_leaves_what_may_learn_as_it_was(images: Path) -> None:
    net = Own()
    net.norm.weight.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]
    cs.fit(net, images, epochs=1, set=[*WORDS, "train.finetune=head"])
    assert [p.requires_grad for p in net.parameters()] == before


def test_a_net_without_weights_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(cs.UserError, match="has no weights, so there is nothing to train"):
        cs.train(images, model=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), out=tmp_path / "run")
