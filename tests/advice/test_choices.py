"""What a recipe leaves open follows from the data, with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import convsmith as cs
from conftest import make_images
from convsmith.advice.choices import _settle, fill, precision
from convsmith.data.dataset import Dataset, prepare
from convsmith.recipe import Data, Recipe, load


@pytest.fixture
def dataset(images: Path) -> Dataset:
    return prepare(Data(path=str(images)))


def filled(dataset: Dataset, *words: str) -> tuple[Recipe, dict[str, str]]:
    return fill(load(overrides=list(words)), dataset)


def test_small_images_get_a_small_net_and_large_ones_one_that_subsamples(
    dataset: Dataset, tmp_path: Path
) -> None:
    recipe, reasons = filled(dataset)
    assert recipe.model == "resnet20"
    assert "16 pixels" in reasons["model"]
    large = prepare(Data(path=str(make_images(tmp_path, images=4, size=70))))
    assert filled(large)[0].model == "timm:resnet18"


def test_batch_and_rate_go_together(dataset: Dataset) -> None:
    """48 training images: batches of 32, and a quarter of the rate of 128 (Goyal et al. 2017)."""
    recipe, reasons = filled(dataset)
    assert recipe.data.batch_size == 32
    assert recipe.optimizer == {"sgd": {"lr": pytest.approx(0.025)}}
    assert "scaled to 32" in reasons["optimizer.sgd.lr"]
    assert filled(dataset, "data.batch_size=256")[0].optimizer == {"sgd": {"lr": pytest.approx(0.2)}}
    assert filled(dataset, "model=lenet5")[0].optimizer == {"sgd": {"lr": 0.01}}
    assert filled(dataset, "train.start_from=timm:resnet18")[0].optimizer == {"sgd": {"lr": 0.01}}
    assert filled(dataset, "optimizer.sgd.lr=0.3")[0].optimizer == {"sgd": {"lr": 0.3}}
    assert filled(dataset, "optimizer=adam")[0].optimizer == {"adam": {}}


def test_grey_images_are_not_mirrored(dataset: Dataset, tmp_path: Path) -> None:
    assert filled(dataset)[0].data.augment == {"flip": {}, "crop": {"pad": 2}}
    make_images(tmp_path, images=4)
    for file in tmp_path.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    recipe, reasons = filled(prepare(Data(path=str(tmp_path))))
    assert recipe.data.augment == {"crop": {"pad": 2}}
    assert "no flip" in reasons["data.augment"]


def test_what_the_recipe_says_stays_and_nothing_is_left_open(dataset: Dataset) -> None:
    given = load(overrides=["model=lenet5", "data.augment={}", "data.batch_size=7", "optimizer.sgd.lr=1"])
    recipe, reasons = fill(given, dataset)
    assert set(reasons) == {"data.size"}
    assert (recipe.model, recipe.data.augment, recipe.data.batch_size) == ("lenet5", {}, 7)
    assert given.data.size is None, "the caller's recipe is left as it was"


def test_paths_hold_from_any_folder(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images.parent)
    dataset = prepare(Data(path=images.name))
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "costs.csv").write_text("x")
    section = {"table": {"file": "costs.csv"}, "other": {"class_weight": {"confusion": {"run": "nowhere"}}}}
    _settle(section)
    assert section["table"] == {"file": str(tmp_path / "costs.csv")}
    assert section["other"] == {"class_weight": {"confusion": {"run": "nowhere"}}}, (
        "left for its own sentence"
    )
