from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith import catalog
from convsmith.models.resnet import BasicBlock, PadShortcut, small_resnet
from convsmith.nn.parts import Parts
from convsmith.nn.summary import summarize

# He et al. 2016, section 4.2: 6n+2 layers, 16-32-64 filters, zero-padded shortcuts; summed by hand:
# 3*16*9 + convolutions of the stages + 2 a channel for each batch normalization + the classifier.
PAPER = {20: 0.27e6, 32: 0.46e6, 44: 0.66e6, 56: 0.85e6, 110: 1.7e6}


@pytest.mark.parametrize("depth", sorted(PAPER))
def test_parameters_are_the_papers(depth: int) -> None:
    n = (depth - 2) // 6
    convolutions = 9 * (3 * 16 + 2 * n * 16**2)
    convolutions += 9 * (16 * 32 + (2 * n - 1) * 32**2) + 9 * (32 * 64 + (2 * n - 1) * 64**2)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    net = catalog.build("model", f"resnet{depth}")
    count = sum(p.numel() for p in net.parameters())
    assert count == convolutions + norms + 64 * 10 + 10
    # the paper's table 6 gives two digits
    assert count == pytest.approx(PAPER[depth], rel=0.03)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth


def test_multiply_accumulates_are_the_papers() -> None:
    assert summarize(small_resnet(20), (3, 32, 32)).macs == pytest.approx(41e6, rel=0.02)


def test_block_adds_its_subsampled_zero_padded_input() -> None:
    torch.manual_seed(0)
    block = BasicBlock(4, 8, 2, Parts(norm="batch"), PadShortcut(4, 2)).eval()
    nn.init.zeros_(block.bn2.weight)  # silences the convolutions
    x = torch.randn(2, 4, 6, 6).abs()
    expected = torch.cat([torch.zeros(2, 2, 3, 3), x[:, :, ::2, ::2], torch.zeros(2, 2, 3, 3)], 1)
    assert block(x).equal(expected)


def test_net_is_its_blocks_in_order() -> None:
    torch.manual_seed(0)
    net = small_resnet(20, width=4).eval()
    x = torch.randn(1, 3, 9, 11)
    y = F.relu(net.bn1(net.conv1(x)))
    for stage in (net.layer1, net.layer2, net.layer3):
        for block in stage:
            y = block(y)
    assert torch.allclose(net(x), net.fc(F.adaptive_avg_pool2d(y, 1).flatten(1)), atol=1e-6)


def test_activation_by_name() -> None:
    net = small_resnet(20, activation={"leaky_relu": {"slope": 0.2}})
    slopes = {m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}
    assert not any(isinstance(m, nn.ReLU) for m in net.modules())
