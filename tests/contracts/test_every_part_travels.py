"""What holds for every part that a net of ours takes by name: a net with it is written by its name."""

from __future__ import annotations

import inspect

import pytest
import torch

from convsmith import catalog
from convsmith.data.signature import Signature
from convsmith.errors import UserError
from convsmith.inference import model_file
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer

KINDS = ("activation", "norm", "pooling", "dropout", "neck", "convolution", "global_pooling", "init")
PARTS = [(kind, name) for kind in KINDS for name in catalog.names(kind)]


@pytest.mark.parametrize(("kind", "name"), PARTS)
@pytest.mark.parametrize("model", ["resnet20", "nin"])
def test_a_net_with_the_part_is_written_by_its_name(model: str, kind: str, name: str) -> None:
    if kind not in inspect.signature(catalog.load("model", catalog.base_name(model))).parameters:
        pytest.skip(f"{model} takes no {kind}")
    try:
        net = catalog.build("model", {model: {"width": 4, kind: name}}, num_classes=3, in_channels=3, size=32)
    except UserError:
        pytest.skip("needs arguments, or doesn't fit")
    signature = Signature(tuple("abc"), 32, 3)
    found = model_file.draft(Predictor.of(net.eval(), Normalizer(torch.zeros(3), torch.ones(3)), signature))
    assert "spec" in found.structure.net
