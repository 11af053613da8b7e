from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.errors import UserError
from convsmith.recipe import Recipe, dump, load


def written(folder: Path, text: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("data:\n  siez: 32\n", 2, "unknown key 'siez' in data; did you mean 'size'?"),
        ("trian:\n  epochs: 3\n", 1, "unknown key 'trian' in the recipe; did you mean 'train'?"),
        (
            "train:\n  epochs: -1\n",
            2,
            "train.epochs=-1 is not valid: input should be greater than or equal to 0",
        ),
        ("train:\n  epochs: many\n", 2, "train.epochs='many' is not valid"),
        ("train: {seed: 1}\nmodel: lenet\n", 2, "there is no model 'lenet'; did you mean 'lenet5'?"),
        ("model:\n  resnet20:\n    widht: 3\n", 3, "has no argument 'widht'; did you mean 'width'?"),
        ("optimizer: {sgd: {}, adam: {}}\n", 1, "optimizer must be one name"),
        ("objective:\n  cross_entrpy: {}\n", 2, "did you mean 'cross_entropy'?"),
        ("data:\n  augment:\n    flop: {}\n", 3, "did you mean 'flip'?"),
        ("train:\n  ema:\n    dacay: 0.9\n", 3, "unknown key 'dacay' in train.ema; did you mean 'decay'?"),
        ("train:\n  epochs: 3\n  epochs: 4\n", 3, "not valid YAML"),
        ("train: [\n", 2, "not valid YAML"),
        ("optimizer:\n  sgd:\n    lr: -1\n", 3, "sgd: lr=-1 is not valid, input should be greater than 0"),
        (
            "model:\n  resnet20:\n    activation: rleu\n",
            1,
            "there is no activation 'rleu'; did you mean 'relu'?",
        ),
        ("objective: {}\n", 1, "objective needs at least one term"),
    ],
)
def test_mistakes_name_the_line_and_the_nearest_word(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}:{line}: ")


def test_mistakes_after_set_name_the_option() -> None:
    with pytest.raises(UserError, match=r"^`train\.epoch=3`: unknown key 'epoch' in train; did you mean"):
        load(overrides=["train.epoch=3"])
    with pytest.raises(UserError, match="`set` takes key.key=value"):
        load(overrides=["train.epochs"])
    with pytest.raises(UserError, match="train.epochs is a value, not a section"):
        load(overrides=["train.epochs=3", "train.epochs.more=1"])


def test_a_choice_is_replaced_and_a_set_is_merged(tmp_path: Path) -> None:
    file = written(tmp_path, "optimizer: {sgd: {lr: 0.2}}\nobjective: {cross_entropy: {smoothing: 0.1}}\n")
    assert load(file, ["optimizer.sgd.momentum=0.5"]).optimizer == {"sgd": {"lr": 0.2, "momentum": 0.5}}
    assert load(file, ["optimizer.adam.lr=1e-3"]).optimizer == {"adam": {"lr": 0.001}}
    assert load(file, ["optimizer=adamw"]).optimizer == "adamw"
    merged = load(file, ["objective.l2.weight=0.1"]).objective
    assert merged == {"cross_entropy": {"smoothing": 0.1}, "l2": {"weight": 0.1}}
    assert load(file, ["objective.l2.weight=0.1", "objective.l2=null"]).objective == {
        "cross_entropy": {"smoothing": 0.1}
    }
    assert "l2" not in load(overrides=["objective.l2=null"]).objective


def test_defaults_are_not_shared_between_recipes() -> None:
    load(overrides=["objective.l2.weight=0.9"])
    assert Recipe().objective["l2"] == {"weight": 5e-4}


def test_reasons_become_comments_and_the_file_loads_again(tmp_path: Path) -> None:
    recipe = load(overrides=["model=lenet5", "data.augment.crop.pad=2", "train.clip=1.5"])
    text = dump(recipe, {"model": "small grey images", "data.augment": "no flip"})
    assert "model: lenet5  # small grey images" in text
    assert "  # no flip\n  augment:" in text
    assert load(written(tmp_path, text)) == recipe


@given(
    epochs=st.integers(1, 10_000),
    rate=st.floats(1e-8, 10, allow_nan=False),
    exclude=st.lists(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8), max_size=3),
    path=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20),
)
def test_every_recipe_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, epochs: int, rate: float, exclude: list[str], path: str
) -> None:
    recipe = Recipe().changed(
        {
            "train.epochs": epochs,
            "optimizer": {"sgd": {"lr": rate}},
            "data.exclude": exclude,
            "data.path": path,
        }
    )
    file = written(tmp_path_factory.mktemp("recipe"), dump(recipe))
    assert load(file) == recipe


def test_unreadable_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the recipe"):
        load(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a mapping with the keys data, model"):
        load(written(tmp_path, "- a\n- b\n"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load(tmp_path / "binary.yaml")


def test_yaml_tags_build_nothing(tmp_path: Path) -> None:
    """A recipe from elsewhere must not be able to run code."""
    file = written(tmp_path, f"data: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(UserError):
        load(file)
    assert not (tmp_path / "made").exists()
