"""A net that slides: at its own size its own answer, elsewhere that of each window."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

import convsmith as cs
from convsmith import catalog
from convsmith.data.signature import Signature
from convsmith.inference.predictor import Predictor
from convsmith.inference.score_map import Slider
from convsmith.nn.normalizer import Normalizer
from convsmith.verbs.score_map import _names

Pixels = npt.NDArray[np.uint8]


def predictor(name: str = "lenet5", size: int = 28, channels: int = 3, **given: Any) -> Predictor:
    torch.manual_seed(2)
    net = catalog.build("model", name, num_classes=3, in_channels=channels, size=size, **given)
    normalizer = Normalizer(torch.full((channels,), 120.0), torch.full((channels,), 60.0))
    return Predictor.of(net, normalizer, Signature(tuple("abc"), size, channels))


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "size", "given"),
    [
        ("lenet5", 28, {}),
        ("resnet20", 32, {"width": 4}),
        ("vgg11", 32, {"width": 4, "hidden": 16}),
        ("nin", 32, {}),
        ("timm:tf_efficientnet_lite0", 64, {}),
    ],
)  # fmt: skip
def test_a_picture_of_the_nets_own_size_gives_the_predictors_answer(
    name: str, size: int, given: dict[str, Any]
) -> None:
    own, picture = predictor(name, size, **given), noise(size, size)
    found = Slider(own).over(picture)
    assert found.scores.shape == (3, 1, 1)
    expected = own.probabilities(torch.from_numpy(picture)[None])[0]
    torch.testing.assert_close(
        torch.from_numpy(found.scores[:, 0, 0]).double(), expected, atol=1e-5, rtol=1e-4
    )


def test_each_place_is_the_nets_answer_for_its_window() -> None:
    """LeNet-5 has no padding and subsamples by 4: place (i, j) is the window that begins at (4 i, 4 j)."""
    own, picture = predictor(), noise(40, 52)
    found = Slider(own).over(picture)
    assert found.scores.shape == (3, 4, 7)
    assert (found.stride, found.offset) == ((4, 4), (14, 14)), "the middle of the first window"
    for i, j in ((0, 0), (3, 6), (1, 4)):
        window = picture[4 * i : 4 * i + 28, 4 * j : 4 * j + 28]
        expected = own.probabilities(torch.from_numpy(window.copy())[None])[0]
        torch.testing.assert_close(
            torch.from_numpy(found.scores[:, i, j]).double(), expected, atol=1e-5, rtol=1e-4
        )
        assert found.center(i, j) == (4 * i + 14, 4 * j + 14)


def test_sizes() -> None:
    slider = Slider(predictor())
    assert slider.over(noise(14, 21)).pixels.shape == (28, 42, 3), "enlarged to the net's own side"
    assert slider.over(noise(200, 100)).pixels.shape == (112, 56, 3), "at most twice the net's own side"
    large = slider.over(noise(200, 100), side=100)
    assert large.pixels.shape == (200, 100, 3)
    half = slider.over(noise(200, 100), side=50)
    assert half.center(0, 0) == (28, 28), "14 pixels of one at half the size"
    with pytest.raises(cs.UserError, match="for 28 pixels, and can't slide over 20; give at least 28"):
        slider.over(noise(30, 30), side=20)


class Bars(nn.Module):
    """Answers a where a window's mean is dark, b where it is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1, 2)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[-1.0], [1.0]]))
            self.fc.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.pool(x).flatten(1))
        return scores


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    normalizer = Normalizer(torch.tensor([100.0]), torch.tensor([50.0]))
    own = Predictor.of(nn.Sequential(nn.Conv2d(1, 1, 1), Bars()), normalizer, Signature(("a", "b"), 8, 1))
    nn.init.ones_(own.module[0].weight)  # type: ignore[index]
    nn.init.zeros_(own.module[0].bias)  # type: ignore[index]
    own.save(tmp_path / "net")
    return tmp_path / "net"


def test_an_object_is_found_where_it_is(
    bars: Path, tmp_path: Path, convsmith: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A bright square of 8 pixels on black, at x 20 to 28, y 4 to 12, of an image in double size."""
    canvas = np.zeros((32, 64), np.uint8)
    canvas[8:24, 40:56] = 255
    for name in ("one/x.png", "two/x.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(canvas).save(tmp_path / name)
    files = [tmp_path / "one/x.png", tmp_path / "two/x.png"]
    done = convsmith("predict", bars, *files, "--score-map", tmp_path / "maps", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])["score_maps"]
    assert [row["npz"].rpartition("/")[2] for row in rows] == ["x-1.npz", "x-2.npz"]
    with np.load(rows[0]["npz"], allow_pickle=False) as content:
        scores, labels = content["scores"], content["classes"].tolist()
        row, column = np.unravel_index(scores[labels.index("b")].argmax(), scores.shape[1:])
        assert (content["centers_y"][row], content["centers_x"][column]) == (16, 48)
        assert content["window"] == 16
        np.testing.assert_allclose(scores.sum(0), 1, rtol=1e-5)
    with Image.open(rows[0]["png"]) as picture:
        assert min(picture.size) > 100
    again = convsmith("predict", bars, files[0], "--score-map", tmp_path / "maps")
    assert again.returncode == 2
    assert "maps holds other files; choose a new or an empty folder" in again.stderr


def test_every_picture_has_files_of_its_own() -> None:
    """Also where a number that would tell two apart is the name of a third, and where case doesn't count."""
    files = ["a/x.png", "b/X.jpg", "x-1.png", "y.png", "X-3.png", "c/x.bmp"]
    names = _names(files)
    assert names == ["x-2", "X-4", "x-1", "y", "X-3", "x-5"]
    assert len({name.lower() for name in names}) == len(files)


def test_refusals(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(cs.UserError, match="there is no image"):
        cs.score_map(bars, tmp_path / "gone.png", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    both = Predictor.together([cs.load(bars), cs.load(bars)])
    with pytest.raises(cs.UserError, match="an ensemble has several"):
        cs.score_map(both, tmp_path / "gone.png", tmp_path / "out")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(cs.UserError, match=r"bad\.png can't be read: not an image"):
        cs.score_map(bars, tmp_path / "bad.png", tmp_path / "out")
