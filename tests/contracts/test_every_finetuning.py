"""What holds for every way to fine-tune."""

from __future__ import annotations

from itertools import pairwise

import pytest

from convsmith import catalog


@pytest.mark.parametrize("name", catalog.names("finetuning"))
@pytest.mark.parametrize("stages", [1, 2, 5])
def test_every_stage_has_a_pace_and_the_last_learns(name: str, stages: int) -> None:
    """Deeper stages are more general: none of them learns faster, or wakes earlier, than those after it."""
    paces = catalog.build("finetuning", name)(stages)
    assert len(paces) == stages
    assert paces[-1].scale > 0
    assert paces[-1].start == 0
    assert all(a.scale <= b.scale and a.start >= b.start for a, b in pairwise(paces))
    assert all(pace.scale >= 0 for pace in paces)
