"""An image's side is its own: it follows from its content or group, and from nothing beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.data.item import Item
from convsmith.data.represented import quoted
from convsmith.data.scan import Header
from convsmith.data.splitting import Near, divided, share
from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.recipe import Data

Row = tuple[Item, Header]


def row(content: str, label: str = "a", *, split: str | None = None, age: int = 0) -> Row:
    return Item(Path(f"{label}/{content}.png"), label, split), Header(8, 8, "RGB", content, modified=age)


def alone(rows: Sequence[int]) -> list[tuple[int, int]]:
    return []


def cut(
    rows: Sequence[Row],
    *,
    groups: Sequence[str | None] | None = None,
    near: Near = alone,
    recorded: dict[str, str] | None = None,
    **section: object,
) -> tuple[dict[str, str | None], list[Finding]]:
    """The split of each content."""
    found, findings = divided(
        rows,
        Data.model_validate(section),
        groups=groups or [None] * len(rows),
        near=near,
        recorded=recorded or {},
    )
    return {header.digest: item.split for item, (_, header) in zip(found, rows)}, findings


CLASSES = st.dictionaries(st.sampled_from("abcdef"), st.integers(2, 30), min_size=2)


def rows_of(counts: dict[str, int], salt: object = "") -> list[Row]:
    return [
        row(f"{salt}{label}{number}", label) for label, count in counts.items() for number in range(count)
    ]


@given(counts=CLASSES, more=CLASSES, val=st.floats(0.05, 0.9), test=st.sampled_from([0.0, 0.05]))
@settings(max_examples=150, deadline=None)
def test_others_move_no_image_onto_the_side_that_judges(
    counts: dict[str, int], more: dict[str, int], val: float, test: float
) -> None:
    old, new = rows_of(counts), rows_of(more, "new")
    before, _ = cut(old, val=val, test=test)
    after, _ = cut([*new, *old], val=val, test=test)

    def line(content: str) -> str:
        place = share(content, 0)
        return "val" if place < val else "test" if place >= 1 - test else "train"

    for item, header in old:
        own = header.digest
        if before[own] != line(own) or after[own] == before[own]:
            continue
        # Only a class that has nothing on a side by its own hashes asks others for one.
        lines = {line(other.digest) for its, other in [*new, *old] if its.label == item.label}
        assert after[own] not in lines or line(own) != "train"
        assert after[own] == "train" or line(own) == "train" or after[own] not in lines


@given(counts=CLASSES, val=st.floats(0.01, 0.99), floor=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_every_class_is_in_train_and_in_val(
    counts: dict[str, int], val: float, floor: float, seed: int
) -> None:
    rows = rows_of(counts)
    sides, _ = cut(rows, val=val, floor=floor, seed=seed)
    assert sides == cut(list(reversed(rows)), val=val, floor=floor, seed=seed)[0]
    for label, count in counts.items():
        own = Counter(sides[header.digest] for item, header in rows if item.label == label)
        assert own["train"] >= 1
        assert own["val"] >= 1
        assert own.total() == count
        if floor and own["val"] + own["floor"] > 1:
            assert own["floor"] >= 1
    without, _ = cut(rows, val=val, seed=seed)
    assert {c: "val" if side == "floor" else side for c, side in sides.items()} == without


def test_the_shares_are_those_asked_for() -> None:
    rows = rows_of({"a": 3000, "b": 3000})
    sides, findings = cut(rows, val=0.2, test=0.1)
    found = Counter(sides.values())
    assert not findings
    for name, wanted in (("val", 0.2), ("test", 0.1), ("train", 0.7)):
        assert abs(found[name] / 6000 - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / 6000), name
    other, _ = cut(rows, val=0.2, test=0.1, seed=1)
    again = sum(sides[content] == "val" and other[content] == "val" for content in sides)
    assert abs(again / 6000 - 0.04) < 0.01, "another seed is another draw"
    larger, _ = cut(rows, val=0.3)
    assert all(larger[content] == "val" for content, side in sides.items() if side == "val")


def test_one_image_of_a_class_is_found_for_val_and_said() -> None:
    rows = rows_of({"a": 200, "b": 3})
    lowest = min((header for item, header in rows if item.label == "b"), key=lambda own: share(own.digest, 0))
    val = share(lowest.digest, 0) / 2
    sides, (finding,) = cut(rows, val=val)
    assert sides[lowest.digest] == "val"
    assert "1 of 2 classes had no image in val" in finding.seen
    assert finding.seen.endswith(": b")


PAIRS = st.lists(
    st.tuples(st.integers(0, 39), st.integers(0, 39)).filter(lambda pair: pair[0] != pair[1]), max_size=30
)


@given(pairs=PAIRS, seed=st.integers(0, 3), count=st.integers(20, 39))
@settings(max_examples=150, deadline=None)
def test_copies_are_never_on_two_sides_and_newer_ones_move_no_older_one(
    pairs: list[tuple[int, int]], seed: int, count: int
) -> None:
    rows = [row(f"{number}", "ab"[number % 2], age=number) for number in range(40)]

    def near(fresh: Sequence[int]) -> list[tuple[int, int]]:
        there = set(fresh)
        return [(one, other) for one, other in pairs if {one, other} <= there]

    try:
        sides, findings = cut(rows, near=near, val=0.4, seed=seed)
        older, _ = cut(rows[:count], near=near, val=0.4, seed=seed)
    except UserError:
        return  # a class whose images are all copies of each other
    for one, other in pairs:
        own = {sides[str(one)], sides[str(other)]} - {None}
        assert len(own) < 2
    gone = [content for content, side in sides.items() if side is None]
    assert bool(gone) == any(finding.name == "copies_left_out" for finding in findings)
    for content, side in older.items():
        assert sides[content] == side


@given(sizes=st.lists(st.integers(1, 5), min_size=6, max_size=20), seed=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_group_is_on_one_side_whatever_its_classes(sizes: list[int], seed: int) -> None:
    rows, groups = [], []
    for group, size in enumerate(sizes):
        for number in range(size):
            rows.append(row(f"{group}-{number}", "ab"[(group + number) % 2]))
            groups.append(str(group))
    try:
        sides, _ = cut(rows, groups=groups, val=0.3, seed=seed)
    except UserError:
        return
    own: dict[str, set[str | None]] = {}
    for group, (_, header) in zip(groups, rows):
        own.setdefault(group, set()).add(sides[header.digest])
    assert all(len(found) == 1 for found in own.values())
    assert {side for found in own.values() for side in found} == {"train", "val"}


def test_what_was_trained_on_never_judges() -> None:
    rows = rows_of({"a": 50, "b": 50})
    first, _ = cut(rows)
    recorded = {content: str(side) for content, side in first.items()}
    again, _ = cut([*rows, *rows_of({"a": 50, "b": 50}, "new")], seed=7, recorded=recorded)
    assert {content: again[content] for content in first} == recorded
    assert Counter(side for content, side in again.items() if content not in first)["val"] > 5


def test_the_layouts_own_splits_stay() -> None:
    rows = [row(f"t{n}", "ab"[n % 2], split="train") for n in range(40)]
    rows += [row(f"x{n}", "ab"[n % 2], split="test") for n in range(8)]
    sides, _ = cut(rows, val=0.3)
    assert all((side == "test") == content.startswith("x") for content, side in sides.items())
    assert "val" in sides.values()
    with pytest.raises(UserError, match="have a test split already; leave out data.test"):
        cut(rows, test=0.2)
    own = [row(f"t{n}", "ab"[n % 2], split="train") for n in range(40)]
    own += [row(f"v{n}", "ab"[n % 2], split="val") for n in range(8)]
    sides, _ = cut(own, test=0.3)
    assert all((side == "val") == content.startswith("v") for content, side in sides.items())
    assert Counter(sides.values())["test"] >= 2


def test_all_classes_that_cant_be_divided_are_named_as_the_recipe_takes_them() -> None:
    rows = [*rows_of({"a": 5}), *(row(f"one {label}", label) for label in ("10", "a, b", "[male]", "null"))]
    with pytest.raises(UserError, match="4 classes have 1 image") as caught:
        cut(rows)
    said = str(caught.value).partition("`data.exclude=")[2].rstrip("`")
    assert said == quoted(["10", "[male]", "a, b", "null"])
    from convsmith import recipe as recipes

    found = recipes.load(None, [f"data.exclude={said}"])
    assert found.data.exclude == ["10", "[male]", "a, b", "null"]
    assert recipes.load(None, ["data.exclude=[10]"]).data.exclude == ["10"]
