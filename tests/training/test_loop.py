from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from convsmith.advice.choices import planned
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.errors import UserError
from convsmith.nn.manners import with_features
from convsmith.recipe import Data, load
from convsmith.training import loop
from convsmith.training.assemble import assemble
from convsmith.training.average import exponential_average
from convsmith.training.callbacks import EarlyStopping
from convsmith.training.loop import Fit, _rank, fit, train_epoch


@pytest.fixture
def dataset(images: Path) -> Dataset:
    return open_data(Data(path=str(images)))


def assembled(dataset: Dataset, *words: str) -> Fit:
    base = [
        "data.path=images",
        "model=lenet5",
        "data.batch_size=12",
        "train.epochs=2",
        "data.augment={}",
        "train.device=cpu",
    ]
    recipe, _ = planned(load(overrides=[*base, *words]), dataset)
    return assemble(recipe, dataset, Fabric(accelerator="cpu", devices=1))


def weights(state: Fit) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in state.model.parameters()])


def no_call(event: str) -> None:
    pass


def test_an_epoch_is_what_a_plain_loop_does(dataset: Dataset) -> None:
    """The same batches through a loop written out by hand give the same weights and the same loss."""
    words = (
        "optimizer.sgd.lr=0.05",
        "optimizer.sgd.nesterov=false",
        "schedule=constant",
        "objective.l2.weight=0.01",
    )
    state = assembled(dataset, *words)
    plain = assembled(dataset, *words)
    net = plain.task.model.train()
    decayed = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    losses, count = 0.0, 0
    for batch in plain.train.epoch(0):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(batch.images), batch.targets)
        loss.backward()
        optimizer.step()
        losses += loss.item() * batch.count
        count += batch.count
    train_epoch(state, no_call)
    assert count == 48
    assert torch.allclose(weights(state), weights(plain), atol=1e-6)
    assert state.sums["train_cross_entropy"].item() == pytest.approx(losses, rel=1e-5)
    assert state.sums["train_count"].item() == 48


def test_accumulated_batches_are_one_large_batch(dataset: Dataset) -> None:
    """4 batches of 12 accumulated take the step of one batch of 48; so do 3 of 16 with a group left over."""
    large = assembled(dataset, "data.batch_size=48", "objective.l2.weight=0.01")
    train_epoch(large, no_call)
    for words in (("data.batch_size=12", "train.accumulate=4"), ("data.batch_size=16", "train.accumulate=5")):
        small = assembled(dataset, *words, "objective.l2.weight=0.01")
        train_epoch(small, no_call)
        assert torch.allclose(weights(small), weights(large), atol=1e-5)


def test_clipping_bounds_the_step(dataset: Dataset) -> None:
    words = ("data.batch_size=48", "optimizer.sgd.momentum=0", "schedule=constant", "optimizer.sgd.lr=1.0")
    state = assembled(dataset, *words, "train.clip=0.001")
    before = weights(state)
    train_epoch(state, no_call)
    assert (weights(state) - before).norm().item() == pytest.approx(0.001, rel=1e-3)


def test_rate_follows_the_schedule_batch_by_batch(dataset: Dataset) -> None:
    state = assembled(dataset, "optimizer.sgd.lr=0.2", "schedule.cosine.warmup=0")
    rates: list[float] = []

    class Note:
        def on_batch_end(self, state: Fit) -> None:
            rates.append(state.optimizer.param_groups[0]["lr"])

    fit(state, [Note()])
    assert rates == pytest.approx([0.2 * state.schedule(step / 4, 2) for step in range(8)])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_at_once(dataset: Dataset, poison: float) -> None:
    state = assembled(dataset)
    batches: list[int] = []

    class Poison:
        def on_batch_end(self, state: Fit) -> None:
            batches.append(state.batch)
            if state.batch == 2:
                with torch.no_grad():
                    state.model.fc.bias.fill_(poison)

    with pytest.raises(
        UserError, match="the loss became nan in epoch 1, batch 3.*learning rate is probably too high"
    ):
        fit(state, [Poison()])
    assert batches[-1] <= 3


def test_real_divergence_is_named(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="`train.clip=1`"):
        fit(assembled(dataset, "optimizer.sgd.lr=1e6", "train.epochs=20"))


