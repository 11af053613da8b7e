from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from convsmith.data.guided_crop import GuidedCrop
from convsmith.data.shuffle import generator


@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0, 3.0])
def test_places_are_drawn_as_often_as_response_to_the_focus(tmp_path: Path, focus: float) -> None:
    response = np.array([[1.0, 2.0], [3.0, 4.0]])
    file = tmp_path / "maps.npz"
    np.savez(file, maps=response[None].astype(np.float16), files=np.array(["/one.png"]))
    crop = GuidedCrop(16, [Path("/one.png")], str(file), scale=(0.01, 0.02), ratio=(1.0, 1.0), focus=focus)
    n = 20000
    matrices = crop.matrices(n, generator(3), torch.zeros(n, dtype=torch.long))
    centers = matrices[:, :2, 2] + 8  # matrices move the image's middle
    columns, rows = (centers >= 8).long().unbind(1)
    shares = torch.bincount(2 * rows + columns, minlength=4) / n
    expected = torch.from_numpy(response.flatten() ** focus)
    assert shares.tolist() == pytest.approx((expected / expected.sum()).tolist(), abs=0.03)
