"""Pictures as people name them, and what becomes of the bad ones among them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predict") / "run"
    cs.train(images, out=out, model="lenet5", epochs=2, set=["data.batch_size=8"])
    return out


def test_a_bad_file_leaves_the_others_their_answers(
    run: Path, images: Path, tmp_path: Path, convsmith: Run
) -> None:
    good = sorted((images / "class0").iterdir())[:2]
    (tmp_path / "bad.png").write_bytes(b"nope")
    done = convsmith("predict", run, good[0], tmp_path / "bad.png", "gone.png", good[1], "--json")
    assert done.returncode == 2
    rows = json.loads(done.stdout.splitlines()[-1])["predictions"]
    assert [row["file"] for row in rows] == [
        str(good[0]),
        str(tmp_path / "bad.png"),
        "gone.png",
        str(good[1]),
    ]
    assert "there is no image gone.png" in rows[2]["error"]
    alone = cs.predict(run, good)
    assert [rows[0]["probability"], rows[3]["probability"]] == pytest.approx(
        [row["probability"] for row in alone]
    )
    assert "2 of 4 pictures can't be read; all others are answered" in done.stderr
    with pytest.raises(cs.UserError, match="can't be read: not an image"):
        cs.predict(run, [good[0], tmp_path / "bad.png"])


def test_folders_and_patterns(run: Path, images: Path, tmp_path: Path) -> None:
    shutil.copytree(images / "class1", tmp_path / "some")
    (tmp_path / "some/notes.txt").write_text("none")
    files = sorted(str(file) for file in (tmp_path / "some").glob("*.png"))
    assert [row["file"] for row in cs.predict(run, tmp_path / "some")] == files
    assert [row["file"] for row in cs.predict(run, str(tmp_path / "some/00*.png"))] == files[:10]


def test_a_picture_is_the_same_however_it_is_given(run: Path, images: Path) -> None:
    file = sorted((images / "class2").iterdir())[3]
    picture = Image.open(file)
    content = io.BytesIO()
    picture.save(content, "png")
    ways = [file, str(file), file.read_bytes(), picture, np.asarray(picture)]
    found = [cs.predict(run, way)[0]["probability"] for way in ways]
    assert found == pytest.approx([found[0]] * len(ways), abs=1e-6)
    with pytest.raises(cs.UserError, match="at least 1; it was given -1"):
        cs.predict(run, file, top=-1)


def test_score_maps_decide_as_predictions_do(run: Path, images: Path, tmp_path: Path, convsmith: Run) -> None:
    """At the size that the net was trained on a map has one place: the same decision, by costs too."""
    file = sorted((images / "class0").iterdir())[0]
    plain = cs.predict(run, file)[0]["label"]
    others = [label for label in ("class0", "class1", "class2") if label != plain]
    # Taking anything for the plain answer is dear.
    labels = ("class0", "class1", "class2")
    rows = [[0 if own == true else 99 if own == plain else 1 for own in labels] for true in labels]
    lines = [",".join(map(str, (true, *row))) for true, row in zip(labels, rows)]
    table = "\n".join(["true,class0,class1,class2", *lines, ""])
    (tmp_path / "costs.csv").write_text(table)
    by_costs = cs.predict(run, file, costs=tmp_path / "costs.csv")[0]["label"]
    assert by_costs in others
    for number, costs in enumerate((None, tmp_path / "costs.csv")):
        (row,) = cs.score_map(run, file, tmp_path / f"maps{number}", side=16, costs=costs)
        assert row["shape"] == [1, 1]
        assert row["label"] == (plain if costs is None else by_costs)
    done = convsmith("predict", run, file, "--score-map", tmp_path / "maps", "--costs", "nowhere.csv")
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr
    (tmp_path / "bad.png").write_bytes(b"nope")
    done = convsmith("predict", run, tmp_path / "bad.png", file, "--score-map", tmp_path / "some")
    assert done.returncode == 2
    assert (tmp_path / "some" / f"{file.stem}.npz").exists()
