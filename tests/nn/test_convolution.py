from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import deform_conv2d

from convsmith.nn.convolution import DeformableConv2d, _by_sampling, dilated, plain


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_deformable_with_zero_offsets_is_a_convolution(modulated: bool, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = DeformableConv2d(3, 5, 3, stride, dilation=dilation, modulated=modulated)
    x = torch.randn(2, 3, 9, 8)
    expected = F.conv2d(x, layer.weight, layer.bias, stride, dilation, dilation)
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_a_whole_pixel_offset_shifts_what_is_seen() -> None:
    torch.manual_seed(0)
    layer = DeformableConv2d(2, 4, 3, modulated=False)
    x = torch.randn(1, 2, 8, 8)
    with torch.no_grad():
        layer.offsets.bias[1::2] = 1.0  # every tap one pixel to the right
    shifted = F.pad(x, (0, 1))[..., 1:]
    expected = F.conv2d(shifted, layer.weight, layer.bias, padding=1)
    # The first column of the convolution pads with 0 what the shifted image still has.
    assert torch.allclose(layer(x)[..., 1:-1], expected[..., 1:-1], atol=1e-5)


def test_modulation_scales_each_tap() -> None:
    torch.manual_seed(0)
    layer = DeformableConv2d(2, 4, 3, bias=False)
    x = torch.randn(1, 2, 6, 6)
    full = layer(x)
    with torch.no_grad():
        layer.offsets.bias[18:] = -30.0  # sigmoid of it is 0
    assert torch.allclose(layer(x), torch.zeros(()), atol=1e-6)
    assert full.abs().max() > 0.1


@pytest.mark.parametrize("masked", [True, False])
def test_sampling_for_export_is_torchvisions_operator(masked: bool) -> None:
    """Two independent implementations, at offsets that also leave the image."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 9, 7), torch.randn(4, 3, 3, 3), torch.randn(4)
    offset = torch.randn(2, 18, 5, 4) * 4
    mask = torch.rand(2, 9, 5, 4) if masked else None
    options = ([2, 2], [2, 2], [2, 2])
    found = _by_sampling(x, offset, weight, bias, *options, mask)
    stride, padding, dilation = ((a, b) for a, b in options)
    assert torch.allclose(
        found, deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask), atol=1e-4
    )


@pytest.mark.parametrize("groups", [2, 6])
def test_groups_move_alike_and_do_not_see_each_other(groups: int) -> None:
    """Each group alone, with the same offsets, is torchvision's operator and the one for export."""
    torch.manual_seed(0)
    layer = DeformableConv2d(6, 12, 3, 2, groups=groups)
    torch.nn.init.normal_(layer.offsets.bias)
    x = torch.randn(2, 6, 9, 8)
    found = layer.offsets(x)
    offset, mask = found[:, :18], 2 * found[:, 18:].sigmoid()
    parts = zip(x.chunk(groups, 1), layer.weight.chunk(groups), layer.bias.chunk(groups))  # type: ignore[union-attr]
    expected = torch.cat([deform_conv2d(a, offset, w, b, 2, 1, 1, mask) for a, w, b in parts], 1)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    sampled = _by_sampling(x, offset, layer.weight, layer.bias, (2, 2), (1, 1), (1, 1), mask)
    assert torch.allclose(sampled, expected, atol=1e-4)


def test_initialization_leaves_offsets_at_zero() -> None:
    from convsmith import catalog

    layer = DeformableConv2d(3, 4, 3)
    catalog.build("init", "he")(layer)
    assert not layer.offsets.weight.any()
    assert layer.weight.std() > 0.1


def test_dilated_is_a_convolution_with_a_kernel_full_of_holes() -> None:
    torch.manual_seed(0)
    layer = dilated(2, 3, 3, dilation=3)
    x = torch.randn(1, 2, 10, 11)
    sparse = torch.zeros(3, 2, 7, 7)
    sparse[:, :, ::3, ::3] = layer.weight.detach()
    assert torch.allclose(layer(x), F.conv2d(x, sparse, layer.bias, padding=3), atol=1e-5)


def test_all_sorts_give_the_same_sizes() -> None:
    x = torch.zeros(1, 2, 9, 8)
    for stride in (1, 2):
        shapes = {make(2, 3, 3, stride)(x).shape for make in (plain, dilated, DeformableConv2d)}
        assert len(shapes) == 1
