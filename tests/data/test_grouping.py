"""What belongs together stays together: by a column, the folder, a pattern, or what the pictures bear out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from convsmith.data.grouping import grouped, kinship
from convsmith.data.item import Item
from convsmith.errors import UserError

ROOT = Path("/data")


def items(names: list[str], labels: str = "ab") -> list[Item]:
    return [
        Item(ROOT / labels[n % len(labels)] / name, labels[n % len(labels)]) for n, name in enumerate(names)
    ]


def never() -> Tensor:
    raise AssertionError("nobody looks at pictures for this")


def test_by_folder_and_by_pattern() -> None:
    own = [Item(ROOT / "a/p1/1.jpg", "a"), Item(ROOT / "a/p1/2.jpg", "a"), Item(ROOT / "b/p2/x3.jpg", "b")]
    assert grouped(own, ROOT, None, "parent", never) == (["a/p1", "a/p1", "b/p2"], "parent", "")
    assert grouped(own, ROOT, None, r"/(p\d)/", never)[0] == ["p1", "p1", "p2"]
    assert grouped(own, ROOT, None, r"x\d", never)[0] == [None, None, "x3"]
    assert grouped(own, ROOT, None, "none", never)[0] == [None] * 3


def test_a_column_is_taken_by_itself() -> None:
    own = [Item(ROOT / f"{n}.jpg", "ab"[n % 2], group=f"p{n // 2}") for n in range(6)]
    groups, word, why = grouped(own, ROOT, "patient", "auto", never)
    assert groups == [item.group for item in own]
    assert word == "patient"
    assert "3 groups" in why


@pytest.mark.parametrize("wanted", ["parent", "nothing like it", "(p"])
def test_what_divides_nothing_is_refused(wanted: str) -> None:
    own = [Item(ROOT / f"a/{n}.jpg", "a") for n in range(4)]
    with pytest.raises(UserError, match=r"`data.group="):
        grouped(own, ROOT, None, wanted, never)


def scenes(count: int, alike: float) -> tuple[list[Item], Tensor]:
    """Ten pictures of each scene, whose pictures differ by noise of 1 / ``alike``."""
    draws = torch.Generator().manual_seed(0)
    looks = torch.randn(count, 1, 256, generator=draws).expand(-1, 10, -1).reshape(-1, 256)
    noise = torch.randn(10 * count, 256, generator=draws)
    own = [
        Item(ROOT / "ab"[n // 10 % 2] / f"s{n // 10:02d}_{n % 10}.jpg", "ab"[n // 10 % 2])
        for n in range(10 * count)
    ]
    return own, alike * looks + noise


def test_scenes_are_seen_in_the_pictures_and_their_names() -> None:
    own, small = scenes(20, alike=2.0)
    groups, word, why = grouped(own, ROOT, None, "auto", lambda: small)
    assert groups == [item.path.name.partition("_")[0] for item in own]
    assert "20 groups" in why
    assert grouped(own, ROOT, None, word, never)[0] == groups, "the word that is noted gives the same groups"


def test_numbered_names_of_unlike_pictures_are_no_scenes() -> None:
    own, small = scenes(20, alike=0.0)
    assert grouped(own, ROOT, None, "auto", lambda: small) == ([None] * 200, "none", "")
    # A camera's counter: one name for all.
    camera = items([f"IMG_{n:04d}.jpg" for n in range(200)])
    assert grouped(camera, ROOT, None, "auto", lambda: small)[1] == "none"


def test_kinship_by_chance_is_what_chance_gives() -> None:
    draws = torch.Generator().manual_seed(1)
    small = torch.randn(400, 8, generator=draws)
    groups = [str(n % 20) for n in range(400)]
    share, chance, errors = kinship(small, groups, ["a"] * 400)
    assert chance == pytest.approx(19 / 399)
    assert abs(errors) < 4
    assert share < 0.12
