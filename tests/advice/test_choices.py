"""What a recipe leaves open follows from the data, with a reason."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

import convsmith as cs
from conftest import make_images
from convsmith.advice import pretrained
from convsmith.advice.choice import Choice, applied
from convsmith.advice.choices import fill, planned, precision
from convsmith.advice.rate import TRAINED
from convsmith.advice.similarity import Similarity
from convsmith.advice.strategy import Source
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.errors import UserError
from convsmith.recipe import Data, Plan, load

DEFAULTS = ("data.normalize", "data.sampler", "objective", "schedule")


@pytest.fixture
def dataset(images: Path) -> Dataset:
    return open_data(Data(path=str(images)))


def filled(dataset: Dataset, *words: str) -> tuple[Plan, dict[str, str]]:
    return planned(load(overrides=["data.path=images", "train.precision=32-true", *words]), dataset)


def test_small_images_get_a_small_net_and_large_ones_one_that_subsamples(
    dataset: Dataset, tmp_path: Path
) -> None:
    recipe, reasons = filled(dataset)
    assert recipe.model == "resnet20"
    assert "16 pixels" in reasons["model"]
    large = open_data(Data(path=str(make_images(tmp_path, images=4, size=70))))
    assert filled(large)[0].model == "timm:resnet18"


def test_batch_and_rate_go_together(dataset: Dataset) -> None:
    """48 training images: batches of 32, and a quarter of the rate of 128 (Goyal et al. 2017)."""
    recipe, reasons = filled(dataset)
    assert recipe.data.batch_size == 32
    assert recipe.optimizer == {"sgd": {"lr": pytest.approx(0.025)}}
    assert "scaled to 32" in reasons["optimizer.sgd.lr"]
    assert filled(dataset, "data.batch_size=256")[0].optimizer == {"sgd": {"lr": pytest.approx(0.2)}}
    for model, most in (("lenet5", 0.03), ("nin", 0.01)):
        for batch, rate in ((32, most / 4), (128, most), (512, most)):
            words = f"model={model}", f"data.batch_size={batch}", "optimizer=sgd"
            assert filled(dataset, *words)[0].optimizer == {"sgd": {"lr": pytest.approx(rate)}}
    assert set(filled(dataset, "model=lenet5")[0].optimizer) == {"sgd"}
    recipe, reasons = filled(dataset, "model=nin")
    assert recipe.optimizer == {"adam": {"lr": 0.0003}}
    assert "without normalization" in reasons["optimizer"]
    assert filled(dataset, "model={nin: {norm: batch}}")[0].optimizer["sgd"]["lr"] == 0.025
    assert filled(dataset, "train.start_from=timm:resnet18")[0].optimizer == {"sgd": {"lr": 0.01}}
    assert filled(dataset, "optimizer.sgd.lr=0.3")[0].optimizer == {"sgd": {"lr": 0.3}}
    assert filled(dataset, "optimizer=adam")[0].optimizer == {"adam": {}}
    for name, rate in TRAINED.items():
        tuned = filled(dataset, f"optimizer={name}", "train.start_from=timm:resnet18")[0].optimizer
        assert tuned == {name: {"lr": rate}}
        assert rate <= 0.01 or name == "adadelta", "adadelta's is a factor of its own step"


def test_images_whose_class_has_a_side_and_grey_ones_are_not_mirrored(
    dataset: Dataset, tmp_path: Path
) -> None:
    recipe, reasons = filled(dataset)
    assert recipe.data.augment == {"crop": {"pad": 2}}, "the bar lies left, in the middle or right"
    assert "left and right differ" in reasons["data.augment"]
    make_images(tmp_path, images=4)
    for file in tmp_path.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    recipe, reasons = filled(open_data(Data(path=str(tmp_path))))
    assert recipe.data.augment == {"crop": {"pad": 2}}
    assert "no flip" in reasons["data.augment"]


def test_what_the_recipe_says_stays_and_nothing_is_left_open(dataset: Dataset) -> None:
    words = ["model=lenet5", "data.augment={}", "data.batch_size=7", "optimizer.sgd.lr=1"]
    recipe, reasons = filled(dataset, *words)
    # What stays at its default has its reason too.
    assert set(reasons) - set(DEFAULTS) == {"data.size", "train.epochs", "train.choose_by"}
    assert (recipe.model, recipe.data.augment, recipe.data.batch_size) == ("lenet5", {}, 7)
    assert recipe.data.size == 16


@pytest.mark.parametrize("words", [[], ["model=lenet5", "objective.l2=null", "train.finetune=head"]])
def test_choices_are_a_function_of_what_is_given(dataset: Dataset, words: list[str]) -> None:
    """Asked twice, the advice says the same, and leaves recipe and data set as they were."""
    recipe = load(overrides=words)
    source = Source(new_head=True, normalized=True, similarity=Similarity(0.9, 0.8, 100), length=3.0)
    before = recipe.model_copy(deep=True), copy.deepcopy(vars(dataset))
    first = [*fill(recipe, dataset, source), *pretrained.choose(recipe, dataset)[0]]
    assert first == [*fill(recipe, dataset, source), *pretrained.choose(recipe, dataset)[0]]
    assert recipe == before[0]
    assert recipe.model_fields_set == before[0].model_fields_set
    for name in ("findings", "reasons", "classes", "items", "size", "stored"):
        assert vars(dataset)[name] == before[1][name]
    keys = [choice.key for choice in first]
    assert "data.size" in keys
    assert ("train.finetune" in keys) == (not words), "what was chosen already is no choice"


def test_a_plan_does_not_change(dataset: Dataset) -> None:
    plan, _ = filled(dataset)
    with pytest.raises(ValidationError, match="frozen"):
        plan.model = "lenet5"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        plan.data.size = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Choice("model", "lenet5").key = "data"  # type: ignore[misc]


def test_a_plan_has_no_gaps(dataset: Dataset) -> None:
    recipe = load(overrides=["data.path=images"])
    with pytest.raises(UserError, match="train.precision is missing"):
        applied(recipe, fill(recipe, dataset))


def test_paths_hold_from_any_folder(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images.parent)
    dataset = open_data(Data(path=images.name))
    assert filled(dataset, f"data.path={images.name}")[0].data.path == str(images)
    assert filled(dataset, "data.path=digits")[0].data.path == "digits"


def test_a_cpu_computes_in_32_bits() -> None:
    assert precision("cpu")[0] == "32-true"


@pytest.mark.gpu
def test_a_gpu_trains_in_mixed_precision_without_a_flag(images: Path, tmp_path: Path) -> None:
    cs.train(images, out=tmp_path / "run", model="lenet5", set=["train.epochs=2", "optimizer.sgd.lr=0.02"])
    resolved = load(tmp_path / "run/recipe.yaml")
    assert resolved.train.precision in ("bf16-mixed", "16-mixed")
    assert cs.evaluate(tmp_path / "run", device="cpu").accuracy == pytest.approx(
        cs.evaluate(tmp_path / "run", device="cuda").accuracy, abs=0.1
    )


def test_places_that_techniques_name_survive_a_change_of_folder(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "costs.csv").write_text("x")
    plan, _ = filled(
        dataset,
        "data.costs.table.file=costs.csv",
        "objective={weighted_cross_entropy: {class_weight: {confusion: {run: costs.csv}}}}",
        "train.finetune.joint.source=nowhere",
    )
    absolute = str(tmp_path / "costs.csv")
    assert plan.data.costs == {"table": {"file": absolute}}
    assert plan.objective == {"weighted_cross_entropy": {"class_weight": {"confusion": {"run": absolute}}}}
    assert plan.train.finetune == {"joint": {"source": "nowhere"}}, "left for its own sentence"


def test_small_data_get_more_epochs_and_given_ones_stay(dataset: Dataset) -> None:
    recipe, reasons = filled(dataset)
    assert recipe.train.epochs == 100, "48 images in batches of 32: as many as are allowed"
    assert "200 updates" in reasons["train.epochs"]
    assert filled(dataset, "data.batch_size=1")[0].train.epochs == 84, "4000 updates of one image"
    assert filled(dataset, "train.epochs=7")[0].train.epochs == 7


def test_uneven_classes_are_evened_by_the_loss(tmp_path: Path) -> None:
    data = make_images(tmp_path, classes=3, images=40)
    for number in range(3, 40):
        (data / f"class2/{number:03d}.png").unlink()
    uneven = open_data(Data(path=str(data)))
    recipe, reasons = filled(uneven)
    assert set(recipe.objective) == {"logit_adjustment", "l2"}
    assert "16 times the images of the smallest" in reasons["objective"]
    for words in (["data.sampler=class_balanced"], ["objective.cross_entropy.smoothing=0.1"]):
        assert "cross_entropy" in filled(uneven, *words)[0].objective, "something was chosen already"


def test_the_four_strategies() -> None:
    """By the notes: few and similar, the last layer; enough, more, or all; few and unlike, as measured."""
    from convsmith.advice.strategy import STRATEGIES

    assert STRATEGIES[True, True] == "head"
    assert "last_stages" in STRATEGIES[False, True]
    assert "all_stages" in STRATEGIES[False, False]
    assert "all_stages" in STRATEGIES[True, False]
    assert set(STRATEGIES) == {(few, similar) for few in (True, False) for similar in (True, False)}


def test_every_choice_of_the_advice_is_a_line_with_its_reason(dataset: Dataset, tmp_path: Path) -> None:
    found = cs.advise(
        dataset.items[0].path.parents[1], write=tmp_path / "recipe.yaml", set=["train.device=cpu"]
    )
    recipe = load(tmp_path / "recipe.yaml")
    assert recipe.train.epochs == 100
    text = (tmp_path / "recipe.yaml").read_text()
    for key in (
        "data.size",
        "data.batch_size",
        "data.augment",
        "model",
        "optimizer.sgd.lr",
        "train.epochs",
        *DEFAULTS,
    ):
        assert found["reasons"][key] in text.replace("\n", " ") or found["reasons"][key][:40] in text, key
    assert found["estimate"]["updates"] == 200
    assert found["estimate"]["seconds"] > 0
    assert found["findings"][0]["seen"].startswith("48 train, 12 val images of 3 classes; 16 pixels")


def test_training_without_a_recipe_is_the_advice(images: Path, tmp_path: Path) -> None:
    """Word by word, but for what was only asked for."""
    cs.advise(images, write=tmp_path / "advice.yaml", set=["train.device=cpu", "train.epochs=1"])
    cs.train(images, out=tmp_path / "run", set=["train.device=cpu", "train.epochs=1"])
    assert load(tmp_path / "advice.yaml") == load(tmp_path / "run/recipe.yaml")


def test_minutes_lower_the_epochs(images: Path) -> None:
    found = cs.advise(images, minutes=1e-4, set=["train.device=cpu"])
    assert "as many as fit into 0.0001 minutes here" in found["recipe"]
    assert found["estimate"]["updates"] == 2, "one epoch"
