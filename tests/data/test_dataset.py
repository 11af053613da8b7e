from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import make_images
from convsmith.data import decoded
from convsmith.data.opened import open_data
from convsmith.errors import UserError
from convsmith.recipe import Data, Normalize


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()
    }


def test_statistics_are_of_the_training_split_alone(tmp_path: Path) -> None:
    for split, low in (("train", 0), ("val", 200), ("test", 200)):
        make_images(tmp_path / split, images=4)
        for file in (tmp_path / split).rglob("*.png"):
            pixels = np.random.default_rng(len(str(file))).integers(
                low, low + 50, (16, 16, 3), dtype=np.uint8
            )
            Image.fromarray(pixels).save(file)
    dataset = open_data(Data(path=str(tmp_path)))
    files = sorted((tmp_path / "train").rglob("*.png"))
    truth = np.stack([np.asarray(Image.open(file)) for file in files]).astype(np.float64)
    np.testing.assert_allclose(dataset.normalizer.mean, truth.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(dataset.normalizer.std, truth.std((0, 1, 2)), rtol=1e-6)
    image = open_data(Data(path=str(tmp_path), normalize=Normalize(mean="image", std=False))).normalizer
    np.testing.assert_allclose(image.mean, truth.mean(0), rtol=1e-6)
    assert image.std.tolist() == [255.0] * 3


def test_nothing_in_data_is_changed_and_a_moved_folder_is_the_same_data(tmp_path: Path) -> None:
    make_images(tmp_path / "a")
    (tmp_path / "a/class0/broken.jpg").write_bytes(b"rubbish")
    before = tree(tmp_path / "a")
    first = open_data(Data(path=str(tmp_path / "a")))
    assert tree(tmp_path / "a") == before
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    second = open_data(Data(path=str(tmp_path / "b")))
    assert first.fingerprint == second.fingerprint
    (tmp_path / "b/class0/000.png").unlink()
    assert open_data(Data(path=str(tmp_path / "b"))).fingerprint != first.fingerprint


def test_targets_follow_the_files(images: Path) -> None:
    dataset = open_data(Data(path=str(images)))
    for name in ("train", "val"):
        split = dataset.split(name)
        assert split is not None
        for row, target in zip(split.rows.tolist(), split.targets.tolist()):
            assert dataset.items[row].path.parent.name == dataset.classes[target]
    assert dataset.split("test") is None
    for own in dataset.counts().values():
        assert set(own) == {f"class{k}" for k in range(3)}
    assert [sum(own[f"class{k}"] for own in dataset.counts().values()) for k in range(3)] == [20] * 3


def test_grey_data_has_one_channel(tmp_path: Path) -> None:
    make_images(tmp_path, classes=2, images=4)
    for file in tmp_path.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    dataset = open_data(Data(path=str(tmp_path)))
    assert dataset.channels == 1
    assert next(dataset.store.stream([torch.tensor([0])])).shape == (1, 16, 16, 1)


def test_refusals(tmp_path: Path) -> None:
    def refuse(message: str, **options: object) -> None:
        with pytest.raises(UserError, match=message):
            open_data(Data(path=str(tmp_path), **options))  # type: ignore[arg-type]

    make_images(tmp_path, classes=1)
    refuse("has one class, 'class0'; a classifier needs at least two")
    (tmp_path / "class1").mkdir()
    (tmp_path / "class1/only.png").write_bytes((tmp_path / "class0/000.png").read_bytes())
    refuse("class 'class1' has 1 image; a split needs at least 2. Add images, or drop it with")
    refuse("there is no class 'class9'; did you mean", exclude=["class9"])
    (tmp_path / "class1/only.png").write_bytes(b"")
    refuse("has one class")
    with pytest.raises(UserError, match="no DATA"):
        open_data(Data())
    with pytest.raises(UserError, match="there is no .*nowhere; DATA is a folder"):
        open_data(Data(path=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="there is no cifr10; did you mean 'cifar10'"):
        open_data(Data(path="cifr10"))


def test_a_class_missing_from_val_is_refused(tmp_path: Path) -> None:
    make_images(tmp_path / "train", classes=3, images=3)
    make_images(tmp_path / "val", classes=2, images=3)
    with pytest.raises(
        UserError, match=r'class .class2. has no usable image in val; .*data.exclude=\["class2"\]'
    ):
        open_data(Data(path=str(tmp_path)))
    assert open_data(Data(path=str(tmp_path), exclude=["class2"])).classes == ["class0", "class1"]


def test_only_broken_files_is_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"no usable images .*2 files were left out, e\.g\. .*not an image"):
        open_data(Data(path=str(tmp_path)))


def test_findings_of_a_real_folder(tmp_path: Path) -> None:
    make_images(tmp_path / "train", classes=2, images=4, seed=1)
    make_images(tmp_path / "val", classes=2, images=4, seed=2)
    shutil.copy(tmp_path / "train/class0/000.png", tmp_path / "val/class0/copy.png")
    (tmp_path / "train/class1/empty.png").write_bytes(b"")
    for number in range(1, 4):
        (tmp_path / f"train/class1/{number:03d}.png").unlink()
    seen = [finding.seen for finding in open_data(Data(path=str(tmp_path))).findings]
    assert any("empty file" in text and "empty.png" in text for text in seen)
    assert any("1 image in train and in val alike" in text for text in seen)
    assert any("1 of 2 classes have fewer than 2 training images: class1" in text for text in seen)


def test_size_of_photographs(tmp_path: Path) -> None:
    make_images(tmp_path, classes=2, images=2, size=100)
    dataset = open_data(Data(path=str(tmp_path)))
    assert dataset.size == 96
    assert "median short side is 100" in dataset.reasons["data.size"]


@pytest.mark.parametrize("share", [(0.5, 0.5), (0.0, 0.5), (0.0, 0.0)])
def test_files_are_read_once(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: tuple[float, float]
) -> None:
    """Scanned and decoded of the same bytes; on the fly, thumbnails and statistics look once more."""
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path))
    reads: Counter[Path] = Counter()
    plain = os.open

    def counted(path: Any, *given: Any, **more: Any) -> int:
        reads[Path(path)] += Path(path).suffix == ".png"
        return plain(path, *given, **more)

    monkeypatch.setattr(os, "open", counted)
    section = Data(path=str(images), memory_share=share[0], disk_share=share[1], workers=0)
    found = open_data(section)
    files = [item.path for item in found.items]
    most = 3 if share == (0.0, 0.0) else 1
    assert 1 <= min(reads[file] for file in files) <= max(reads[file] for file in files) <= most
    (expected,) = found.store.stream([torch.arange(len(files))])
    monkeypatch.setattr(decoded, "KEPT", 0.0)
    reads.clear()
    again = open_data(section)
    assert again.fingerprint == found.fingerprint
    (pixels,) = again.store.stream([torch.arange(len(files))])
    assert pixels.equal(expected), "the same pixels, read anew"


def test_others_take_what_the_first_process_found(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first scans, decodes and measures; the second opens no file but the cache."""
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path))
    answers: list[Any] = []

    def first(work: Callable[[], Any]) -> Any:
        answers.append(work())
        return answers[-1]

    one = open_data(Data(path=str(images)), shared=True, once=first)
    replies = iter(answers)
    plain = os.open

    def refused(path: Any, *given: Any, **more: Any) -> int:
        assert Path(path).suffix != ".png", f"{path} was read"
        return plain(path, *given, **more)

    monkeypatch.setattr(os, "open", refused)
    other = open_data(Data(path=str(images)), shared=True, once=lambda work: next(replies))
    assert other.items == one.items
    rows = [torch.arange(len(one.items))]
    assert torch.equal(next(iter(other.store.stream(rows))), next(iter(one.store.stream(rows))))
    assert torch.equal(other.normalizer.mean, one.normalizer.mean)
