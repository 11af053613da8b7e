"""Numbers and distributions from a CSV, all the way: train, evaluate, predict, report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.errors import UserError
from convsmith.run.directory import RunDirectory

SHORT = ["model.resnet20.width=4", "data.batch_size=16", "train.epochs=25"]


def write(folder: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    file = folder / "table.csv"
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return file


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 images with a bar; where it lies, 100 to 109, is the target, and how likely each half is."""
    folder = tmp_path_factory.mktemp("bars")
    draws = np.random.default_rng(0)
    rows = []
    for number in range(240):
        pixels = draws.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        place = int(draws.integers(0, 10))
        pixels[:, place + 3] += 150
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(
            [f"{number}.png", 100 + place, ("test" if number % 5 == 0 else "train"), 9 - place, place]
        )
    write(folder, ["path", "target_place", "split"], [row[:3] for row in rows]).rename(folder / "number.csv")
    write(
        folder,
        ["path", "split", "target_left", "target_right"],
        [[row[0], row[2], row[3], row[4]] for row in rows],
    ).rename(folder / "votes.csv")
    return folder


@pytest.mark.parametrize(
    ("target", "terms", "limit"),
    [
        ("numbers", "squared_error: {}", 1.0),
        ("numbers", "absolute_error: {}", 1.0),
        ("numbers", "tukey: {}", 1.5),
        ("gaussian", "kl_divergence: {}", 1.5),
        ("{circular: {period: 30, bins: 30}}", "kl_divergence: {}", 1.0),
        ("{angle: {period: 30}}", "squared_error: {}", 1.5),
    ],
)
def test_a_number_is_learned(bars: Path, tmp_path: Path, target: str, terms: str, limit: float) -> None:
    """Guessing the mean is 2.5 off; each encoding and loss gets well below."""
    run = tmp_path / "run"
    words = [*SHORT, f"data.target={target}", f"objective={{{terms}}}"]
    found = cs.train(bars / "number.csv", out=run, set=words)
    period = 30 if "30" in target else 1e9
    if "circular" not in target and "angle" not in target:
        assert found["mae"] < limit
    again = cs.evaluate(run)
    assert again.summary()["mae"] == pytest.approx(found["mae"])
    assert again.summary()["rmse"] >= again.summary()["mae"]
    files = [bars / f"{number}.png" for number in range(0, 240, 5)]
    predictions = cs.load(run).predict(files)
    with open(bars / "number.csv", newline="", encoding="utf-8") as stream:
        truth = {row["path"]: float(row["target_place"]) for row in csv.DictReader(stream)}
    errors = []
    for row in predictions:
        difference = row["values"]["place"] - truth[Path(row["file"]).name]
        errors.append(abs((difference + period / 2) % period - period / 2))
    assert np.mean(errors) == pytest.approx(found["mae"], rel=1e-4)
    assert np.mean(errors) < limit
    page = (run / "report.html").read_text()
    assert "ean absolute error" in page
    assert "Largest errors" in page


def test_two_uncertain_numbers_are_learned(bars: Path, tmp_path: Path) -> None:
    with open(bars / "number.csv", newline="", encoding="utf-8") as stream:
        rows = [
            [r["path"], r["split"], r["target_place"], -3 * float(r["target_place"])]
            for r in csv.DictReader(stream)
        ]
    write(bars, ["path", "split", "target_place", "target_other"], rows).rename(bars / "two.csv")
    words = [*SHORT, "data.target=gaussian", "objective={kl_divergence: {}}"]
    found = cs.train(bars / "two.csv", out=tmp_path / "run", set=words)
    assert found["per_target"]["place"]["mae"] < 2  # guessing the mean is 2.5 off
    assert found["per_target"]["other"]["mae"] < 6
    (row,) = cs.load(tmp_path / "run").predict(bars / "0.png")
    assert row["values"]["other"] == pytest.approx(-3 * row["values"]["place"], abs=6)


