"""The rules about curves, at their edges, and on real short trainings with a planted fault."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.advice.curves import diagnose
from convsmith.advice.evidence import Evidence, gather
from convsmith.advice.live import overfits
from convsmith.run.directory import RunDirectory

LAYERS = ("conv1.weight", "conv2.weight", "fc1.weight", "fc.weight")
CLASSES = {str(k): 80 for k in range(10)}
# What every run's recipe says, and no rule about curves asks for.
OPEN = ("data.path=images", "data.size=16", "train.precision=32-true")


def evidence(*words: str, **given: Any) -> Evidence:
    """A healthy training of ten classes, with what is given in its place."""
    base = ["model=lenet5", "optimizer.sgd.lr=0.02", "data.batch_size=32", "data.augment={flip: {}}"]
    epochs = 12
    falling = [2.3 * 0.7**n for n in range(epochs)]
    column: dict[str, list[float]] = {
        "lr": [0.02 * (1 + math.cos(math.pi * n / epochs)) / 2 for n in range(1, epochs + 1)],
        "train_loss": falling,
        "val_loss": [loss + 0.05 for loss in falling],
        "val_accuracy": [min(0.96, 0.3 + 0.1 * n) for n in range(epochs)],
        "train_l2": [0.05] * epochs,
    }
    health = {
        "gradient": {name: [0.02] * epochs for name in LAYERS},
        "weight": {name: [0.1] * epochs for name in LAYERS},
        "dead": {"act": [0.05] * epochs},
        "predicted": {"answers": [0.12] * epochs, "true": [0.1] * epochs},
        "right": {"train": [0.97] * epochs, "val": [0.95] * epochs},
    }
    for key, values in given.pop("health", {}).items():
        health[key] = {**health.get(key, {}), **values}
    column |= given.pop("columns", {})
    rows = [dict(zip(column, row)) for row in zip(*column.values())]
    found = Evidence(
        recipe=recipes.load_plan(None, [*OPEN, *base, *words]),
        rows=rows,
        steps=[(1, n, 2.35) for n in range(1, 26)],
        health=health,
        counts={"train": CLASSES, "val": dict.fromkeys(CLASSES, 20)},
    )
    return replace(found, **given)


def names(e: Evidence) -> list[str]:
    return [finding.name for finding in diagnose(e)]


def test_channels_that_were_dead_before_are_not_this_trainings() -> None:
    dead = {"dead": {"act": [0.52] * 12}}
    assert "dead_units" in names(evidence(health=dead))
    assert "dead_units" not in names(evidence(health={**dead, "first_dead": {"act": [0.54]}}))
    worse = {"dead": {"act": [0.9] * 12}, "first_dead": {"act": [0.3]}}
    (finding,) = [own for own in diagnose(evidence(health=worse)) if own.name == "dead_units"]
    assert "90% of the channels of act" in finding.seen
    assert "30% before the training" in finding.seen


def test_a_healthy_training_has_no_findings() -> None:
    assert names(evidence()) == []


CASES: dict[str, Evidence] = {
    "exploding_gradients": evidence(steps=[(1, 1, 5e4)], rows=[]),
    "vanishing_gradients": evidence(
        columns={"train_loss": [2.301] * 12},
        health={"gradient": dict(zip(LAYERS, ([1e-5] * 12, [1e-3] * 12, [0.02] * 12, [0.02] * 12)))},
    ),
    "rate_too_high": evidence(steps=[(1, 1, 2.3), (1, 2, 9.0), (1, 3, math.nan)], rows=[]),
    "rate_too_low": evidence(
        columns={
            "lr": [2e-4] * 12,
            "train_loss": [2.3 - 0.01 * n for n in range(12)],
            "val_accuracy": [0.3] * 12,
        },
        health={"right": {"train": [0.3] * 12}},
    ),
    "collapse": evidence(
        counts={"train": {"a": 950, "b": 50}, "val": {"a": 190, "b": 10}},
        health={"predicted": {"answers": [1.0] * 12, "true": [0.95] * 12}},
    ),
    "label_noise": evidence(
        health={"right": {"train": [0.6] * 12, "val": [0.9] * 12}, "doubted": {"train": [0.3] * 12}}
    ),
    "rate_too_high_later": evidence(
        columns={
            "lr": [0.02] * 12,
            "train_loss": [2.3, 1.2, 1.0, 0.9, 0.88, 0.9, 0.87, 0.9, 0.88, 0.87, 0.9, 0.88],
            "val_loss": [2.3, 1.3, 1.1, 1.0, 1.3, 0.9, 1.2, 0.95, 1.3, 0.9, 1.25, 1.0],
        },
    ),
    "plateau": evidence(
        columns={
            "lr": [0.02] * 12,
            "train_loss": [2.3, 1.5, 1.1, 0.92, 0.9, 0.9, 0.9, 0.89, 0.9, 0.9, 0.89, 0.9],
            "val_loss": [2.3, 1.6, 1.2, 1.0, 0.98, 0.97, 0.98, 0.97, 0.98, 0.97, 0.98, 0.97],
        },
    ),
    "over_fitting": evidence(
        columns={"val_accuracy": [0.5, 0.7, 0.8, 0.8, 0.8, 0.75, 0.7, 0.65, 0.6, 0.6, 0.6, 0.6]},
        health={"right": {"train": [1.0] * 12}},
    ),
    "under_fitting": evidence(
        columns={
            "train_loss": [2.3, 1.8, 1.5, 1.3, 1.25, 1.2, 1.2, 1.15, 1.15, 1.12, 1.12, 1.12],
            "val_loss": [2.3, 1.8, 1.5, 1.3, 1.3, 1.2, 1.2, 1.2, 1.2, 1.17, 1.17, 1.17],
            "val_accuracy": [0.2, 0.4, 0.5, 0.55, 0.57, *[0.58] * 7],
        },
        health={"right": {"train": [0.6] * 12}},
    ),
    "dead_units": evidence(health={"dead": {"act": [0.7] * 12}}),
    "noisy_validation": evidence(counts={"train": CLASSES, "val": dict.fromkeys(CLASSES, 2)}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_named_alone_with_all_that_a_finding_says(name: str) -> None:
    found = diagnose(CASES[name])
    assert [finding.name for finding in found] == [name]
    (finding,) = found
    assert all((finding.seen, finding.means, finding.change, finding.why, finding.source))
    assert finding.epochs is not None
    # The change is one that a recipe takes.
    recipes.load(None, ["model=lenet5", *finding.set])


def test_the_notes_remedies() -> None:
    """A rate that is too high: a tenth; too low: larger; one that stays: let it fall."""
    (high,) = diagnose(CASES["rate_too_high"])
    assert high.set == ("optimizer.sgd.lr=0.002",)
    (low,) = diagnose(CASES["rate_too_low"])
    assert low.set == ("optimizer.sgd.lr=0.2",)
    (later,) = diagnose(CASES["rate_too_high_later"])
    assert later.set == ("schedule={cosine: {warmup: 1}}",)


def test_causes_hide_their_consequences() -> None:
    """A net that a rate has killed collapses and under-fits too; only the rate is named."""
    dead = evidence(
        columns={"train_loss": [2.31] * 12},
        health={
            "dead": {"act": [1.0] * 12},
            "predicted": {"answers": [1.0] * 12},
            "right": {"train": [0.1] * 12, "val": [0.1] * 12},
        },
    )
    assert names(dead) == ["rate_too_high"]


def test_a_gap_within_chance_is_no_over_fitting() -> None:
    few = {"train": CLASSES, "val": dict.fromkeys(CLASSES, 2)}
    falls = {"val_accuracy": [0.7, 0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]}
    right = {"right": {"train": [0.95] * 12}}
    assert names(evidence(counts=few, columns=falls, health=right)) == ["noisy_validation"]
    assert names(evidence(columns=falls, health=right)) == ["over_fitting"], "the same curve on 200 images"


def test_the_path_is_what_the_updates_add_up_to() -> None:
    """800 images in batches of 32: 25 updates an epoch of rate * 0.02 / (1 - 0.9) / 0.1."""
    e = evidence()
    assert e.path == pytest.approx(25 * sum(e.column("lr")) * 0.02 / 0.1 / 0.1)
    adam = evidence("optimizer={adam: {lr: 0.001}}", columns={"lr": [0.001] * 12})
    assert adam.path == pytest.approx(25 * 12 * 0.001 / 0.1)


def test_a_run_from_before_steps_were_kept_raises_no_alarm() -> None:
    assert names(evidence(steps=[])) == []
    assert names(evidence(steps=[], health={})) == []


REAL = {
    "rate_too_high": ["optimizer.sgd.lr=0.6"],
    "rate_too_low": ["optimizer.sgd.lr=0.0002", "train.epochs=4"],
    "label_noise": ["data.label_noise={type: symmetric, rate: 0.4}"],
    "vanishing_gradients": [
        "model={resnet20: {width: 4, plain: true, norm: none, activation: sigmoid, init: {gaussian: {}}}}",
        "train.epochs=3",
    ],
    "noisy_validation": ["data.val=0.018"],
    "": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_trainings(name: str, tmp_path: Path) -> None:
    """On handwritten digits, as in benchmarks/diagnosis.py."""
    base = ["model=lenet5", "data.size=16", "data.batch_size=32", "optimizer.sgd.lr=0.02", "train.epochs=10"]
    diverges = pytest.raises(cs.UserError) if name == "rate_too_high" else contextlib.nullcontext()
    with diverges:
        cs.train("digits", out=tmp_path / "run", set=[*base, "train.device=cpu", *REAL[name]])
    assert names(gather(RunDirectory(tmp_path / "run"))) == ([name] if name else [])


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(cs.UserError, match="holds no run to diagnose"):
        cs.diagnose(tmp_path)
    with pytest.raises(cs.UserError, match="`apply` and `out=NEWRUN` go together"):
        cs.diagnose(tmp_path, apply=True)


FOUR = ("conv1.weight", "layer1.weight", "layer2.weight", "fc.weight")


@pytest.mark.parametrize(("first", "grows"), [(9e2, False), (2e3, True), (math.inf, True), (math.nan, True)])
def test_gradients_that_grow_from_layer_to_layer_explode_at_any_loss(first: float, grows: bool) -> None:
    values = dict(zip(FOUR, [[first], [30.0], [1.0], [40.0]]))
    e = evidence("model={resnet56: {plain: true}}")
    e = replace(e, health={**e.health, "first_gradient": values})
    assert names(e) == (["exploding_gradients"] if grows else [])
    if grows:
        (finding,) = diagnose(e)
        assert (
            f"are {first:.2g} in the first layer (conv1.weight), 1 in the last before the classifier"
            in finding.seen
        )
        assert "model.resnet56.plain=false" in finding.set


def test_a_deep_net_without_shortcuts_has_exploding_gradients(tmp_path: Path, images: Path) -> None:
    words = ["train.epochs=1", "train.device=cpu", "data.batch_size=16"]
    for plain in (True, False):
        net = f"model={{resnet56: {{width: 4, plain: {str(plain).lower()}}}}}"
        cs.train(images, out=tmp_path / str(plain), set=[net, *words])
    assert names(gather(RunDirectory(tmp_path / "True")))[0] == "exploding_gradients"
    assert "exploding_gradients" not in names(gather(RunDirectory(tmp_path / "False")))


def imagenet(
    train: float,
    val: float,
    loss: float,
    *words: str,
    classes: int = 1000,
    images: int = 1_281_167,
    epochs: int = 90,
    schedule: str = "cosine",
    noise: float = 0.003,
) -> Evidence:
    """A healthy long training with published end points: (1 - error) rises and the loss falls to the last
    epoch.

    In a step schedule validation wanders at the high rate, and falls a little before each step.
    """
    r = np.random.default_rng(0)
    n = np.arange(epochs)
    if schedule == "cosine":
        lr, done = 0.05 * (1 + np.cos(np.pi * n / epochs)), (1 - np.cos(np.pi * (n + 1) / epochs)) / 2
    else:
        lr = 0.1 ** (1 + (3 * n // epochs))
        done = np.array([0.0, 0.8, 1.0])[3 * n // epochs] - 0.04 * (3 * n % epochs) / epochs
    early = 1 - np.exp(-(n + 1) / (epochs / 18))
    accuracy = val * early * (0.8 + 0.2 * done) + noise * r.standard_normal(epochs) * (lr / lr.max() + 0.05)
    chance = math.log(classes)
    losses = loss + (chance - loss) * (0.25 * (1 - done) + 0.75 * (1 - early))
    sample = 256
    right = r.binomial(sample, np.clip(train * early * (0.85 + 0.15 * done), 0, 1)) / sample
    each = [f"c{k}" for k in range(classes)]
    layers = ("conv1.weight", "layer1.weight", "layer2.weight", "fc.weight")
    return evidence(
        "data.batch_size=256",
        "optimizer.sgd.lr=0.1",
        *words,
        columns={
            "lr": lr.tolist(),
            "train_loss": losses.tolist(),
            "val_loss": (losses + 0.1).tolist(),
            "val_accuracy": accuracy.tolist(),
            "train_l2": [0.3] * epochs,
        },
        steps=[(1, b, chance) for b in range(1, 50)],
        health={
            "gradient": dict.fromkeys(layers, [2e-4] * epochs),
            "weight": dict.fromkeys(layers, [0.02] * epochs),
            "dead": {"act": [0.02] * epochs},
            "predicted": {"answers": [0.01] * epochs, "true": [0.01] * epochs},
            "right": {"train": right.tolist()},
            "sample": {"train": [float(sample)] * epochs},
        },
        counts={"train": dict.fromkeys(each, images // classes), "val": dict.fromkeys(each, 50)},
    )


# Single-crop top-1 on ImageNet's validation images of torchvision's pages (SqueezeNet 1.1 58.2%, AlexNet
# 56.5%,
# ResNets 69.8, 76.1 and 78.3%, MobileNetV2 71.9%, EfficientNet-B0 77.7%), timm's smallest nets, and He-level
# CIFAR nets; training accuracies and losses are estimates.
HEALTHY: dict[str, Evidence] = {
    "AlexNet": imagenet(0.66, 0.565, 1.9),
    "AlexNet, step": imagenet(0.62, 0.565, 1.9, schedule="step"),
    "SqueezeNet 1.1": imagenet(0.60, 0.582, 1.9),
    "SqueezeNet 1.1, smoothed": imagenet(0.60, 0.582, 2.7, "objective.cross_entropy.smoothing=0.1"),
    "lcnet_050": imagenet(0.62, 0.631, 1.8),
    "mobilenetv3_small_050": imagenet(0.57, 0.579, 2.0, epochs=300),
    "MobileNetV2": imagenet(0.74, 0.719, 1.3, epochs=300),
    "EfficientNet-B0": imagenet(0.80, 0.777, 1.9, "objective.cross_entropy.smoothing=0.1", epochs=350),
    "ResNet-18": imagenet(0.785, 0.698, 1.3),
    "ResNet-18, step": imagenet(0.785, 0.698, 1.3, schedule="step"),
    "ResNet-50": imagenet(0.87, 0.761, 0.95),
    "ResNet-50, step": imagenet(0.87, 0.761, 0.95, schedule="step"),
    "ResNet-152": imagenet(0.93, 0.783, 0.7),
    "ResNet-152, 600 epochs": imagenet(0.97, 0.823, 0.5, epochs=600),
    "CIFAR-100, ResNet-56": imagenet(0.995, 0.72, 0.03, classes=100, images=50_000, epochs=200),
    "CIFAR-100, ResNet-56, step": imagenet(
        0.995, 0.72, 0.03, classes=100, images=50_000, epochs=200, schedule="step"
    ),
    "CIFAR-100, ResNet-20": imagenet(0.75, 0.688, 0.9, classes=100, images=50_000, epochs=200),
    "CIFAR-10, ResNet-20": imagenet(0.985, 0.917, 0.05, classes=10, images=50_000, epochs=200),
    "200 classes": imagenet(0.72, 0.58, 1.3, classes=200, images=100_000),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_long_trainings_raise_no_alarm(name: str) -> None:
    assert names(HEALTHY[name]) == []
    assert overfits(HEALTHY[name].rows, 50_000) is None


def test_over_fitting_is_a_validation_accuracy_that_falls() -> None:
    """The same gap: healthy while validation rises to the end, over-fitting once it falls."""
    rising = HEALTHY["ResNet-152"]
    assert names(rising) == []
    falls = [dict(row) for row in rising.rows]
    for n, row in enumerate(falls[60:]):
        row["val_accuracy"] = 0.75 - 0.002 * n
    assert names(replace(rising, rows=falls)) == ["over_fitting"]


def test_few_images_known_by_heart_are_over_fitting() -> None:
    few = {"train": dict.fromkeys(CLASSES, 5), "val": dict.fromkeys(CLASSES, 60)}
    flat = {"val_accuracy": [0.3, 0.5, 0.6, 0.65, 0.68, 0.7, 0.7, 0.71, 0.7, 0.71, 0.7, 0.71]}
    right = {"right": {"train": [0.3, 0.6, 0.8, *[1.0] * 9]}}
    (found,) = diagnose(evidence(counts=few, columns=flat, health=right))
    assert (found.name, "hasn't risen for the second half" in found.seen) == ("over_fitting", True)
    late = {"right": {"train": [0.3, 0.4, 0.5, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.95, 0.98]}}
    (found,) = diagnose(evidence(counts=few, columns=flat, health=late))
    assert (found.name, "with 5 training images a class" in found.seen) == ("over_fitting", True)
    assert names(evidence(columns=flat, health=late)) == [], "80 a class, and not by heart for long"


def test_the_verdict_does_not_hang_on_256_images() -> None:
    """Of 12 draws of the images that health is measured on, none changes it."""
    e = HEALTHY["ResNet-50"]
    r = np.random.default_rng(1)
    for share in (r.binomial(256, 0.87, 12) / 256).tolist():
        own = {**e.health, "right": {"train": [share] * 90}}
        assert names(replace(e, health=own)) == []


@pytest.mark.parametrize(
    ("train", "val", "left", "found"),
    [
        (0.6, 0.58, 1.12, True),
        (0.6, 0.58, 0.6, False),  # most of the loss of guessing is gone
        (0.8, 0.78, 1.12, False),  # most is known
        (0.71, 0.55, 1.12, False),  # the two don't go together
    ],
)
def test_under_fitting_is_relative_to_guessing(train: float, val: float, left: float, found: bool) -> None:
    e = CASES["under_fitting"]
    rows = [{**row, "val_accuracy": val, "train_loss": left, "val_loss": left} for row in e.rows]
    rows[0] = {**rows[0], "train_loss": 2.3}
    # The images that training accuracy is measured on are many: their noise hides nothing here.
    own = {**e.health, "right": {"train": [train] * 12}, "sample": {"train": [10_000.0] * 12}}
    counts = {"train": CLASSES, "val": dict.fromkeys(CLASSES, 1000)}
    assert names(replace(e, rows=rows, health=own, counts=counts)) == (["under_fitting"] if found else [])


def test_labels_are_doubted_only_where_the_net_is_sure_of_another_class() -> None:
    """Spoiled training pictures are missed as often as wrong labels, but not with certainty."""
    right = {"train": [0.6] * 12, "val": [0.9] * 12}
    for doubted, found in ((0.3, ["label_noise"]), (0.1, [])):
        health = {"right": right, "doubted": {"train": [doubted] * 12}}
        assert names(evidence(health=health)) == found
    assert names(evidence(health={"right": right})) == [], "not known"
    gaps = [math.nan] * 11 + [0.3]
    assert names(evidence(health={"right": right, "doubted": {"train": gaps}})) == ["label_noise"]


@pytest.mark.parametrize(
    "objective", ["hinge", "ramp", "{hinge: {squared: true}}", "cross_entropy", "large_margin"]
)
def test_guessing_is_known_for_each_objective(objective: str) -> None:
    """A training that stays at the loss of guessing: the rate is too high where steps were long, else too
    low.
    """
    section = objective if "{" in objective else f"{{{objective}: {{}}}}"
    guess = evidence(f"objective={section}").chance
    assert guess == pytest.approx(
        math.log(10) if objective in ("cross_entropy", "large_margin") else 1.0, rel=1e-3
    )
    columns = {
        "train_loss": [1.02 * guess] * 12,
        "val_loss": [guess] * 12,
        "val_accuracy": [0.1] * 12,
        "train_accuracy": [0.1] * 12,
    }
    stays = evidence(
        f"objective={section}",
        columns=columns,
        health={"right": {"train": [0.1] * 12}},
        steps=[(1, 1, guess)],
    )
    assert names(stays) == ["rate_too_high"]
    # Weights that blew up at once: the gradients are nothing beside them afterwards.
    blown = {
        **stays.health,
        "weight": {name: [1e6] * 12 for name in LAYERS},
        "first_weight": {name: [0.1] for name in LAYERS},
    }
    rows = [{**row, "lr": 2.0} for row in stays.rows]
    assert names(replace(stays, rows=rows, health=blown)) == ["rate_too_high"]
    slow = replace(stays, rows=[{**row, "lr": 1e-6} for row in stays.rows])
    assert names(slow) == ["rate_too_low"]


def test_chance_follows_the_classes_shares() -> None:
    uneven = {"train": {"a": 900, "b": 50, "c": 50}}
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.05))
    assert evidence(counts=uneven).chance == pytest.approx(entropy, rel=1e-3)
    assert evidence("data.sampler=class_balanced", counts=uneven).chance == pytest.approx(
        math.log(3), rel=1e-3
    )
    assert evidence(counts=uneven).prior == 0.9


@pytest.mark.parametrize("objective", ["{large_margin: {m: 4}}", "{tukey: {}}"])
def test_a_loss_whose_scale_moves_is_not_read(objective: str) -> None:
    """Large margin at its authors' schedule: accuracy 96%, the training loss rises from 0.1 to 9."""
    columns = {
        "train_loss": [0.1] * 4 + [9.0] * 8,
        "val_loss": [0.1] * 4 + ([9.0] * 8 if "tukey" in objective else [0.1] * 8),
        "train_accuracy": [min(0.97, 0.3 + 0.15 * n) for n in range(12)],
    }
    steps = [(1, 1, 2.3), (9, 1, 12.0)]
    assert names(evidence(f"objective={objective}", columns=columns, steps=steps)) == []
    assert names(evidence(columns=columns, steps=steps)) == ["rate_too_high"], "cross-entropy's would be one"


