from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from convsmith.data.label_shuffling import LabelShuffling


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=5))
def test_each_class_reads_the_long_list_modulo_its_size(sizes: list[int]) -> None:
    targets = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    counts = Counter(LabelShuffling(targets, seed=2))
    longest = max(sizes)
    for label, size in enumerate(sizes):
        own = sorted(counts[row] for row in (targets == label).nonzero().flatten().tolist())
        # of 0 .. longest - 1 modulo size, each remainder comes so often
        assert own == sorted(len(range(place, longest, size)) for place in range(size))
