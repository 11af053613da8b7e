"""The rules about curves, at their edges, and on real short trainings with a planted fault."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.advice.curves import diagnose
from convsmith.advice.evidence import Evidence, gather
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
        health[key] = {**health[key], **values}
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


def test_a_healthy_training_has_no_findings() -> None:
    assert names(evidence()) == []


CASES: dict[str, Evidence] = {
    "exploding_gradients": evidence(steps=[(1, 1, 5e4)], rows=[]),
    "vanishing_gradients": evidence(
        columns={"train_loss": [2.301] * 12},
        health={"gradient": {"conv1.weight": [1e-5] * 12, "fc.weight": [0.02] * 12}},
    ),
    "rate_too_high": evidence(steps=[(1, 1, 2.3), (1, 2, 9.0), (1, 3, math.nan)], rows=[]),
    "rate_too_low": evidence(
        columns={"lr": [2e-4] * 12, "train_loss": [2.3 - 0.01 * n for n in range(12)]},
        health={"right": {"train": [0.3] * 12, "val": [0.3] * 12}},
    ),
    "collapse": evidence(
        counts={"train": {"a": 950, "b": 50}, "val": {"a": 190, "b": 10}},
        health={"predicted": {"answers": [1.0] * 12, "true": [0.95] * 12}},
    ),
    "label_noise": evidence(health={"right": {"train": [0.6] * 12, "val": [0.9] * 12}}),
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
    "over_fitting": evidence(health={"right": {"train": [1.0] * 12, "val": [0.7] * 12}}),
    "under_fitting": evidence(health={"right": {"train": [0.6] * 12, "val": [0.58] * 12}}),
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
    assert names(evidence(counts=few, health={"right": {"train": [0.95] * 12, "val": [0.8] * 12}})) == [
        "noisy_validation"
    ]


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
    values = dict(zip(FOUR, [[first], [30.0], [3.0], [1.0]]))
    e = evidence("model={resnet56: {plain: true}}")
    e = replace(e, health={**e.health, "first_gradient": values})
    assert names(e) == (["exploding_gradients"] if grows else [])
    if grows:
        (finding,) = diagnose(e)
        assert f"are {first:.2g} in the first layer (conv1.weight), 1 in the last (fc.weight)" in finding.seen
        assert "model.resnet56.plain=false" in finding.set


def test_a_deep_net_without_shortcuts_has_exploding_gradients(tmp_path: Path, images: Path) -> None:
    words = ["train.epochs=1", "train.device=cpu", "data.batch_size=16"]
    for plain in (True, False):
        net = f"model={{resnet56: {{width: 4, plain: {str(plain).lower()}}}}}"
        cs.train(images, out=tmp_path / str(plain), set=[net, *words])
    assert names(gather(RunDirectory(tmp_path / "True")))[0] == "exploding_gradients"
    assert "exploding_gradients" not in names(gather(RunDirectory(tmp_path / "False")))
