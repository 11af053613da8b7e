from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

from convsmith.data import builtin
from convsmith.errors import UserError


def test_digits_are_all_of_scikit_learns() -> None:
    root = builtin.folder("digits")
    found = {"train": 0, "test": 0}
    total = 0
    for file in root.rglob("*.png"):
        found[file.parts[-3]] += 1
        total += int(np.round(np.asarray(Image.open(file)).astype(float) * 16 / 255).sum())
    assert found == {"train": 1437, "test": 360}
    assert total == int(load_digits().images.sum())


def test_offline_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network torchvision's download fails; nothing half-made is left."""
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        UserError, match=r"'cifar10' is not in the cache and cannot be downloaded .*connect to"
    ):
        builtin.folder("cifar10")
    assert not (tmp_path / "datasets/cifar10").exists()


def test_names_are_those_of_torchvision() -> None:
    for name in ("cifar10", "fashion-mnist", "MNIST", "food101", "oxford-iiit-pet", "Digits"):
        assert builtin.is_builtin(name), name
    assert not builtin.is_builtin("my photos")
    assert not builtin.is_builtin("image-folder")
    for name in builtin._DOWNLOADS.values():
        assert "download" in inspect.signature(getattr(torchvision.datasets, name).__init__).parameters, name


def written(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: type) -> list[str]:
    monkeypatch.setenv("CONVSMITH_CACHE", str(folder))
    monkeypatch.setattr(torchvision.datasets, "Tiny", kind, raising=False)
    monkeypatch.setitem(builtin._DOWNLOADS, "tiny", "Tiny")
    root = builtin.folder("tiny")
    return sorted(str(file.relative_to(root)) for file in root.rglob("*.png"))


def test_a_torchvision_set_becomes_an_image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of torchvision's kind, with pictures, class names and its own splits."""

    class Tiny:
        classes = ["cat/kitten", ("dog", "hound")]

        def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
            self.count = 3 if train else 1

        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([(Image.new("RGB", (4, 4)), target % 2) for target in range(self.count)])

    assert written(monkeypatch, tmp_path, Tiny) == [
        "test/cat-kitten/00000.png",
        "train/cat-kitten/00000.png",
        "train/cat-kitten/00001.png",
        "train/dog/00000.png",
    ]


def test_some_splits_are_missing_or_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named:
        def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
            if split not in ("train", "valid"):
                raise ValueError(f"unknown split {split}")

        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([(Image.new("L", (4, 4)), 7)])

    class Whole:
        categories = ["ant", "bee"]

        def __init__(self, root: str, download: bool = False) -> None:
            pass

        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([(Image.new("L", (4, 4)), target) for target in (0, 1)])

    assert written(monkeypatch, tmp_path / "a", Named) == ["train/7/00000.png", "valid/7/00000.png"]
    assert written(monkeypatch, tmp_path / "b", Whole) == ["ant/00000.png", "bee/00000.png"]
