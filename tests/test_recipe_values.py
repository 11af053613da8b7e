"""Recipes are values; old names go on working; a field may hold a list of techniques."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from convsmith import catalog
from convsmith.catalog import Kind, ListOf, Place, register, technique
from convsmith.errors import UserError
from convsmith.recipe import Plan, Recipe, Section, Strict, dump, load, load_plan
from convsmith.recipe.checking import marks, put, validated

Steps = Annotated[list[Section], ListOf("schedule", "regularizer")]


class Compress(Strict):
    steps: Steps = []
    place: Annotated[str, Place()] | None = None


class Throwaway(Strict):
    compress: Compress | None = None


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    kept = dict(register._REGISTER.cards), dict(register._REGISTER.targets)
    yield
    register._REGISTER.cards, register._REGISTER.targets = kept


def test_a_change_makes_another_recipe() -> None:
    recipe = load(overrides=["data.val=0.3", "optimizer.sgd.momentum=0.5"])
    other = recipe.changed({"data.size": 32, "optimizer.sgd.lr": 0.5, "train.ema": {"decay": 0.9}})
    assert recipe.data.size is None
    assert recipe.optimizer == {"sgd": {"momentum": 0.5}}
    assert other.optimizer == {"sgd": {"momentum": 0.5, "lr": 0.5}}
    assert other.train.ema is not None
    assert other.data.model_fields_set == {"val", "size"}, "what was set stays known as set"
    assert other.train.model_fields_set == {"ema"}
    assert other.changed({"model": "lenet5"}).changed({"model": None}).model is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.siez": 3}, "unknown key 'siez' in data; did you mean 'size'"),
        ({"train.epochs": -1}, "train.epochs=-1 is not valid: input should be greater than or equal to 0"),
        ({"model": "lenet"}, "there is no model 'lenet'; did you mean 'lenet5'"),
        ({"train.epochs.more": 1, "train.epochs": 1}, None),
        ({"objective": {}}, "objective needs at least one term, e.g. cross_entropy"),
    ],
)
def test_a_change_is_checked(changes: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert Recipe().changed(changes).train.epochs == 1, "later ones win"
        return
    with pytest.raises(UserError, match=message):
        Recipe().changed(changes)


def test_assigning_is_refused_at_every_depth() -> None:
    recipe = load(overrides=["train.ema.decay=0.9"])
    for section, key in ((recipe, "model"), (recipe.data.normalize, "mean"), (recipe.train.ema, "decay")):
        with pytest.raises(ValidationError, match="Instance is frozen"):
            setattr(section, key, None)


def test_dictionaries_and_recipes_are_read_as_files_are(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"optimizer": {"adam": {"lr": 0.1}}, "data": {"memory": 0.25}}
    recipe = load(tree, ["optimizer.adam.beta1=0.8"])
    assert recipe.optimizer == {"adam": {"lr": 0.1, "beta1": 0.8}}
    assert tree == {"optimizer": {"adam": {"lr": 0.1}}, "data": {"memory": 0.25}}, "left as it was"
    assert load(recipe, ["train.seed=3"]).changed({"train.seed": 0}) == recipe
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    assert load(tmp_path / "recipe.yaml") == recipe


def test_a_plan_is_a_recipe_without_gaps(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    words = ["data.path=x", "data.size=32", "data.batch_size=8", "data.augment={}", "model=lenet5"]
    recipe = load(None, [*words, "optimizer=sgd", "train.seed=1"])
    with pytest.raises(UserError, match="train.precision is missing"):
        Plan.of(recipe)
    plan = Plan.of(recipe.changed({"train.precision": "32-true"}))
    assert plan.data.batch_size + plan.data.size == 40
    file.write_text(dump(plan))
    assert load_plan(file) == plan
    file.write_text(dump(recipe))
    with pytest.raises(UserError, match=rf"{file}:\d+: train.precision is missing; a run's recipe leaves"):
        load_plan(file)


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        (("data", "memory"), "memory_share", 0.25),
        (("data", "disk"), "disk_share", 0.75),
        (("train", "refit"), "resize_weights", "new"),
    ],
)
def test_old_names_of_keys_load_for_ever(tmp_path: Path, old: tuple[str, str], new: str, value: Any) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"model: lenet5\n{old[0]}:\n  {old[1]}: {value}\n")
    dotted, present = ".".join(old), f"{old[0]}.{new}"
    for recipe, place in (
        (load(file), f"{file}:3"),
        (load(overrides=[f"{dotted}={value}"]), f"`{dotted}={value}`"),
    ):
        assert getattr(getattr(recipe, old[0]), new) == value
        (note,) = recipe.notes
        assert note.seen == f"{place}: {dotted} is called {present} now; the old name goes on working"
        assert recipe.changed({"train.seed": 1}).notes == (note,), "a change forgets no note"
    assert load(overrides=[f"{present}={value}"]).notes == ()
    assert load(file) == load(None, ["model=lenet5", f"{present}={value}"])
    other = 0.5 if new != "resize_weights" else "interpolate"
    overridden = load(file, [f"{present}={other}"])
    assert getattr(getattr(overridden, old[0]), new) == other, "an override in the new name wins"
    file.write_text(f"{old[0]}:\n  {old[1]}: {value}\n  {new}: {value}\n")
    with pytest.raises(UserError, match=f"recipe.yaml:2: {dotted} is the old name of {new}, which is there"):
        load(file)
    file.write_text(f"{old[0]}:\n  {old[1]}: much\n")
    with pytest.raises(UserError, match=rf"recipe.yaml:2: {present}='much' is not valid"):
        load(file)


def test_old_names_of_techniques_load_for_ever(tmp_path: Path) -> None:
    @technique("regularizer", "calm", renamed=("quiet", "still"))
    class Calm:
        """Something that had two other names."""

        def __init__(
            self, share: float = 0.5, init: Annotated[Section, Kind("regularizer")] = "calm"
        ) -> None:
            self.share = share

    file = tmp_path / "recipe.yaml"
    file.write_text("objective:\n  cross_entropy: {}\n  quiet: {init: {still: {share: 0.1}}}\n")
    recipe = load(file, ["objective.still.share=0.25"])
    assert recipe.objective == {
        "cross_entropy": {},
        "calm": {"share": 0.25, "init": {"calm": {"share": 0.1}}},
    }
    assert {note.name for note in recipe.notes} == {"renamed"}
    assert sorted(note.seen.partition(" is called")[0] for note in recipe.notes) == [
        f"{file}:3: objective.quiet",
        f"{file}:3: objective.still",
        "`objective.still.share=0.25`: objective.still",
    ]
    file.write_text("objective:\n  cross_entropy: {}\n  quiet: {share: much}\n")
    with pytest.raises(UserError, match=rf"{file}:3: regularizer calm: share='much' is not valid"):
        load(file)
    assert catalog.split("regularizer", {"quiet": {"share": 1.0}}) == ("calm", {"share": 1.0})
    assert catalog.build("regularizer", "still").share == 0.5
    assert catalog.describe(catalog.build("regularizer", "still")) == {"calm": {}}
    assert "quiet" not in catalog.names("regularizer")
    with pytest.raises(UserError, match="calm, quiet: two of these are names of one technique"):
        load({"objective": {"cross_entropy": {}, "calm": {}, "quiet": {}}})


def test_a_field_may_hold_a_list_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"cosine": {"warmup": 2}}, "constant", {"max_norm": {"limit": 3}}, "constant"]
    found = validated(Throwaway, {"compress": {"steps": steps}}, {})
    assert found.compress is not None
    assert found.compress.steps == steps, "in order, and twice where written twice"
    assert set(marks(Throwaway)) == {("compress", "steps"), ("compress", "place")}
    for wrong, message in (
        ([{"cosine": {"warmpu": 2}}], "schedule cosine has no argument 'warmpu'; did you mean 'warmup'"),
        (["constant", "cosin"], "there is no schedule 'cosin'; did you mean 'cosine'"),
        ([{"cosine": {}, "constant": {}}], "schedule must be one name"),
    ):
        with pytest.raises(UserError, match=message):
            validated(Throwaway, {"compress": {"steps": wrong}}, {})
    tree: dict[str, Any] = {}
    put(Throwaway, tree, ("compress", "steps"), ["constant"], "`compress.steps=[constant]`")
    assert tree == {"compress": {"steps": ["constant"]}}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    nested = [{"joint": {"source": "here"}}, "head"]
    assert catalog.settled(ListOf("finetuning"), nested) == [
        {"joint": {"source": str(tmp_path / "here")}},
        "head",
    ]


def test_a_section_that_does_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="unknown key 'compress' in the recipe"):
        load({"compress": {"steps": []}})


def test_an_argument_named_like_a_kind_is_an_argument() -> None:
    """prelu's ``init`` is a number, whatever kinds there are; patterns' ``rest`` is an initialization."""
    load(overrides=["model.resnet20.activation={prelu: {init: 0.1}}"])
    with pytest.raises(UserError, match="there is no init 'hee'"):
        load(overrides=["model.lenet5.init={patterns: {rest: hee}}"])


def test_every_argument_that_names_a_technique_is_marked() -> None:
    """A type hint of a section without its kind would be checked by nobody."""
    from convsmith.catalog.kinds import hints, markers, signed

    for kind, name in catalog.index():
        target = catalog.load(kind, name)
        spec = {
            key
            for key, hint in hints(signed(target)).items()
            if "collections.abc.Mapping[str, typing.Any]" in str(hint)
        }
        unmarked = spec - {key for key, mark in markers(target).items() if isinstance(mark, Kind)}
        assert not unmarked, f"{kind} {name}: {unmarked}"