def test_what_is_left_open_is_chosen_with_reasons(bars: Path, tmp_path: Path) -> None:
    cs.train(bars / "number.csv", out=tmp_path / "run", set=["model.resnet20.width=4", "train.epochs=1"])
    recipe = (tmp_path / "run" / "recipe.yaml").read_text()
    assert "squared_error: {}  # the targets are not classes" in recipe
    assert "# targets are plain numbers" in recipe
    assert "augment: {}" in recipe


def test_votes(bars: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = cs.train(bars / "votes.csv", out=run, set=[*SHORT, "data.target=votes", "data.augment={}"])
    assert found["kl"] < 0.1
    assert found["accuracy"] > 0.8
    (row,) = cs.load(run).predict(bars / "0.png")
    assert {other["label"] for other in row["top"]} == {"left", "right"}
    assert {"train_kl_divergence", "val_kl"} <= set(RunDirectory(run).read_metrics()[0])
    assert "KL divergence" in (run / "report.html").read_text()


def test_command_line(bars: Path, tmp_path: Path, convsmith: Callable[..., object]) -> None:
    run = tmp_path / "run"
    words = [word for item in [*SHORT, "train.epochs=2"] for word in ("--set", item)]
    answer = convsmith("train", bars / "number.csv", "--out", run, *words, "--json")
    assert answer.returncode == 0, answer.stderr  # type: ignore[attr-defined]
    assert {"mae", "rmse", "val_mae"} <= set(json.loads(answer.stdout.splitlines()[-1]))  # type: ignore[attr-defined]
    answer = convsmith("evaluate", run)
    assert "mean absolute error" in answer.stdout  # type: ignore[attr-defined]
    answer = convsmith("predict", run, bars / "0.png")
    assert "0.png: place " in answer.stdout  # type: ignore[attr-defined]
    answer = convsmith("report", run)
    assert answer.returncode == 0, answer.stderr  # type: ignore[attr-defined]
    with open(bars / "other.csv", "w", encoding="utf-8") as stream:
        stream.write("path,label\n0.png,a\n1.png,b\n")
    answer = convsmith("evaluate", run, bars / "other.csv")
    assert answer.returncode == 2  # type: ignore[attr-defined]
    assert "0 numeric targets; the model predicts 1 (place)" in answer.stderr  # type: ignore[attr-defined]


def test_mistakes(bars: Path, tmp_path: Path, images: Path) -> None:
    cases: list[tuple[list[str], list[list[object]], list[str], str]] = [
        (["path", "target"], [["0.png", "much"]], [], r"table.csv:2: target is 'much', not a number"),
        (["path", "target"], [["0.png", "nan"]], [], r"table.csv:2: target is 'nan', not a number"),
        (["path", "target"], [["0.png", ""]], [], r"table.csv:2: target is '', not a number"),
        (["path", "target", "label"], [["0.png", 1, "a"]], [], "either label or numbers in target"),
        (["path"], [["0.png"]], [], "either label or numbers in target"),
        (
            ["path", "target"],
            [[f"{n}.png", n] for n in range(9)],
            ["objective={hinge: {}}"],
            "objective hinge is for classes, but the data's targets are numbers; take one of absolute_error",
        ),
        (
            ["path", "target"],
            [[f"{n}.png", n] for n in range(9)],
            ["data.target=votes"],
            "votes needs a target column for each class",
        ),
        (
            ["path", "target"],
            [["0.png", 1]],
            [],
            "can't be divided into train and val",
        ),
    ]
    for number, (header, rows, words, message) in enumerate(cases):
        file = write(bars, header, rows)
        with pytest.raises(UserError, match=message):
            cs.train(file, out=tmp_path / str(number), set=["train.epochs=1", *words])
    with pytest.raises(UserError, match="data.target is for numbers, but .* has classes"):
        cs.train(images, out=tmp_path / "classes", set=["data.target=numbers"])
    with pytest.raises(UserError, match="objective tukey is for numbers, but the data's targets are classes"):
        cs.train(images, out=tmp_path / "tukey", set=["objective={tukey: {}}"])