def test_half_of_the_loss_that_falls_only_late_is_a_rate_too_high() -> None:
    late = [2.3, 2.3, 2.28, 2.25, 2.2, 2.1, 1.9, 1.6, 1.3, 1.0, 0.8, 0.7]
    (found,) = diagnose(evidence(columns={"train_loss": late, "val_loss": late}))
    assert found.name == "rate_too_high"
    assert "after half of the epochs 91% of the loss of guessing is left, and 30% at the end" in found.seen


@pytest.mark.parametrize(
    ("weight", "penalty", "found"), [(0.05, 5.0, True), (0.002, 5.0, False), (0.05, 0.05, False)]
)
def test_too_much_regularization_is_named_by_its_cause(weight: float, penalty: float, found: bool) -> None:
    e = evidence(f"objective.l2.weight={weight}", columns={"train_l2": [penalty] * 12})
    assert names(e) == (["under_fitting"] if found else [])
    if found:
        assert diagnose(e)[0].set == ("objective.l2.weight=0.0005",)


def test_the_last_epochs_are_trained_again_from_the_kept_net() -> None:
    """The notes' second remedy for a loss that bounces: a smaller rate, and the last epochs once more."""
    for name in ("rate_too_high_later", "plateau"):
        (found,) = diagnose(replace(CASES[name], kept="/runs/first"))
        assert "train.start_from=/runs/first" in found.set
        assert "optimizer.sgd.lr=0.002" in found.set
        assert "train.epochs=4" in found.set
        few = {"train": CLASSES, "val": dict.fromkeys(CLASSES, 2)}
        again = diagnose(replace(CASES[name], kept="/runs/first", counts=few))
        assert all("start_from" not in word for f in again for word in f.set), (
            "others may become validation's"
        )


