"""Files, targets and sizes that a model can't take are one sentence each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convsmith as cs
from conftest import make_images
from convsmith.nn.trace import trace
from convsmith.nn.traced import Traced


def test_a_net_that_takes_no_image_of_this_size_is_refused_with_the_key(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", classes=2, images=8)
    words = ["model={resnet18: {norm: instance}}", "data.size=32", "train.epochs=1", "train.device=cpu"]
    with pytest.raises(cs.UserError, match=r"can't answer an image of 32x32 pixels: .*`data\.size=64`"):
        cs.train(images, out=tmp_path / "run", set=words)


def test_a_model_of_classes_answers_other_files_in_sentences(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", classes=2, images=8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    run = cs.train(images, out=tmp_path / "run", model=net, epochs=1, device="cpu", set=["data.size=16"])
    with pytest.raises(cs.UserError, match=r"model\.json is no model of convsmith; name a run"):
        cs.load(run.path / "model.json")
    table = tmp_path / "numbers.csv"
    table.write_text("path,target\nimages/class0/000.png,1.5\nimages/class1/000.png,2.5\n")
    with pytest.raises(cs.UserError, match="has numeric targets, and the model predicts one of 2 classes"):
        cs.evaluate(run, table)
    pixels = np.zeros((16, 16, 3), np.uint8)
    assert len(cs.load(run).predict(torch.from_numpy(pixels))) == 1, "one tensor is one picture"


def test_a_new_classifier_is_like_the_old(tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2, bias=False)
    )
    again = Traced(*trace(net, (3, 8, 8)))
    again.reset_classifier(5)
    new = again.get_classifier()
    assert isinstance(new, nn.Linear)
    assert (new.in_features, new.out_features, new.bias) == (4, 5, None)
