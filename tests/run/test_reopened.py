"""A run's images are those that it recorded, whatever DATA has become."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import convsmith as cs
from conftest import make_images
from convsmith.run.directory import RunDirectory
from convsmith.run.reopened import reopen

WORDS = ["train.device=cpu", "data.batch_size=16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("reopened")
    data = make_images(root / "data", images=20)
    (data / "class1/empty.png").write_bytes(b"")
    cs.train(data, out=root / "run", model="lenet5", epochs=3, set=[*WORDS, "data.floor=0.5"])
    return data, root / "run"


def files(run: Path, split: str) -> set[str]:
    with open(run / "files.csv", newline="") as stream:
        return {row["path"] for row in csv.DictReader(stream) if row["split"] == split}


@pytest.mark.parametrize("split", ["train", "val", "floor"])
def test_a_split_is_what_files_csv_says(trained: tuple[Path, Path], split: str) -> None:
    """Pixels and labels, file by file; nothing of another split."""
    _, run = trained
    predictor = cs.load(run)
    dataset = reopen(RunDirectory(run), predictor, [split])
    assert {str(item.path) for item in dataset.items} == files(run, split)
    found = dataset.split(split)
    assert found is not None
    (pixels,) = found.store.stream([found.rows])
    for item, image, target in zip(dataset.items, pixels, found.targets):
        assert torch.equal(image, torch.from_numpy(predictor.read(item.path)))
        assert item.path.parent.name == predictor.classes[int(target)]
    assert not dataset.findings, "the empty file was seen when the run began"


def test_splits_share_no_file_and_a_floor_is_half_of_val(trained: tuple[Path, Path]) -> None:
    _, run = trained
    train, val, floor = (files(run, name) for name in ("train", "val", "floor"))
    assert not train & val
    assert not floor & (train | val)
    assert len(train) == 48
    assert len(val | floor) == 12, "4 of 20 a class for both"
    counts = json.loads((run / "data.json").read_text())["counts"]
    for label in ("class0", "class1", "class2"):
        assert counts["floor"][label] + counts["val"][label] == 4
        assert min(counts["floor"][label], counts["val"][label]) >= 1


def test_files_that_appeared_are_named_and_left_out(
    trained: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data, run = trained
    before = {name: cs.evaluate(run, split=name) for name in ("train", "val", "floor")}
    new = data / "class2/zzz.png"
    Image.new("RGB", (16, 16), "red").save(new)
    request.addfinalizer(new.unlink)
    for name, old in before.items():
        found = cs.evaluate(run, split=name)
        assert found.probabilities.tolist() == old.probabilities.tolist()
        (finding,) = found.findings
        assert finding.name == "appeared"
        assert "1 file has appeared" in finding.seen
        assert "zzz.png" in finding.seen
    inspected = cs.inspect(run)
    assert [finding["name"] for finding in inspected["findings"]] == ["appeared"]


def test_a_broken_file_is_treated_alike_by_every_verb(
    trained: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One truncated validation image: each verb names it, leaves it out, and goes on."""
    _, run = trained
    victim = Path(sorted(files(run, "val"))[0])
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    request.addfinalizer(lambda: victim.write_bytes(whole))
    said = [
        [finding.seen for finding in cs.evaluate(run, split="val").findings],
        [finding["seen"] for finding in cs.inspect(run)["findings"]],
        [finding["seen"] for finding in cs.features(run, "pre_logits", tmp_path / "f.npz")["findings"]],
    ]
    for sentences in said:
        assert len(sentences) == 1
        assert victim.name in sentences[0]
    assert len(cs.evaluate(run, split="val").targets) == 5
    cs.report(run)
    assert victim.name in (run / "report.html").read_text()


def test_without_a_floor_half_of_val_is_taken_and_said(images: Path, tmp_path: Path) -> None:
    cs.train(images, out=tmp_path / "run", model="lenet5", epochs=1, set=WORDS)
    found = cs.evaluate(tmp_path / "run", split="floor")
    val = cs.evaluate(tmp_path / "run", split="val")
    assert len(found.targets) == (len(val.targets) + 1) // 2
    assert [finding.name for finding in found.findings] == ["no_floor"]
    rows = {tuple(row) for row in val.probabilities.round(9).tolist()}
    assert all(tuple(row) in rows for row in found.probabilities.round(9).tolist())
    again = cs.evaluate(tmp_path / "run", split="floor")
    assert again.probabilities.tolist() == found.probabilities.tolist()


def test_a_split_that_is_not_there_is_refused(trained: tuple[Path, Path]) -> None:
    data, run = trained
    with pytest.raises(cs.UserError, match=r"has no test images; it has train, val, floor"):
        cs.evaluate(run, split="test")
    with pytest.raises(cs.UserError, match=r"there is no split 'tset'; did you mean 'test'\?"):
        cs.evaluate(run, split="tset")
    with pytest.raises(cs.UserError, match="DATA has no splits"):
        cs.evaluate(run, data, split="val")
