"""The input size changes: what becomes of trained fully connected layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith import catalog
from convsmith.run.directory import RunDirectory
from convsmith.training.resize_weights import interpolated, resized_weights


def stripes(root: Path) -> Path:
    """Stripes along x, along y, and both: classes that don't depend on place."""
    draws = np.random.default_rng(0)
    for label in range(3):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(40):
            wave = 60 * np.sign(np.sin(2 * np.pi * (np.arange(40) / 10 + draws.random())))
            along = [wave[None], wave[:, None], wave[None] * wave[:, None] / 60][label]
            pixels = 128 + along + draws.normal(0, 20, (40, 40))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images of 40 pixels, and LeNet-5 trained on them at 28."""
    root = tmp_path_factory.mktemp("sizes")
    data = stripes(root / "data")
    words = ["data.size=28", "train.epochs=12", "optimizer.sgd.lr=0.02", "data.augment={}"]
    found = cs.train(data, out=root / "run", model="lenet5", set=words)
    assert found["accuracy"] > 0.9
    return data, root / "run"


def begin(source: tuple[Path, Path], out: Path, size: int, *words: str) -> dict[str, object]:
    data, run = source
    still = ["train.epochs=1", "optimizer.sgd.lr=1e-9", "data.augment={}", f"data.size={size}"]
    return cs.train(data, out=out, start_from=str(run), set=[*still, *words])


def findings(out: Path) -> str:
    return json.dumps(RunDirectory(out).read_json(RunDirectory(out).data)["findings"])


@pytest.mark.parametrize("size", [28, 32, 40])
@pytest.mark.parametrize("how", ["interpolate", "fully_convolutional"])
def test_what_was_learned_survives(source: tuple[Path, Path], tmp_path: Path, size: int, how: str) -> None:
    """Without any training at the new size, both know most of what they knew; the report says how."""
    found = begin(source, tmp_path / "run", size, f"train.resize_weights={how}")
    assert found["accuracy"] > 0.7
    said = findings(tmp_path / "run")
    if how == "interpolate" and size != 28:
        assert f"fc1.weight: kernels interpolated for images of {size} pixels" in said
    spec = RunDirectory(tmp_path / "run").read_json(RunDirectory(tmp_path / "run").model)["net"]["spec"]
    slides = how == "fully_convolutional" and size != 28
    assert ("fully_convolutional" in spec) == slides
    assert (f"the net for 28 pixels slides over images of {size}" in said) == slides
    assert cs.evaluate(tmp_path / "run").accuracy == pytest.approx(found["accuracy"])


@pytest.mark.parametrize("size", [32, 40])
def test_made_anew_it_knows_nothing_and_says_so(source: tuple[Path, Path], tmp_path: Path, size: int) -> None:
    found = begin(source, tmp_path / "run", size, "train.resize_weights=new")
    assert found["accuracy"] < 0.7
    assert f"fc1.weight: made anew for images of {size} pixels" in findings(tmp_path / "run")


def test_an_interpolated_layer_answers_as_before_to_even_maps() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 3 * 4 * 4)
    tone = torch.randn(3)
    before = weight @ tone[:, None, None].expand(3, 4, 4).flatten()
    for side in (2, 3, 7):
        after = interpolated(weight, 3, 3 * side * side) @ tone[:, None, None].expand(3, side, side).flatten()
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(interpolated(weight, 3, 48), weight)


def test_halving_the_map_averages_its_kernel() -> None:
    weight = torch.arange(16.0).view(1, 16)
    found = interpolated(weight, 1, 4)
    # The window is a triangle over 4 x 4 values, cut at the border; its middle is the mean, times 4.
    assert found.sum() == pytest.approx(float(weight.sum()))
    assert found.flatten().tolist() == sorted(found.flatten().tolist())


def test_grey_kernels_read_the_mean_of_the_colors() -> None:
    grey = catalog.build("model", "lenet5", num_classes=3, in_channels=1, size=28)
    color = catalog.build("model", "lenet5", num_classes=3, in_channels=3, size=28)
    fitting, found = resized_weights(grey.state_dict(), color, (3, 28, 28), interpolate=True)
    color.load_state_dict({**color.state_dict(), **fitting})
    image = torch.randn(2, 3, 28, 28)
    # At the border too: what is padded is zero, as its mean is.
    torch.testing.assert_close(color(image), grey(image.mean(1, keepdim=True)), atol=1e-5, rtol=1e-4)
    assert "a third each for red, green and blue" in found[0].seen


def test_color_kernels_are_summed_for_grey_images() -> None:
    color = catalog.build("model", "lenet5", num_classes=3, in_channels=3, size=28)
    grey = catalog.build("model", "lenet5", num_classes=3, in_channels=1, size=28)
    fitting, found = resized_weights(color.state_dict(), grey, (1, 28, 28), interpolate=True)
    grey.load_state_dict({**grey.state_dict(), **fitting})
    image = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(grey(image), color(image.expand(2, 3, 28, 28)), atol=1e-5, rtol=1e-4)
    assert "summed, for grey images" in found[0].seen


def test_a_window_too_small_is_refused(source: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(cs.UserError, match="a net for 28 pixels can't slide over 24"):
        begin(source, tmp_path / "run", 24, "train.resize_weights=fully_convolutional")
