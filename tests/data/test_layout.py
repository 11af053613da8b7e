from __future__ import annotations

import os
from pathlib import Path

import pytest

from convsmith.data.layout import empty_classes, find
from convsmith.errors import UserError, shown


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def found(root: Path) -> set[tuple[str, str, str | None]]:
    return {(item.path.name, item.label, item.split) for item in find(root)}


def test_one_folder_a_class_with_any_file_name(tmp_path: Path) -> None:
    names = ["a.jpg", "B.JPEG", "mit leer zeichen.png", "猫 😺.png", "new\nline.jpg", "[red].png"]
    touch(*(tmp_path / "cat" / name for name in names), tmp_path / "dog" / "deep" / "er.png")
    touch(tmp_path / "cat" / ".DS_Store", tmp_path / "cat" / "Thumbs.db", tmp_path / "README.md")
    assert found(tmp_path) == {*((name, "cat", None) for name in names), ("er.png", "dog", None)}


def test_file_names_that_are_not_unicode(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.png")).write_bytes(b"x")
    assert shown(find(tmp_path)[0].path.name) == "bad\\udcff.png"


@pytest.mark.parametrize("word", ["val", "valid", "Validation"])
def test_split_folders(tmp_path: Path, word: str) -> None:
    touch(tmp_path / "train/a/1.png", tmp_path / word / "a/2.png", tmp_path / "test/a/3.png")
    assert found(tmp_path) == {("1.png", "a", "train"), ("2.png", "a", "val"), ("3.png", "a", "test")}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path / "train/1.png", tmp_path / "plane/2.png")
    assert found(tmp_path) == {("1.png", "train", None), ("2.png", "plane", None)}


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('\ufeffpath,label,split\nx/1.png,cat,train\n"a,b.png",dog,valid\n')
    assert found(tmp_path / "d.csv") == {("1.png", "cat", "train"), ("a,b.png", "dog", "val")}
    assert find(tmp_path / "d.csv")[0].path.parent == tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\n1.png,a\n", "either label or numbers in target"),
        ("path,label\n1.png,\n", "d.csv:2: a row needs a path and a label"),
        ("path,label,split\n1.png,a,dev\n", "d.csv:2: split 'dev' is none of train, val, test"),
        ("path,label\n", "no images under"),
    ],
)
def test_csv_mistakes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        find(tmp_path / "d.csv")


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images under"):
        find(tmp_path)
    touch(tmp_path / "loose.png")
    with pytest.raises(UserError, match="put them into one folder for each class"):
        find(tmp_path)
    with pytest.raises(UserError, match=r"is a file but not a \.csv"):
        find(tmp_path / "loose.png")
    touch(tmp_path / "split/val/a/1.png")
    with pytest.raises(UserError, match="has val but no train/ folder"):
        find(tmp_path / "split")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path / "cat/1.png")
    (tmp_path / "cat/again").symlink_to(tmp_path / "cat")
    assert found(tmp_path) == {("1.png", "cat", None)}


@pytest.mark.parametrize("splits", [[""], ["train", "valid"]])
def test_folders_without_images_are_named(tmp_path: Path, splits: list[str]) -> None:
    for split in splits:
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.png").touch()
    (tmp_path / splits[0] / "c").mkdir()
    assert empty_classes(tmp_path, find(tmp_path)) == [str(Path(splits[0], "c"))]
    (tmp_path / splits[0] / "c" / "deep").mkdir()
    (tmp_path / splits[0] / "c" / "deep" / "1.png").touch()
    assert empty_classes(tmp_path, find(tmp_path)) == []