def test_early_stopping_keeps_the_best_epoch(dataset: Dataset) -> None:
    state = assembled(dataset, "train.epochs=50", "optimizer.sgd.lr=0.05")
    improved: list[int] = []

    class Note:
        def on_improvement(self, state: Fit) -> None:
            improved.append(state.epoch)

    fit(state, [EarlyStopping(patience=3), Note()])
    assert state.best is not None
    assert state.stop == "no better epoch in the last 3"
    assert state.epoch == state.best["epoch"] + 3 < 50
    assert improved[-1] == state.best["epoch"]
    best = max(state.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert best["epoch"] == state.best["epoch"]


def test_average_is_what_is_evaluated(dataset: Dataset) -> None:
    state = assembled(dataset, "train.ema.decay=0.9", "train.epochs=1")
    fit(state)
    assert state.average is not None
    assert state.model is state.average.module
    assert not torch.allclose(weights(state), torch.cat([p.flatten() for p in state.task.model.parameters()]))
    net, right, losses = state.model.eval(), 0, 0.0
    for batch in state.val.epoch(0):
        logits = net(batch.images)
        right += int((logits.argmax(1) == batch.targets).sum())
        losses += F.cross_entropy(logits, batch.targets, reduction="sum").item()
    assert state.history[0]["val_accuracy"] == right / 12
    assert state.history[0]["val_loss"] == pytest.approx(losses / 12, rel=1e-5)


def test_validation_leaves_no_trace(dataset: Dataset) -> None:
    """Norms' statistics and modes after an epoch are those of the training batches alone."""
    from convsmith.training.loop import validate

    state = assembled(dataset, "model=resnet20")
    before = {key: value.clone() for key, value in state.task.state_dict().items()}
    state.wrapped.train()
    validate(state)
    assert all(value.equal(before[key]) for key, value in state.task.state_dict().items())
    assert all(module.training for module in state.task.modules())


def test_a_term_may_read_features_and_head(dataset: Dataset) -> None:
    """Features and head reach a term, in the same single forward."""
    from convsmith.objectives.objective import Objective
    from convsmith.training.task import Task

    class Product(nn.Module):
        def forward(self, features: torch.Tensor, head: Any, input: torch.Tensor) -> torch.Tensor:
            assert torch.allclose(head(features), input)
            return features.square().mean()

    state = assembled(dataset)
    task = Task(state.task.model, Objective({"product": Product()}))
    batch = next(iter(state.train.epoch(0)))
    terms, logits = task(batch.images, batch.targets)
    assert torch.allclose(logits, state.task.model(batch.images), atol=1e-6)
    assert terms["product"] > 0


def test_it_learns(dataset: Dataset) -> None:
    """From chance to nearly all right on images that differ in one bar."""
    state = fit(assembled(dataset, "train.epochs=12", "optimizer.sgd.lr=0.02"))
    assert state.history[0]["train_loss"] > 0.5
    assert state.history[-1]["train_accuracy"] == 1.0
    assert state.best is not None
    assert state.best["val_accuracy"] == 1.0


def test_mixed_precision_learns_the_same(dataset: Dataset) -> None:
    base = assembled(dataset, "train.epochs=1")
    words = ["data.path=images", "model=lenet5", "data.batch_size=12", "train.epochs=1", "data.augment={}"]
    recipe, _ = planned(load(overrides=words), dataset)
    mixed = assemble(recipe, dataset, Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    fit(base)
    fit(mixed)
    assert mixed.history[0]["train_loss"] == pytest.approx(base.history[0]["train_loss"], rel=0.05)
    assert next(mixed.model.parameters()).dtype == torch.float32


def _can_compile() -> bool:
    return bool(shutil.which("g++")) and Path(sysconfig.get_path("include"), "Python.h").exists()


def test_compiling_without_a_compiler_is_refused(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"train.compile needs a C\+\+ compiler; install one"):
        assembled(dataset, "train.compile=true")
    (tmp_path / "g++").touch(0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match=r"train.compile needs Python's headers; install them"):
        assembled(dataset, "train.compile=true")


@pytest.mark.slow
@pytest.mark.skipif(not _can_compile(), reason="needs a C++ compiler and Python's headers")
def test_compiled_learns_the_same(dataset: Dataset) -> None:
    plain, fast = (
        assembled(dataset, "train.epochs=1"),
        assembled(dataset, "train.epochs=1", "train.compile=true"),
    )
    fit(plain)
    fit(fast)
    assert torch.allclose(weights(plain), weights(fast), atol=1e-4)


@pytest.mark.gpu
def test_on_the_gpu(dataset: Dataset) -> None:
    """CPU and GPU agree on an epoch within float tolerance, and the pixels live on the GPU."""
    cpu = assembled(dataset, "train.epochs=1")
    words = ["data.path=images", "model=lenet5", "data.batch_size=12", "train.epochs=1", "data.augment={}"]
    recipe, _ = planned(load(overrides=words), dataset)
    gpu = assemble(recipe, dataset, Fabric(accelerator="cuda", devices=1))
    fit(cpu)
    fit(gpu)
    assert gpu.train.split.store.pixels.is_cuda  # type: ignore[attr-defined]
    assert gpu.history[0]["train_loss"] == pytest.approx(cpu.history[0]["train_loss"], rel=1e-2)


def test_each_term_is_logged_in_validation_too(dataset: Dataset) -> None:
    """By name, as the terms say for the net that is evaluated; the loss is the sum of those that read
    images.
    """
    state = assembled(dataset, "objective={cross_entropy: {}, center: {weight: 0.1}, l2: {weight: 0.01}}")
    fit(state)
    row = state.history[-1]
    net, centers = state.model.eval(), state.task.objective.terms["center"].centers
    (batch,) = state.val.epoch(0)
    features, logits = with_features(net, batch.images)
    assert row["val_cross_entropy"] == pytest.approx(F.cross_entropy(logits, batch.targets).item(), rel=1e-5)
    spread = (features - centers[batch.targets]).square().sum(1).mean().item()
    assert row["val_center"] == pytest.approx(0.05 * spread, rel=1e-5)
    squares = sum(p.square().sum().item() for p in net.parameters() if p.ndim > 1)
    assert row["val_l2"] == pytest.approx(0.005 * squares, rel=1e-5)
    assert row["val_loss"] == pytest.approx(row["val_cross_entropy"] + row["val_center"])


def test_a_tie_is_broken_by_the_loss_only_where_epochs_compare(dataset: Dataset) -> None:
    state = assembled(dataset)
    first, second = ({"val_accuracy": 0.5, "val_loss": loss} for loss in (2.0, 1.0))
    assert _rank(state, second) > _rank(state, first)
    state.task.objective.terms["cross_entropy"].comparable = ()
    assert _rank(state, second) == _rank(state, first), "the first of them stays"


def test_validation_within_an_epoch_keeps_the_best(dataset: Dataset) -> None:
    """A net that is only good after the second of four batches is kept as it was there; no row is added,
    and the
    training is the one without looks.
    """
    looked: list[tuple[int, int]] = []

    class Spoil:
        def on_batch_end(self, state: Fit) -> None:
            if state.batch == 3:
                with torch.no_grad():
                    state.model.fc.bias[0] += 1e4

        def on_improvement(self, state: Fit) -> None:
            looked.append((state.epoch, state.batch))

    plain = assembled(dataset, "train.epochs=1", "optimizer.sgd.lr=0.02")
    state = assembled(dataset, "train.epochs=1", "optimizer.sgd.lr=0.02", "train.validate_every=2")
    fit(plain, [Spoil()])
    fit(state, [Spoil()])
    assert looked[0] == (1, 0)
    assert looked[1:] == [(0, 2)]
    assert state.best is not None
    assert (state.best["epoch"], state.best["batch"]) == (1, 2)
    assert [set(row) for row in state.history] == [set(row) for row in plain.history]
    assert weights(state).equal(weights(plain))


def test_looks_follow_the_updates_and_leave_frozen_layers_alone(dataset: Dataset) -> None:
    """Every batch asked for, gradients over two: after the second and the fourth, the latter being the
    epoch's end.
    """
    state = assembled(dataset, "train.validate_every=1", "train.accumulate=2", "train.epochs=1")
    modes: list[bool] = []
    state.freeze = lambda share: state.task.model.act.eval() and None
    seen: list[int] = []
    whole = loop.validate

    class Note:
        def on_batch_end(self, state: Fit) -> None:
            modes.append(state.task.model.act.training)

    def validate(state: Fit) -> Any:
        seen.append(state.batch)
        return whole(state)

    try:
        loop.validate = validate
        fit(state, [Note()])
    finally:
        loop.validate = whole
    assert seen == [2, 4]
    assert modes == [False, False]


def test_an_average_counts_without_asking_the_device(dataset: Dataset) -> None:
    """After a checkpoint it goes on counting where it was."""
    net = nn.Linear(1, 1)
    average = exponential_average(net, 0.9)
    for _ in range(3):
        average.update_parameters(net)
    again = exponential_average(net, 0.9)
    again.load_state_dict(average.state_dict())
    with torch.no_grad():
        net.weight += 1
    for each in (average, again):
        each.update_parameters(net)
    assert again.module.weight.equal(average.module.weight)
    assert again.n_averaged == 4
