"""Pictures start from trained weights wherever these can be had, and it is said why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file

import convsmith as cs
from conftest import make_images
from convsmith import recipe as recipes
from convsmith.advice.pretrained import LADDER, LEAST, SIDE, rung, side
from convsmith.inference.model_file import tensors_of
from convsmith.models import trained_weights
from convsmith.run.directory import RunDirectory

NET = f"timm:{LADDER[0][0]}"
WORDS = ["train.epochs=1", "train.device=cpu"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("photographs"), size=64, images=8)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package has weights, and the hub is switched off."""
    monkeypatch.setattr(trained_weights, "PACKAGES", {})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("nowhere")
def test_without_weights_it_says_so_and_how_to_get_them(photographs: Path) -> None:
    found = cs.advise(photographs, set=WORDS)
    (finding,) = [finding for finding in found["findings"] if finding["name"] == "from_scratch"]
    assert "the hub doesn't answer" in finding["seen"]
    assert f"`start_from={NET}` then begins with them" in finding["change"]
    assert "start_from" not in found["reasons"]
    assert "size: 64 " in found["recipe"], "nothing is enlarged for a net that learns from these images"


def test_small_images_named_nets_and_named_sources_are_left_alone(photographs: Path, images: Path) -> None:
    for data, words in (
        (images, []),
        (photographs, ["model=lenet5"]),
        (photographs, ["train.start_from=none"]),
        (photographs, ["train.start_from=null"]),
    ):
        found = cs.advise(data, set=[*WORDS, *words])
        assert not [finding for finding in found["findings"] if finding["name"] == "from_scratch"]
        assert "start_from" not in found["recipe"]


def test_a_net_of_photographs_gets_images_that_it_can_halve() -> None:
    recipe = recipes.load(None, [f"train.start_from={NET}"])
    assert side(recipe, LEAST - 1) is None
    assert side(recipe, SIDE) is None
    for own in (LEAST, 96, SIDE - 1):
        found = side(recipe, own)
        assert found is not None
        assert found[0] == SIDE
    assert side(recipes.load(None, ["train.start_from=none"]), 96) is None
    assert side(recipes.load(None, ["model=resnet20"]), 96) is None


def cached(hub: Path, name: str, *, blind: bool = False) -> dict[str, torch.Tensor]:
    """A cache as Hugging Face's library keeps it, with random weights of the right shapes; ``blind`` ones see
    no difference between images.
    """
    place = hub / f"models--timm--{name}.in1k"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("0" * 40)
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    torch.manual_seed(3)
    weights: dict[str, torch.Tensor] = timm.create_model(name).state_dict()
    if blind:
        weights["conv_stem.weight"].zero_()
    save_file(weights, snapshot / "model.safetensors")
    return weights


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("blind", [0, 1])
def test_more_minutes_buy_a_larger_net_if_it_sees_more(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blind: int
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for place, (name, _, _) in enumerate(LADDER[:2]):
        cached(tmp_path, name, blind=place == blind)
    costs = [cost for _, _, cost in LADDER]
    assert [rung(spare) for spare in (0.1, 1.01 * costs[1] / costs[0], 99)] == [0, 1, 1]
    few, many = (cs.advise(photographs, minutes=time, set=["train.device=cpu"]) for time in (1e-3, 1e3))
    assert few["reasons"]["model"].endswith("the smallest and quickest net with ImageNet's weights first")
    assert f"start_from: {NET}" in few["recipe"]
    taken = 1 - blind
    assert f"start_from: timm:{LADDER[taken][0]}" in many["recipe"]
    assert ("the minutes are enough for this one" in many["reasons"]["model"]) == bool(taken)
    named = cs.advise(photographs, start_from=NET, minutes=1e3, set=["train.device=cpu"])
    assert f"start_from: {NET}" in named["recipe"], "what was asked for stays"


@pytest.mark.usefixtures("nowhere")
def test_weights_in_the_cache_are_taken(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By images in grey."""
    weights = cached(tmp_path / "hub", LADDER[0][0])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for file in photographs.rglob("*.png"):
        target = tmp_path / "grey" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("L").save(target)
    cs.train(tmp_path / "grey", out=tmp_path / "run", device="cpu", set=["train.finetune=head"])
    recipe = recipes.load(tmp_path / "run/recipe.yaml")
    assert recipe.train.start_from == NET
    text = " ".join((tmp_path / "run/recipe.yaml").read_text().split())
    assert "in this machine's cache, license apache-2.0" in text
    assert recipe.data.size == SIDE
    kept, _ = tensors_of(tmp_path / "run/model.safetensors")
    torch.testing.assert_close(
        kept["model.conv_stem.weight"], weights["conv_stem.weight"].sum(1, keepdim=True), rtol=1e-4, atol=1e-5
    )
    assert (recipe.train.epochs, recipe.train.head_first) == (0, True), "the classifier is solved"
    page = (tmp_path / "run/report.html").read_text()
    assert "classifier solved, nothing trained" in page
    assert "Learning curves" not in page
    assert cs.diagnose(tmp_path / "run")["healthy"]
    assert [row["epoch"] for row in RunDirectory(tmp_path / "run").read_metrics()] == [0]


def test_one_image_a_class_is_too_few_to_ask_and_enough_to_train(tmp_path: Path) -> None:
    """No class has two training images: nothing is measured, and the classifier alone is solved."""
    make_images(tmp_path / "data", classes=4, images=2, size=64)
    run = cs.train(tmp_path / "data", out=tmp_path / "run", progress=False)
    recipe = (tmp_path / "run/recipe.yaml").read_text()
    assert run["best_epoch"] == 0
    assert "no probe can say how similar" in " ".join(recipe.replace("#", " ").split())
