from __future__ import annotations

import os
from pathlib import Path

import pytest

from convsmith.data.item import split_word
from convsmith.data.layout import empty_classes, find, survey
from convsmith.data.table import group_column
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


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("training_set", "valid", "test_set"),
        ("seg_train/seg_train", "seg_dev", "seg_test/seg_test"),
        ("train-images", "evaldata", "holdout"),
        ("TrainData", "VALID", "Test Images"),
    ],
)
def test_split_folders(tmp_path: Path, train: str, val: str, test: str) -> None:
    touch(tmp_path / train / "a/1.png", tmp_path / val / "a/2.png", tmp_path / test / "a/3.png")
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
        ("path,label,split\n1.png,a,some\n", "d.csv:2: split 'some' is none of train, val, test"),
        ("path,label\n", "no images under"),
        ("path,label,label,split\n1.png,a,b,train\n", "has 2 columns 'label'; keep one of them"),
        (
            "path,label\nx,y.png,a\n",
            "d.csv:2: the row has 3 cells, and there are 2 columns",
        ),
        ('path,label\n"1.png,a\n', "as a UTF-8 CSV"),
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


def test_words_that_say_a_split_and_those_that_dont() -> None:
    assert (
        split_word("trainers")
        is split_word("contrast")
        is split_word("valley")
        is split_word("latest")
        is None
    )
    found = split_word("retina_val_images")
    assert found is not None
    assert (found.split, found.rest, found.plain) == ("val", ("retina",), False)


def test_unnamed_columns_move_no_cell(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("path,,,label,split,age\n1.png,x,y,cat,train,3\n2.png,x,y,dog,valid,4\n")
    seen = survey(tmp_path / "d.csv")
    assert {(item.path.name, item.label, item.split) for item in seen.items} == {
        ("1.png", "cat", "train"),
        ("2.png", "dog", "val"),
    }
    assert seen.unused == ["the columns age of the CSV"]


def test_what_belongs_together_is_read(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("path,label,Patient\n1.png,a,p1\n2.png,b,\n")
    assert group_column(tmp_path / "d.csv", "auto") == "Patient"
    assert group_column(tmp_path / "d.csv", "label") == "label"
    assert group_column(tmp_path / "d.csv", "p.*") is None
    assert [item.group for item in find(tmp_path / "d.csv", "Patient")] == ["p1", None]


def test_what_systems_put_beside_pictures_is_none(tmp_path: Path) -> None:
    touch(
        tmp_path / "cat/1.jpg",
        tmp_path / "cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
        tmp_path / "cat/desktop.ini",
    )
    touch(tmp_path / "#recycle/cat/2.jpg", tmp_path / "__MACOSX/cat/._1.jpg", tmp_path / "dog/Icon\r")
    touch(tmp_path / "dog/2.jpg")
    seen = survey(tmp_path)
    assert {(item.path.name, item.label) for item in seen.items} == {("1.jpg", "cat"), ("2.jpg", "dog")}
    assert seen.unused == []


def test_what_isnt_used_is_said(tmp_path: Path) -> None:
    touch(tmp_path / "train/a/1.jpg", tmp_path / "val/a/2.jpg", tmp_path / "loose.jpg", tmp_path / "read.me")
    touch(
        tmp_path / "test/3.jpg", tmp_path / "test/4.jpg", tmp_path / "other/a/5.jpg", tmp_path / "notes/x.txt"
    )
    touch(tmp_path / "eval/a/6.jpg")
    seen = survey(tmp_path)
    assert {(item.path.name, item.split) for item in seen.items} == {("1.jpg", "train"), ("2.jpg", "val")}
    assert sorted(seen.unused) == [
        "1 image beside the folders of classes",
        "2 images beside the folders of classes in test/",
        "eval/ (1 image)",
        "other/ (1 image)",
    ]


def test_a_class_called_train_beside_others_is_asked_about(tmp_path: Path) -> None:
    touch(tmp_path / "train/steam/1.jpg", tmp_path / "plane/jet/2.jpg", tmp_path / "docs/x.txt")
    with pytest.raises(
        UserError, match=r"has a folder train/ and others with pictures \(plane\): if train/ is a"
    ):
        find(tmp_path)


def test_a_test_folder_alone_can_be_evaluated_on(tmp_path: Path) -> None:
    touch(tmp_path / "test/a/1.png")
    assert [item.split for item in survey(tmp_path, to_train=False).items] == ["test"]
    with pytest.raises(UserError, match="has test but no train/ folder"):
        survey(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cant_be_read_is_no_empty_one(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.png", tmp_path / "b/2.png")
    (tmp_path / "b").chmod(0)
    try:
        with pytest.raises(
            UserError, match=r"cannot read the folder .*b \(Permission denied\); make it readable"
        ):
            find(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o755)


def test_links_to_nothing_are_named_as_folders_without_images(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.png")
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    (tmp_path / "note.txt").symlink_to(tmp_path / "gone too")
    assert empty_classes(tmp_path, find(tmp_path)) == ["b"]
