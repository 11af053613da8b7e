from __future__ import annotations

import torch

from convsmith.data.encodings import Votes
from convsmith.data.targets import choose


def test_choice_by_the_numbers() -> None:
    shares = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    assert choose(["a", "b"], shares, None)[0].kind == "distribution"
    assert choose(["a", "b"], shares * 2, None)[0].kind == "numbers"
    assert choose(["a"], torch.ones(2, 1), None)[0].kind == "numbers"
    assert isinstance(choose(["a", "b"], shares * 5, "votes")[0], Votes)