def test_a_running_average_may_keep_its_rate() -> None:
    for name in ("rate_too_high_later", "plateau"):
        e = CASES[name]
        assert names(replace(e, recipe=e.recipe.changed({"train.ema": {"decay": 0.99}}))) == []


def test_fine_tuning_moves_little() -> None:
    slow = evidence(columns={"lr": [4e-3] * 12, "train_loss": [2.3 - 0.1 * n for n in range(12)]})
    path = slow.path * 0.1
    few = replace(slow, rows=[{**row, "lr": row["lr"] * 0.1} for row in slow.rows])
    assert 0.1 < path < 3
    assert "rate_too_low" in names(few)
    tuned = replace(few, recipe=few.recipe.changed({"train.start_from": "timm:resnet18"}))
    assert "rate_too_low" not in names(tuned)


def test_weights_that_grow_have_moved_whatever_their_gradients_say() -> None:
    """A ramp loss blown up by its first updates is flat: gradients are zero, but weights went from 0.1 to
    0.5.
    """
    grown = [0.3, *[0.5] * 11]
    health = {
        "weight": dict.fromkeys(LAYERS, grown),
        "gradient": {name: [0.0] * 12 for name in LAYERS},
        "first_weight": {name: [0.1] for name in LAYERS},
    }
    e = evidence(health=health)
    assert e.path == pytest.approx(math.sqrt(0.3**2 - 0.1**2) / 0.1 + math.sqrt(0.5**2 - 0.3**2) / 0.3)
    shrunk = evidence(health={**health, "weight": {name: [0.05] * 12 for name in LAYERS}})
    assert shrunk.path == 0, "decay moves nothing"


