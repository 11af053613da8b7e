"""Seeds of single batches: functions of their place in a training, so that a resumed one draws the same."""

from __future__ import annotations

import numpy as np
import torch


def reseed(seed: int, device: torch.device) -> None:
    """Seed torch's generators, without the traceback that torch.manual_seed keeps for idle GPUs."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def seed_of(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1
