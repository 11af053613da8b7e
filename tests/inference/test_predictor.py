from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith import catalog
from convsmith.data.picture import decode
from convsmith.data.signature import Signature
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer
from convsmith.run.directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    torch.manual_seed(0)
    model = catalog.build("model", "lenet5", num_classes=3, in_channels=3, size=16)
    normalizer = Normalizer(torch.rand(16, 16, 3) * 255, torch.tensor([50.0, 60, 70]))
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    Predictor.of(model, normalizer, Signature(("a", "b", "c"), 16, 3)).save(directory.path)
    return directory


def picture(folder: Path) -> Path:
    file = folder / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 16, 3), dtype=np.uint8)).save(file)
    return file


def test_prediction_is_the_softmax_of_the_normalized_image(run: RunDirectory, tmp_path: Path) -> None:
    """With a mean image, recomputed by hand from the file's own tensors."""
    from safetensors.torch import load_file

    file = picture(tmp_path)
    tensors = load_file(run.weights)
    image = (torch.from_numpy(decode(file, 16, 3).copy()).float() - tensors["normalizer.mean"]) / tensors[
        "normalizer.std"
    ]
    net = catalog.build("model", "lenet5", num_classes=3, in_channels=3, size=16)
    net.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    expected = net(image.permute(2, 0, 1)[None]).softmax(1)[0]
    (found,) = cs.load(run.path).predict([file], top=2)
    assert found["file"] == str(file)
    assert found["label"] == found["top"][0]["label"] == "abc"[int(expected.argmax())]
    assert found["probability"] == pytest.approx(expected.max().item(), rel=1e-5)
    assert len(found["top"]) == 2
    whole = cs.load(run.weights).predict([file, file, file], batch_size=2)
    assert [row["probability"] for row in whole] == pytest.approx([found["probability"]] * 3, rel=1e-6)
    assert sum(row["probability"] for row in whole[0]["top"]) == pytest.approx(1.0)
    assert cs.load(run.path).predict(str(file), top=2) == [found], "one path is one image, not its letters"


def test_loading_needs_no_training_stack(run: RunDirectory) -> None:
    code = (
        "import sys, convsmith as cs; cs.load(sys.argv[1])\n"
        "loaded = [m for m in ('lightning_fabric', 'matplotlib', 'timm', 'sklearn', 'convsmith.training') "
        "if m in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True)


def test_unreadable_images_are_named(run: RunDirectory, tmp_path: Path) -> None:
    model = cs.load(run.path)
    (tmp_path / "text.png").write_text("no picture")
    for name, message in (
        ("none.png", "there is no image .*none.png"),
        ("text.png", "text.png can't be read: not an image"),
        ("run", "is a folder; name the images in it"),
    ):
        with pytest.raises(cs.UserError, match=message):
            model.predict([tmp_path / name])


def test_damaged_models_are_one_sentence(run: RunDirectory, tmp_path: Path) -> None:
    def refuse(message: str) -> None:
        with pytest.raises(cs.UserError, match=message):
            cs.load(run.path)

    whole, description = run.weights.read_bytes(), json.loads(run.model.read_text())
    run.weights.write_bytes(whole[:-7])
    refuse("is not a whole safetensors file")
    run.weights.write_bytes(pickle.dumps({"a": 1}))
    refuse("is not a whole safetensors file")
    run.weights.write_bytes(whole)
    run.model.write_text(json.dumps({**description, "classes": ["a", "b"]}))
    refuse("is not the description that these weights were written with")
    run.model.unlink()
    assert cs.load(run.path).classes == ["a", "b", "c"], "the weight file carries its own"
    files = Path(__file__).parent / "files" / "classes"
    old = json.loads((files / "model.json").read_text())
    run.weights.write_bytes((files / "model.safetensors").read_bytes())
    refuse("holds no trained model: model.json is missing")
    run.model.write_text(json.dumps({**old, "classes": ["a", "b"]}))
    refuse("don't fit together")
    run.model.write_text(json.dumps({k: v for k, v in old.items() if k != "size"}))
    refuse("don't fit together")
    run.model.write_text(json.dumps({**old, "model": "lenet6"}))
    refuse("there is no model 'lenet6'; did you mean 'lenet5'")
    run.weights.unlink()
    refuse("holds no trained model")
    with pytest.raises(cs.UserError, match="there is no run or model file"):
        cs.load(tmp_path / "nowhere")


def test_a_picture_is_a_file_an_array_or_pillows(run: RunDirectory, tmp_path: Path) -> None:
    """The same answer whichever way it comes, and for each of a list."""
    model, file = cs.load(run.path), picture(tmp_path)
    opened = Image.open(file)
    array = np.asarray(opened)
    (expected,) = model.predict(file)
    for given in (array, opened, [array], [file, array][1:]):
        (found,) = model.predict(given)
        assert found == {key: value for key, value in expected.items() if key != "file"}
    both = model.predict([file, array, opened], batch_size=2)
    assert [row["probability"] for row in both] == pytest.approx([expected["probability"]] * 3)
    assert ["file" in row for row in both] == [True, False, False]
    assert model.predict([]) == []
    gray = np.asarray(opened.convert("L"))
    assert model.predict(gray) == model.predict(gray[:, :, None]) == model.predict(opened.convert("L"))
    for wrong in (array.astype(np.float32), array[:, :, :2], array[None], np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(cs.UserError):
            model.predict(wrong)


def test_the_module_is_the_plain_net(run: RunDirectory) -> None:
    """Changes to it are changes of the predictor; its mode is left alone."""
    model = cs.load(run.path)
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    expected = model.module(model.normalized(pixels)).softmax(1).double()
    model.module.train()
    assert model.probabilities(pixels).allclose(expected, atol=1e-6)
    assert model.module.training
    model.module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3))
    assert not model.probabilities(pixels).allclose(expected, atol=1e-3)
    assert model.model is model.module is model.pipeline.model
    assert "Sequential with 2,307 parameters, 3 x 16 x 16 pixels to 3 classes (a, b, c)" in repr(model)


def test_costs_decide_and_travel(run: RunDirectory, tmp_path: Path) -> None:
    model, file = cs.load(run.path), picture(tmp_path)
    likeliest = model.predict(file)[0]["label"]
    other = next(name for name in model.classes if name != likeliest)
    costs = torch.ones(3, 3)
    costs[:, model.classes.index(other)] = 0
    model.costs = costs
    assert model.predict(file)[0]["label"] == other
    model.save(tmp_path / "again")
    opened = cs.load(tmp_path / "again")
    assert opened.costs is not None
    assert opened.costs.equal(costs.double())
    assert opened.predict(file)[0]["label"] == other
