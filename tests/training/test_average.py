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


def test_only_statistics_of_normalizations_are_averaged_among_buffers() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(2)
            self.register_buffer("mask", torch.tensor([0.0, 1.0]))
            self.register_buffer("indices", torch.tensor([0, 1]))
            self.register_buffer("image", torch.zeros(2), persistent=False)

    net = Net()
    average = exponential_average(net, decay=0.9)
    average.update_parameters(net)
    net.norm.running_var.fill_(3.0)
    net.mask.copy_(torch.tensor([1.0, 0.0]))
    net.indices.fill_(7)
    net.image.fill_(2.0)
    average.update_parameters(net)
    found = average.module
    assert found.norm.running_var.allclose(torch.tensor(1 + 2 * (1 - 2 / 11)))
    for name in ("mask", "indices", "image"):
        assert getattr(found, name).equal(getattr(net, name)), name


def test_its_state_is_that_of_torchs_averaged_model() -> None:
    """Checkpoints from before this class had buffers averaged go on."""
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = exponential_average(net, decay=0.9)
    average.update_parameters(net)
    other = torch.optim.swa_utils.AveragedModel(net, use_buffers=True)
    other.load_state_dict(average.state_dict())
    assert int(other.n_averaged) == 1
    assert list(other.state_dict()) == list(average.state_dict())
