"""A new classifier is solved before anything is trained, and what follows begins with it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith.nn.ridge import ridge
from convsmith.run.directory import RunDirectory
from convsmith.training import features
from convsmith.training.features import refuse_nonfinite

WORDS = ["model.resnet20.width=4", "data.batch_size=16", "data.augment={}", "train.device=cpu"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("source") / "run"
    cs.train("digits", out=out, set=[*WORDS, "train.epochs=3"])
    return out


@pytest.fixture(scope="module")
def tuned(source: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run"
    words = [
        *WORDS[1:],
        "data.size=8",
        "train.finetune=all_stages",
        "train.epochs=2",
        "optimizer.sgd.lr=1e-9",
    ]
    cs.train(images, out=out, start_from=str(source), epochs=2, set=words)
    return out


def test_the_training_begins_with_the_solved_classifier(tuned: Path) -> None:
    """With a rate of nothing, the first epoch's figures are those of row 0, which is in metrics.csv."""
    rows = RunDirectory(tuned).read_metrics()
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[0]["train_loss"] < 0.5 * math.log(3)
    assert rows[1]["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=1e-3), "by the same statistics"
    assert rows[1]["val_loss"] == pytest.approx(rows[0]["val_loss"], rel=1e-3)
    assert rows[0]["val_accuracy"] > 1 / 3


def test_batch_norms_of_the_batch_lose_it(source: Path, images: Path, tmp_path: Path) -> None:
    """Why the statistics stay: with those of each batch the solved classifier answers otherwise."""
    words = [*WORDS[1:], "data.size=8", "train.finetune=all_stages", "optimizer.sgd.lr=1e-9"]
    both = [
        cs.train(images, out=tmp_path / str(frozen), start_from=str(source), epochs=1, set=[*words, word])
        for frozen, word in ((True, "train.epochs=1"), (False, "train.frozen_statistics=false"))
    ]
    recipe = (tmp_path / "True" / "recipe.yaml").read_text()
    assert re.search(
        r"frozen_statistics: true +# the classifier is solved on features by the statist", recipe
    )
    first = [RunDirectory(run.path).read_metrics() for run in both]
    assert first[1][1]["train_loss"] > 1.2 * first[0][1]["train_loss"]
    # What is counted in training is the source's still, and the layers learn all the same.
    before, after = cs.load(source).module.state_dict(), cs.load(both[0]).module.state_dict()
    for key in before:
        if "running_" in key:
            assert after[key].equal(before[key]), key


def test_the_classifier_is_the_ridge_regression_on_the_nets_features(
    source: Path, images: Path, tmp_path: Path
) -> None:
    words = [*WORDS[1:], "data.size=8", "train.finetune=head"]
    run = cs.train(images, out=tmp_path / "run", start_from=str(source), set=words)
    assert run["best_epoch"] == run["epochs"] == 0
    model = cs.load(run)
    files = RunDirectory(run.path).read_table(RunDirectory(run.path).files)
    own = [row for row in files if row["split"] == "train"]
    pixels = torch.stack([torch.as_tensor(model.read(images / row["path"])) for row in own])
    with torch.no_grad():
        net = model.module
        vectors = net.forward_head(net.forward_features(model.pipeline.normalized(pixels)), pre_logits=True)
        logits = net.fc(vectors)
    targets = torch.tensor([model.classes.index(row["label"]) for row in own])
    found = ridge(vectors, targets)
    answers = vectors.double() @ found.weight.T + found.bias
    scale = (logits.double() * answers).sum() / answers.square().sum()
    torch.testing.assert_close(logits.double(), scale * answers, rtol=1e-3, atol=1e-3)


def test_it_is_kept_where_tuning_does_harm(source: Path, images: Path, tmp_path: Path) -> None:
    words = [*WORDS[1:], "data.size=8", "train.finetune=all_stages", "train.epochs=1", "optimizer.sgd.lr=3"]
    run = cs.train(images, out=tmp_path / "run", start_from=str(source), set=words)
    rows = RunDirectory(run.path).read_metrics()
    assert rows[1]["val_accuracy"] < rows[0]["val_accuracy"]
    assert run["best_epoch"] == 0
    assert cs.evaluate(run, split="val").accuracy == pytest.approx(rows[0]["val_accuracy"])


def test_a_module_in_place_gets_its_classifier_too(source: Path, images: Path, tmp_path: Path) -> None:
    """Where nothing else is trained, the module would come back with a classifier that knows nothing."""
    for file in images.rglob("*.png"):
        target = tmp_path / file.relative_to(images)
        target.parent.mkdir(exist_ok=True)
        Image.open(file).convert("L").save(target)
    net = cs.load(source).module
    before = net.conv1.weight.clone()
    state = cs.fit(net, tmp_path, set=[*WORDS[1:], "data.size=8", "train.finetune=head"])
    assert [row["epoch"] for row in state.history] == [0]
    assert state.history[0]["train_accuracy"] > 0.6
    assert net.fc.weight.abs().max() > 0
    assert net.conv1.weight.equal(before)


def test_no_epoch_and_nothing_solved_is_refused(source: Path, images: Path, tmp_path: Path) -> None:
    for words in (["model=resnet20"], [f"train.start_from={source}", "train.head_first=false"]):
        with pytest.raises(
            cs.UserError, match="`train.epochs=0` trains nothing, and no classifier is solved"
        ):
            cs.train(images, out=tmp_path / words[0][:5], set=[*WORDS[1:], "train.epochs=0", *words])


def test_minutes_are_for_the_layers_below(source: Path, images: Path) -> None:
    """An epoch on features costs nothing that a clock could see, so that minutes don't buy more of them."""
    found = cs.advise(
        images, start_from=str(source), minutes=60, set=[*WORDS[1:], "data.size=8", "train.finetune=head"]
    )
    assert "epochs: 0 " in found["recipe"]


@pytest.mark.parametrize(
    "word", ["train.auto=true", "train.early_stopping.patience=1", "train.ema={}", "train.minutes=1"]
)
def test_no_epoch_at_all_under_each_option(source: Path, images: Path, tmp_path: Path, word: str) -> None:
    words = [*WORDS[1:], "data.size=8", "train.finetune=head", word]
    run = cs.train(images, out=tmp_path / "run", start_from=str(source), set=words)
    assert (run["best_epoch"], run["epochs"]) == (0, 0)


def test_features_that_are_not_finite_are_refused() -> None:
    vectors = torch.ones(5, 3)
    refuse_nonfinite(vectors)
    vectors[2, 1] = math.inf
    with pytest.raises(cs.UserError, match="NaN or infinite features for 1 of 5 images"):
        refuse_nonfinite(vectors)


@pytest.mark.parametrize("words", [["train.finetune=head"], ["train.finetune=all_stages", "train.epochs=1"]])
def test_features_that_dont_fit_into_memory_give_the_same_classifier(
    source: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    words = [*WORDS[1:], "data.size=8", "optimizer.sgd.lr=1e-9", "data.sampler=class_balanced", *words]
    kept = cs.train(images, out=tmp_path / "kept", start_from=str(source), set=words)
    monkeypatch.setattr(features, "free", lambda _: 0)
    streamed = cs.train(images, out=tmp_path / "streamed", start_from=str(source), set=words)
    one, other = (cs.load(run).module.fc.weight for run in (kept, streamed))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    first, second = (RunDirectory(tmp_path / name).read_metrics()[0] for name in ("kept", "streamed"))
    assert first["epoch"] == second["epoch"] == 0
    assert first["val_loss"] == pytest.approx(second["val_loss"], rel=1e-4)
    assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-4)
