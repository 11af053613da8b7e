"""What a training that goes on may be given."""

from __future__ import annotations

from pathlib import Path

import pytest

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.errors import UserError
from convsmith.recipe.resuming import FREE, changes, differences
from convsmith.recipe.schema import Data, Train
from convsmith.run.directory import RunDirectory

WORDS = ["data.batch_size=8", "data.size=16", "optimizer.sgd.lr=0.02", "objective.l2.weight=0.001"]


def test_what_may_change_are_keys_of_a_recipe() -> None:
    known = {f"data.{name}" for name in Data.model_fields} | {f"train.{name}" for name in Train.model_fields}
    assert known >= FREE


def test_the_same_words_are_no_change_and_others_are_named() -> None:
    own = recipes.load(None, ["model=lenet5", "train.epochs=2", *WORDS])
    assert changes(recipes.load(None, ["model={lenet5: {}}", *WORDS]), own) == {}
    assert changes(recipes.load(None, [*WORDS, "train.clip=1", "train.early_stopping=3"]), own) == {
        "train.clip": 1.0,
        "train.early_stopping": recipes.EarlyStopping(patience=3),
    }
    for word, said in (
        ("model=resnet20", r"the run has model=lenet5, and goes on so; model=resnet20 is another"),
        ("optimizer.sgd.lr=0.1", r"the run has optimizer.sgd.lr=0.02"),
        ("optimizer=adam", r"the run has optimizer="),
        ("train.ema=0.9", r"the run has no train.ema, and goes on so; train.ema=\{decay: 0.9\} is"),
        ("data.seed=1", r"the run has data.seed=0"),
    ):
        with pytest.raises(UserError, match=said):
            changes(recipes.load(None, [word]), own)


def test_amended_yaml_keeps_all_else() -> None:
    plan = recipes.load(None, ["model=lenet5", *WORDS])
    text = recipes.dump(plan, {"model": "small grey images", "train.epochs": "enough"})
    found = recipes.amended(text, {"train.epochs": 7, "train.early_stopping": {"patience": 2}}, "since then")
    before, after = text.splitlines(), found.splitlines()
    assert [line for line in before if line not in after] == ["  epochs: 30  # enough"]
    assert "  epochs: 7  # since then; was 30" in after
    assert "# small grey images" in found
    again = recipes.load(dict(plan.changed({"train.epochs": 7}).model_dump(exclude_unset=True)))
    assert differences(again, plan) == {"train.epochs": 7}


def test_a_queues_script_says_the_same_each_time(tmp_path: Path, images: Path) -> None:
    """With ``resume`` from the first start on: begun, gone on with, extended; the recipe says all of it."""
    out = tmp_path / "run"

    def command(epochs: int, **more: object) -> cs.Run:
        return cs.train(images, out=out, model="lenet5", epochs=epochs, set=WORDS, resume=True, **more)  # type: ignore[arg-type]

    assert command(1)["epochs"] == 1
    split = {item.path: item.split for item in RunDirectory(out).read_files()}
    assert command(1)["epochs"] == 1
    assert command(3, seed=5)["epochs"] == 3
    assert recipes.load(out / "recipe.yaml").train.epochs == 3
    # As it is told to: nothing but the folder.
    assert cs.train(out=out, resume=True)["epochs"] == 3
    assert {item.path: item.split for item in RunDirectory(out).read_files()} == split
    with pytest.raises(UserError, match="the run has model=lenet5"):
        cs.train(images, out=out, model="resnet20", resume=True)
    with pytest.raises(UserError, match="holds no run to resume"):
        cs.train(out=tmp_path / "typo", resume=True)


def test_data_that_moved_are_found_again_everywhere(tmp_path: Path, images: Path) -> None:
    import shutil

    data, out = tmp_path / "here", tmp_path / "run"
    shutil.copytree(images, data)
    cs.train(data, out=out, model="lenet5", epochs=1, set=WORDS)
    before = cs.evaluate(out)
    data.rename(tmp_path / "there")
    with pytest.raises(UserError, match="aren't where they were"):
        cs.evaluate(out)
    cs.train(tmp_path / "there", out=out, resume=True)
    assert cs.evaluate(out).accuracy == before.accuracy
    assert cs.report(out).exists()
    file = next(item.path for item in RunDirectory(out).read_files() if item.split == "val")
    other = next(item.path for item in RunDirectory(out).read_files() if item.path.parent != file.parent)
    file.write_bytes(other.read_bytes())
    assert any(
        finding.name == "exchanged" and str(file) in finding.seen for finding in cs.evaluate(out).findings
    )


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UserError, match="lbfgs"):
        cs.train(images, out=tmp_path / "run", model="lenet5", set=["optimizer=lbfgs", "train.accumulate=2"])
    assert not (tmp_path / "run").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no"):
        cs.train(tmp_path / "nowhere", out=tmp_path / "empty")
    assert not [file for file in (tmp_path / "empty").iterdir() if file.name != ".lock"]
    cs.train(images, out=tmp_path / "empty", model="lenet5", epochs=1, set=WORDS)


def test_images_that_were_trained_on_are_said(tmp_path: Path, images: Path) -> None:
    run = cs.train(images, out=tmp_path / "run", model="lenet5", epochs=1, set=WORDS)
    count = sum(item.split == "train" for item in RunDirectory(tmp_path / "run").read_files())
    (finding,) = [found for found in cs.evaluate(run, images).findings if found.name == "trained_on"]
    assert finding.seen == f"{count} of these 60 images were trained on"
    assert not [found for found in cs.evaluate(run).findings if found.name == "trained_on"]