SHORT = {
    "lr": [2e-3] * 6,
    "train_loss": [2.3, 1.6, 1.1, 0.85, 0.7, 0.65],
    "val_loss": [2.3, 1.7, 1.2, 0.9, 0.8, 0.75],
    "val_accuracy": [0.1, 0.4, 0.6, 0.7, 0.75, 0.78],
}


def test_a_fall_to_a_third_in_six_epochs_is_not_slow() -> None:
    e = evidence(columns=SHORT, health={"right": {"train": [0.78] * 6}})
    assert e.path < 1
    assert "rate_too_low" not in names(e)


def test_few_updates_want_more_epochs_before_a_larger_rate() -> None:
    slow = evidence(
        columns={"lr": [2e-4] * 6, "train_loss": [2.3, 2.29, 2.2, 2.1, 2.05, 2.0], "val_accuracy": [0.3] * 6},
        health={"right": {"train": [0.3] * 6}},
    )
    assert names(slow) == ["rate_too_low"]
    few = {"train": dict.fromkeys(CLASSES, 8), "val": dict.fromkeys(CLASSES, 50)}
    (found,) = diagnose(replace(slow, counts=few))
    assert found.name == "too_few_updates"
    assert found.set == ("train.epochs=60",), "at most ten times as many"


def test_a_loss_that_stays_may_be_the_images() -> None:
    """A rate that moves nothing and images that say nothing look alike: both are named."""
    flat = {"lr": [2e-6] * 12, "train_loss": [2.303] * 12, "val_accuracy": [0.1] * 12}
    (found,) = diagnose(evidence(columns=flat, health={"right": {"train": [0.1] * 12}}))
    assert found.seen.startswith("the loss stays at 2.3, that of guessing, for 12 epochs")
    assert "the images don't tell the classes apart" in found.means
    assert "look at the images and their labels" in found.change
