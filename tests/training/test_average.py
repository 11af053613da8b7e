from __future__ import annotations

import torch
from torch import nn

from convsmith.training.average import exponential_average


def test_recursion_with_its_warm_up() -> None:
    """After the first copy: d_t = min(decay, (1 + t) / (10 + t)), t counting the updates so far."""
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).double()
    average = exponential_average(net, decay=0.6)
    draws = torch.Generator().manual_seed(0)
    weight, running = None, None
    for t in range(30):
        with torch.no_grad():
            net[0].weight.copy_(torch.randn(2, 2, generator=draws, dtype=torch.float64))
            net[1].running_mean.copy_(torch.randn(2, generator=draws, dtype=torch.float64))
            net[1].num_batches_tracked.fill_(t)
        average.update_parameters(net)
        d = min(0.6, (1 + t) / (10 + t))
        weight = net[0].weight.detach().clone() if weight is None else d * weight + (1 - d) * net[0].weight
        running = (
            net[1].running_mean.clone() if running is None else d * running + (1 - d) * net[1].running_mean
        )
    assert torch.allclose(average.module[0].weight, weight, rtol=1e-12)
    assert torch.allclose(average.module[1].running_mean, running, rtol=1e-12)
    assert int(average.module[1].num_batches_tracked) == 29
