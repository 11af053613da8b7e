"""Mean and deviation of the training images, the same wherever an image meets the net."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms.v2 import functional as tv

import convsmith as cs
from conftest import make_images

QUICK = ["model=resnet20", "model.resnet20.width=4", "train.epochs=2", "data.batch_size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images as usual, validation and test images much brighter: their mean must not matter."""
    root = tmp_path_factory.mktemp("bright")
    for number, split in enumerate(("train", "val", "test")):
        make_images(root / split, images=12, seed=number)
    for file in [*(root / "val").rglob("*.png"), *(root / "test").rglob("*.png")]:
        pixels = np.asarray(Image.open(file)).astype(int) + 60
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return root


def pixels_of(folder: Path, size: int) -> np.ndarray:
    """As torchvision resizes them."""
    files = sorted(folder.rglob("*.png"))
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))
    resized = tv.resize(pixels.permute(0, 3, 1, 2), [size, size], antialias=True)
    return resized.permute(0, 2, 3, 1).numpy().astype(float)


@pytest.mark.parametrize(("mean", "size"), [("pixel", 16), ("image", 16), ("image", 12)])
def test_the_same_in_train_evaluate_predict_and_onnx(
    folder: Path, tmp_path: Path, mean: str, size: int
) -> None:
    """The files have 16 pixels a side; a net for 12 keeps them as they are, and crops from them."""
    run = tmp_path / "run"
    words = [f"data.normalize.mean={mean}", "data.augment={flip: {}, brightness: {}}"]
    words += [f"data.size={size}", "data.stored=16"]
    cs.train(folder, out=run, set=[*QUICK, *words])

    # stored: of the training split only
    stored, train = load_file(run / "model.safetensors"), pixels_of(folder / "train", size)
    expected = train.mean(0) if mean == "image" else train.mean((0, 1, 2))
    assert stored["normalizer.mean"].numpy() == pytest.approx(expected, rel=1e-4)
    assert stored["normalizer.std"].numpy() == pytest.approx(train.std((0, 1, 2)), rel=1e-4)

    # trained with it: the loop's own validation figures are those of evaluate
    with open(run / "metrics.csv", newline="", encoding="utf-8") as stream:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    on_val = cs.evaluate(run, folder / "val")
    assert on_val.loss == pytest.approx(best["val_loss"], rel=1e-4)
    assert on_val.accuracy == pytest.approx(best["val_accuracy"])

    # predicted with it, file by file
    files = sorted((folder / "val").rglob("*.png"))
    answers = cs.predict(run, files, top=3)
    by_class = [{row["label"]: row["probability"] for row in own["top"]} for own in answers]
    posteriors = np.array([[own[f"class{k}"] for k in range(3)] for own in by_class])
    assert posteriors == pytest.approx(on_val.probabilities, abs=1e-5)

    # exported with it: raw bytes in, the same outputs out
    predictor = cs.load(run)
    raw = torch.from_numpy(pixels_of(folder / "val", size).astype(np.uint8))
    program = torch.onnx.export(predictor.pipeline, (raw,), dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (outputs,) = session.run(None, {session.get_inputs()[0].name: raw.numpy()})
    assert torch.from_numpy(outputs).softmax(1).numpy() == pytest.approx(on_val.probabilities, abs=1e-4)
