from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith.errors import UserError
from convsmith.models.lenet import lenet300_100
from convsmith.models.resnet import small_resnet
from convsmith.nn.responses import captured, class_responses, rectifiers, watch


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))


def test_what_is_captured_is_the_layers_own_output_though_the_next_works_in_place() -> None:
    model = net()
    x = torch.randn(2, 1, 9, 9)
    with captured(model, ["0", "1"]) as seen:
        model(x)
    assert seen["0"].equal(model[0](x))
    assert seen["1"].equal(model[0](x).relu())
    assert (seen["0"] < 0).any()
    assert not any(layer._forward_hooks for layer in model.modules())


def test_unknown_layers_answer_with_the_nearest() -> None:
    with (
        pytest.raises(UserError, match="no layer 'layer1.0.cnv1'; did you mean 'layer1.0.conv1'"),
        captured(small_resnet(20, width=2), ["layer1.0.cnv1"]),
    ):
        pass


def test_statistics_by_brute_force_over_batches() -> None:
    model = net()
    images = torch.randn(25, 1, 10, 8)
    found = watch(model, ["1", "3"], iter(images.split(7)), top=4)
    for name, depth in (("1", 2), ("3", 4)):
        with torch.no_grad():
            maps = model[:depth](images)
        own = found[name]
        assert own.zero_share == pytest.approx((maps <= 0).float().mean().item())
        assert own.dead == int((maps.amax((0, 2, 3)) <= 0).sum())
        best = maps.flatten(2).amax(2)
        for channel in range(maps.shape[1]):
            values, rows = best[:, channel].topk(4)
            assert torch.allclose(own.values[channel], values)
            assert own.images[channel].tolist() == rows.tolist()
            for value, row, (y, x) in zip(values, rows, own.places[channel].tolist()):
                assert maps[row, channel, y, x] == value


def test_a_dead_channel_is_counted() -> None:
    model = net()
    with torch.no_grad():
        model[0].bias[1] = -1e6
    found = watch(model, ["1"], iter([torch.randn(5, 1, 9, 9)]))
    assert found["1"].dead == 1
    assert found["1"].zero_share > 1 / 3


def test_vectors_count_as_maps_of_one_place_and_training_mode_returns() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).train()
    found = watch(model, rectifiers(model), iter([torch.randn(6, 4)]))
    assert found["1"].shape == (3, 1, 1)
    assert model.training


def test_response_maps_of_a_pooled_net_are_class_activation_maps() -> None:
    """Zhou et al. 2016: the classifier's weights over the maps; Grad-CAM divides by the number of places."""
    torch.manual_seed(0)
    net = small_resnet(20, num_classes=5, width=4).eval()
    images, target = torch.randn(3, 3, 16, 16), torch.tensor([4, 0, 2])
    maps = net.forward_features(images)
    weights = net.get_classifier().weight[target]
    expected = torch.einsum("nd,ndhw->nhw", weights, maps).clamp_min(0) / maps[0, 0].numel()
    found = class_responses(net, images, target)
    assert found.any()
    assert torch.allclose(found, expected, atol=1e-6)


def test_nets_without_maps_are_refused() -> None:
    with pytest.raises(UserError, match="no maps before its classifier"):
        class_responses(lenet300_100(size=8, in_channels=1), torch.randn(1, 1, 8, 8), torch.tensor([0]))
