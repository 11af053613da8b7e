from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.data.degrade import mislabeled, profile, thinned
from convsmith.data.item import Item
from convsmith.data.opened import open_data
from convsmith.errors import UserError
from convsmith.recipe import load


def items(count: int = 100, classes: int = 4) -> list[Item]:
    return [
        Item(Path(f"{number}.png"), f"class{number % classes}", "val" if number % 10 == 0 else "train")
        for number in range(count)
    ]


def test_profiles_are_the_literatures() -> None:
    """CIFAR-10-LT and CIFAR-100-LT with ratio 100 as Cui et al. 2019 have them: 12,406 and 10,847 images."""
    assert sum(profile(5000, 10, 100, "exp")) == 12_406
    assert sum(profile(500, 100, 100, "exp")) == 10_847
    assert profile(5000, 10, 10, "step") == [5000] * 5 + [500] * 5


def test_only_training_images_go_and_more_of_later_classes() -> None:
    everything = items()
    gone = thinned(everything, ratio=10, shape="exp", seed=0)
    assert all(everything[number].split == "train" for number in gone)
    left = Counter(i.label for n, i in enumerate(everything) if n not in gone and i.split == "train")
    largest = max(Counter(i.label for i in everything if i.split == "train").values())
    # the first class has 20 of at most 25
    assert [left[f"class{k}"] for k in range(4)] == [20, 11, 5, 2]
    assert largest == 25
    assert gone == thinned(everything, ratio=10, shape="exp", seed=0)
    assert gone != thinned(everything, ratio=10, shape="exp", seed=1)


@given(rate=st.floats(0, 1), seed=st.integers(0, 20))
def test_the_wanted_share_of_labels_is_wrong(rate: float, seed: int) -> None:
    everything = items()
    changed = mislabeled(everything, rate=rate, kind="symmetric", seed=seed)
    assert len(changed) == round(rate * 90)
    for number, item in changed.items():
        assert everything[number].split == "train"
        assert item.label != everything[number].label
        assert (item.path, item.split) == (everything[number].path, "train")


def test_symmetric_noise_takes_all_other_classes_and_pair_the_next() -> None:
    everything = items(4000)
    to = Counter(
        (int(everything[number].label[-1]), int(item.label[-1]))
        for number, item in mislabeled(everything, rate=1.0, kind="symmetric", seed=0).items()
    )
    assert len(to) == 12
    assert min(to.values()) > 200, "300 expected each"
    pairs = mislabeled(everything, rate=0.5, kind="pair", seed=0)
    assert {(int(everything[n].label[-1]), int(i.label[-1])) for n, i in pairs.items()} == {
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 0),
    }


def test_by_recipe_and_said(images: Path) -> None:
    recipe = load(
        overrides=[
            f"data.path={images}",
            "data.imbalance.ratio=8",
            "data.label_noise={type: pair, rate: 0.25}",
        ]
    )
    dataset = open_data(recipe.data)
    plain = open_data(load(overrides=[f"data.path={images}"]).data)
    # The largest class keeps its images, the last has an eighth of them; a quarter changes its label.
    before = plain.counts()["train"]
    largest = max(before.values())
    left = sum(profile(largest, 3, 8, "exp"))
    assert sum(dataset.counts()["train"].values()) == left
    assert dataset.counts()["val"] == plain.counts()["val"]
    wrong = [i for i in dataset.items if i.split == "train" and i.path.parent.name != i.label]
    assert len(wrong) == round(left / 4)
    seen = [finding.seen for finding in dataset.findings]
    assert any(f"{sum(before.values()) - left} training images were left out" in line for line in seen)
    assert any(f"{len(wrong)} training images have a wrong label" in line for line in seen)


def test_numbers_have_no_classes_to_spoil(tmp_path: Path, images: Path) -> None:
    table = tmp_path / "numbers.csv"
    files = sorted(images.rglob("*.png"))
    table.write_text("path,target\n" + "".join(f"{file},{n}\n" for n, file in enumerate(files)))
    with pytest.raises(UserError, match="are for classes"):
        open_data(load(overrides=[f"data.path={table}", "data.imbalance.ratio=10"]).data)
