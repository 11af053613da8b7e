"""What is given to a verb in another thing's place is refused in a sentence, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import convsmith as cs
from conftest import make_images

untyped: Any = cs  # mypy refuses the same calls


class Net(nn.Module):
    """Of which the class is given."""


CALLS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a class": (lambda d: untyped.train(d, model=Net), r"`model` .* the class Net: make one, Net\(...\)"),
    "a number": (lambda d: untyped.train(d, model=3), "`model` .* an int"),
    "a source": (lambda d: untyped.train(d, start_from=Net()), "`start_from` .* a Net"),
    "words": (lambda d: untyped.train(d, set=3), "`set` .* an int"),
    "a word": (lambda d: untyped.train(d, set=[3]), "`set` .* an int"),
    "a recipe": (lambda d: untyped.train(d, recipe=[1]), "`recipe` .* a list"),
    "images": (lambda d: untyped.train([d]), "`data` .* a list"),
    "no net to fit": (lambda d: untyped.fit(None, d), "`model` .* None"),
    "nothing to fit on": (lambda d: untyped.fit(Net(), None), "`data` .* a NoneType|`data` .* None"),
    "no model": (lambda d: untyped.load(None), "`model` .* None"),
    "a module": (lambda d: untyped.evaluate(Net(), d), "`model` .* a Net"),
    "a run": (lambda d: untyped.diagnose(3), "`run` .* an int"),
    "runs": (lambda d: untyped.compare([3, 4]), "`run` .* an int"),
    "a report": (lambda d: untyped.report(None), "`run` .* None"),
    "a summary": (lambda d: untyped.summary(3), "`model` .* an int"),
}


@pytest.mark.parametrize(("call", "sentence"), CALLS.values(), ids=list(CALLS))
def test_another_type_is_refused(
    call: Callable[[Path], Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(tmp_path / "images", classes=2, images=4)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cs.UserError, match=sentence):
        call(images)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_net_that_may_not_learn_is_refused(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", classes=2, images=8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)).requires_grad_(False)
    with pytest.raises(cs.UserError, match="no weight of the net may learn"):
        cs.fit(net, images, epochs=1, device="cpu", set=["data.size=16"])


def test_a_predictor_refuses_other_pixels(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", classes=2, images=8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    run = cs.train(images, out=tmp_path / "run", model=net, epochs=1, device="cpu", set=["data.size=16"])
    predictor = cs.load(run)
    wrong = [
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(16, 16, 3, dtype=torch.uint8),
        torch.zeros(1, 16, 16, 3),
    ]
    for pixels in wrong:
        with pytest.raises(cs.UserError, match=r"reads uint8 images \(N, 16, 16, 3\), and these are"):
            predictor.outputs(pixels)
