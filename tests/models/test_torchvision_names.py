"""torchvision's weights, under its names, give torchvision's outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from convsmith import catalog
from convsmith.models.torchvision_names import renamed

SAME: list[tuple[str, dict[str, object], Callable[..., nn.Module]]] = [
    ("alexnet", {"branches": 1, "norm": "none"}, torchvision.models.alexnet),
    ("vgg11", {}, torchvision.models.vgg11),
    ("vgg13", {"norm": "batch"}, torchvision.models.vgg13_bn),
    ("resnet18", {}, torchvision.models.resnet18),
    ("resnet50", {}, torchvision.models.resnet50),
    ("squeezenet1_0", {}, torchvision.models.squeezenet1_0),
    ("squeezenet1_1", {}, torchvision.models.squeezenet1_1),
    ("googlenet", {"large": 3, "norm": {"batch": {"eps": 1e-3}}}, torchvision.models.googlenet),
]


@pytest.mark.parametrize(("name", "arguments", "theirs"), SAME, ids=[name for name, _, _ in SAME])
def test_equal_outputs(name: str, arguments: dict[str, object], theirs: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    options = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    reference = theirs(weights=None, **options).eval()
    for layer in reference.modules():
        if isinstance(layer, nn.BatchNorm2d):  # statistics that matter
            layer.running_mean.normal_(std=0.1)  # type: ignore[union-attr, operator]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    net = catalog.build("model", {name: arguments}).eval()
    net.load_state_dict(renamed(reference.state_dict(), net))
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(net(images), reference(images), atol=1e-5)


def test_our_own_names_stay() -> None:
    net = catalog.build("model", "alexnet", size=63, num_classes=2)
    state = net.state_dict()
    assert renamed(state, net).keys() == state.keys()


def test_a_run_starts_from_torchvisions_file(tmp_path: Path, images: Path) -> None:
    """The file as torchvision's state_dict, saved safely; the head of 1000 classes is replaced."""
    from convsmith import recipe as recipes
    from convsmith.data.opened import open_data
    from convsmith.training.source import initial

    torch.manual_seed(0)
    reference = torchvision.models.squeezenet1_1(weights=None)
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    recipe = recipes.load(
        None, ["model=squeezenet1_1", f"train.start_from={tmp_path / 'weights.safetensors'}"]
    )
    begin = initial(recipe, open_data(recipes.Data(path=str(images), size=32)))
    assert begin.new_head
    assert "the head (fc.weight, fc.bias) is new" in begin.findings[0].seen
    net: Any = begin.model
    assert net.features[0].weight.equal(reference.features[0].weight)
