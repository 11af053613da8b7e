"""Trained weights are taken where they are at hand, and recommended where not."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

import convsmith as cs
from conftest import make_images
from convsmith import recipe as recipes
from convsmith.advice.pretrained import NET
from convsmith.inference.model_file import tensors_of

WORDS = ["train.epochs=1", "train.device=cpu"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("photographs"), size=64)


def test_without_weights_at_hand_they_are_recommended(photographs: Path) -> None:
    found = cs.advise(photographs, set=WORDS)
    (finding,) = [finding for finding in found["findings"] if finding["name"] == "from_scratch"]
    assert f"`start_from={NET}` begins with ImageNet's weights" in finding["change"]
    assert "start_from" not in found["reasons"]


def test_small_images_named_nets_and_named_sources_are_left_alone(photographs: Path, images: Path) -> None:
    for data, words in (
        (images, []),
        (photographs, ["model=lenet5"]),
        (photographs, ["train.start_from=null"]),
    ):
        found = cs.advise(data, set=[*WORDS, *words])
        assert not [finding for finding in found["findings"] if finding["name"] == "from_scratch"]


def test_weights_at_hand_are_taken(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache as Hugging Face's library keeps it, with weights of the right shapes."""
    hub = tmp_path / "hub"
    place = hub / "models--timm--resnet18.a1_in1k"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("0" * 40)
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    torch.manual_seed(3)
    weights = timm.create_model("resnet18").state_dict()
    save_file(weights, snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cs.train(photographs, out=tmp_path / "run", set=[*WORDS, "train.finetune=head"])
    recipe = recipes.load(tmp_path / "run/recipe.yaml")
    assert recipe.train.start_from == NET
    assert "in this machine's cache" in (tmp_path / "run/recipe.yaml").read_text().replace("\n  # ", " ")
    kept, _ = tensors_of(tmp_path / "run/model.safetensors")
    assert kept["model.conv1.weight"].equal(weights["conv1.weight"])
