from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import convsmith as cs
from convsmith.run.directory import RunDirectory

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    cs.train(images, out=path, set=["model.resnet20.width=4", "train.epochs=6", "data.batch_size=16"])
    return path


def test_the_report_gets_the_pictures(run: Path, images: Path, convsmith: Run) -> None:
    image = next((images / "class1").iterdir())
    answer = convsmith("inspect", run, image, "--layer", "layer2.0.act1", "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    page = (run / "report.html").read_text()
    for heading in ("kernels", "what the layers answer", "what excites each channel", "silent units"):
        assert f"Inside the net: {heading}" in page
    assert "layer2.0.act1" in page
    assert f"class1/{image.name}" in page
    assert set(found["zero_share"]) >= {"act1", "layer3.2.act2"}
    assert all(0 <= share <= 1 for share in found["zero_share"].values())
    # The report keeps it when it is written again.
    assert convsmith("report", run).returncode == 0
    assert "Inside the net" in (run / "report.html").read_text()


def test_its_own_pages_are_written_again_and_the_users_never(run: Path, tmp_path: Path) -> None:
    """Beside weights, and in a run's folder, a page of this name may be anybody's."""
    image = [next(Path(file.path) for file in RunDirectory(run).read_files())]
    place = tmp_path / "own"
    place.mkdir()
    shutil.copy(run / "model.safetensors", place)
    first = cs.inspect(place, image)["report"]
    assert cs.inspect(place, image)["report"] == first == str(place / "inspection.html")
    theirs = "<h1>what the inspector wrote</h1>"
    Path(first).write_text(theirs)
    with pytest.raises(cs.UserError, match=r"inspection\.html is there already, and isn't convsmith's"):
        cs.inspect(place, image)
    assert Path(first).read_text() == theirs
    own = shutil.copytree(run, tmp_path / "run")
    (own / "report.html").write_text(theirs)
    for verb in (cs.inspect, cs.report):
        with pytest.raises(cs.UserError, match=r"report\.html is there already, and isn't convsmith's"):
            verb(own)
    assert (own / "report.html").read_text() == theirs


def test_a_comparison_without_a_name_is_written_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [cs.compare([run, run])["report"] for _ in range(2)] == ["comparison.html"] * 2
    with pytest.raises(cs.UserError, match=r"comparison\.html is there already; choose another name"):
        cs.compare([run, run], out="comparison.html")
    Path("comparison.html").write_text("<h1>mine</h1>")
    with pytest.raises(cs.UserError, match="isn't convsmith's"):
        cs.compare([run, run])
    assert Path("comparison.html").read_text() == "<h1>mine</h1>"


def test_features_are_the_layers(run: Path, images: Path, tmp_path: Path, convsmith: Run) -> None:
    answer = convsmith("inspect", run, "--features", "layer3", "--out", tmp_path / "f.npz")
    assert answer.returncode == 0, answer.stderr
    with np.load(tmp_path / "f.npz") as kept:
        assert kept["features"].shape == (60, 16, 4, 4)
        assert set(kept["labels"]) == {"class0", "class1", "class2"}
        assert set(kept["splits"]) == {"train", "val"}
        model = cs.load(run)
        pixels = torch.from_numpy(np.stack([model.read(Path(file)) for file in kept["files"][:3]]))
        with torch.inference_mode():
            expected = model.model.forward_features(model.normalized(pixels))
        np.testing.assert_allclose(kept["features"][:3], expected.numpy(), atol=1e-5)
    found = cs.features(run, "pre_logits", tmp_path / "g.npz", [next((images / "class0").iterdir())])
    assert found["shape"] == [1, 16]


def test_features_separate_the_classes(run: Path, tmp_path: Path) -> None:
    """They are good for something: a nearest mean finds most classes."""
    cs.features(run, "pre_logits", tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as kept:
        x, y = kept["features"], kept["labels"]
    means = {label: x[y == label].mean(0) for label in sorted(set(y))}
    nearest = [min(means, key=lambda label: float(((row - means[label]) ** 2).sum())) for row in x]
    assert np.mean(np.array(nearest) == y) > 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "layer9"], "the net has no layer 'layer9'; did you mean 'layer"),
        (["nowhere.png"], "there is no image nowhere.png"),
        (["--features", "fc"], "--features LAYER and --out F.npz go together"),
        (["--features", "fcc", "--out", "f.npz"], "the net has no layer 'fcc'; did you mean 'fc'"),
        (["--features", "fc", "--out", "/nowhere/f.npz"], "there is no folder /nowhere"),
    ],
)
def test_mistakes(run: Path, convsmith: Run, words: list[str], message: str) -> None:
    answer = convsmith("inspect", run, *words)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_no_run(tmp_path: Path, convsmith: Run) -> None:
    answer = convsmith("inspect", tmp_path / "none")
    assert answer.returncode == 2
    assert "there is no run or model file" in answer.stderr


def test_units_slopes_and_classes_are_in_the_answer_and_on_the_page(images: Path, tmp_path: Path) -> None:
    words = ["model.lenet5.activation.prelu.per_channel=true", "train.epochs=2", "data.batch_size=16"]
    cs.train(images, out=tmp_path / "run", set=words)
    found = cs.inspect(tmp_path / "run", layers=["pool1"])
    slopes = {
        name: layer.weight.detach()
        for name, layer in cs.load(tmp_path / "run").module.named_modules()
        if isinstance(layer, torch.nn.PReLU)
    }
    assert {name: (row["mean"], row["channels"]) for name, row in found["slopes"].items()} == {
        name: (pytest.approx(float(own.mean())), len(own)) for name, own in slopes.items()
    }
    assert any(row["max"] - row["min"] > 1e-4 for row in found["slopes"].values()), "learned"
    assert "learned slopes" in (tmp_path / "run" / "report.html").read_text()
    assert not found["selectivity"], "PReLU passes negatives"
    json.dumps(found, allow_nan=False)


def test_units_of_one_class_are_found_in_a_run(run: Path) -> None:
    found = cs.inspect(run)
    last = "layer3.2.act2"
    assert len(found["selectivity"][last]) == len(found["image_share"][last]) == 16
    counted = found["class_units"][last]
    assert counted["units"] == sum(value is not None and value >= 0.5 for value in found["selectivity"][last])
    assert counted["units"] == sum(counted["classes"].values())
    # The classes are learned, so that units know them better than shuffled labels.
    index = [value for value in found["selectivity"][last] if value is not None]
    first = [value for value in found["selectivity"]["act1"] if value is not None]
    assert np.mean(index) > np.mean(first)
    page = (run / "report.html").read_text()
    assert "where and to what units respond" in page
    assert "Morcos et al. 2018" in page
