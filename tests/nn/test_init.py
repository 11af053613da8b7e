from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.nn.convolution import DeformableConv2d
from convsmith.nn.init import he, slope_of
from convsmith.nn.patterns import patterns

DEPTH, WIDTH = 30, 256


def ratio(spec: catalog.Spec, activation: str | dict[str, object], width_out: int = WIDTH) -> float:
    """Second moment of what leaves 30 layers over that of what enters them, one net of each of 3 seeds."""
    ratios = []
    for seed in range(3):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for _ in range(DEPTH):
            layers += [nn.Linear(WIDTH, WIDTH), catalog.build("activation", activation, channels=WIDTH)]
        net = nn.Sequential(*layers).eval()
        catalog.build("init", spec)(net)
        x = torch.randn(200, WIDTH)
        with torch.no_grad():
            ratios.append((net(x).square().mean() / x.square().mean()).item())
    return math.exp(sum(math.log(max(r, 1e-300)) for r in ratios) / 3)


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("relu", 0.0),
        ({"leaky_relu": {"slope": 0.3}}, 0.3),
        ({"prelu": {"init": 0.25}}, 0.25),
        ({"rrelu": {"lower": 0.2, "upper": 0.4}}, 0.3),
    ],
)
@pytest.mark.parametrize("fan", ["in", "out"])
def test_he_keeps_the_second_moment_through_rectifiers(activation, slope: float, fan: str) -> None:  # type: ignore[no-untyped-def]
    """Within a factor of 3 after 30 layers; the slope is the net's own, or given."""
    assert 1 / 3 < ratio({"he": {"fan": fan}}, activation) < 3
    assert 1 / 3 < ratio({"he": {"slope": slope}}, activation) < 3


def test_he_without_the_slope_explodes_slowly() -> None:
    """(1 + 0.8^2)^30 = 2.8 million: the slope matters."""
    assert ratio({"he": {"slope": 0.0}}, {"leaky_relu": {"slope": 0.8}}) > 1e5
    assert 1 / 3 < ratio("he", {"leaky_relu": {"slope": 0.8}}) < 3


def linear_ratio(spec: catalog.Spec) -> float:
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
    catalog.build("init", spec)(net)
    x = torch.randn(200, WIDTH)
    return (net(x).square().mean() / x.square().mean()).item()


@pytest.mark.parametrize("fan", ["in", "average"])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_xavier_keeps_linear_signals_and_tanh_alive(fan: str, distribution: str) -> None:
    spec: catalog.Spec = {"xavier": {"fan": fan, "distribution": distribution}}
    assert 1 / 3 < linear_ratio(spec) < 3
    # tanh' < 1, so a saturating net decays, but polynomially: Glorot & Bengio's figure 7
    assert 0.01 < ratio(spec, "tanh") < 1


def test_a_fixed_gaussian_vanishes_or_explodes() -> None:
    """Each layer multiplies the second moment by 256 std^2 (half of it after ReLU)."""
    assert ratio({"gaussian": {"std": 0.01}}, "relu") < 1e-40
    assert ratio({"gaussian": {"std": 0.2}}, "relu") > 1e20
    assert linear_ratio({"gaussian": {"std": 0.01}}) < 1e-40
    assert ratio({"uniform": {"limit": 0.01}}, "relu") < 1e-40
    assert ratio({"uniform": {"limit": 0.4}}, "relu") > 1e20


def test_variances_are_the_papers() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 256, 3)
    for spec, variance in [
        ("he", 2 / (64 * 9)),
        ({"he": {"fan": "out"}}, 2 / (256 * 9)),
        ({"he": {"distribution": "uniform"}}, 2 / (64 * 9)),
        ("by_activation", 2 / ((64 + 256) * 9)),
        ({"he": {"fan": "in", "slope": 0.5}}, 2 / (1.25 * 64 * 9)),
        ("xavier", 2 / ((64 + 256) * 9)),
        ({"xavier": {"fan": "in"}}, 1 / (64 * 9)),
        ({"xavier": {"distribution": "normal"}}, 2 / ((64 + 256) * 9)),
        ({"gaussian": {"std": 0.02}}, 0.02**2),
        ({"uniform": {"limit": 0.3}}, 0.3**2 / 3),
    ]:
        nn.init.ones_(layer.bias)  # type: ignore[arg-type]
        catalog.build("init", spec)(layer)  # type: ignore[arg-type]
        assert layer.weight.var().item() == pytest.approx(variance, rel=0.02), spec
        assert abs(layer.weight.mean().item()) < 4 * math.sqrt(variance / layer.weight.numel())
        assert layer.bias is not None
        assert not layer.bias.any()


@pytest.mark.parametrize("spec", ["zero", {"gaussian": {"std": 0}}, {"uniform": {"limit": 0}}])
def test_zero_is_refused_with_the_reason(spec: catalog.Spec) -> None:
    with pytest.raises(UserError, match="all units of a layer would compute the same, get the same gradient"):
        catalog.build("init", spec)


def test_zero_would_indeed_keep_all_units_the_same() -> None:
    """What the refusal says, seen: hidden units that start alike stay alike."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = torch.randn(32, 4), torch.randn(32, 1)
    for _ in range(20):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    first = net[0].weight
    assert torch.allclose(first, first[:1].expand_as(first))


def test_slope_is_read_from_the_net() -> None:
    assert slope_of(nn.Sequential(nn.Linear(1, 1), nn.ReLU())) == 0
    assert slope_of(nn.Sequential(nn.RReLU(0.1, 0.3))) == pytest.approx(0.2)


@pytest.mark.parametrize("fan", ["in", "out"])
def test_other_convolutions_have_hes_variance_too(fan: str) -> None:
    """A transposed convolution's weight has its inputs first; fans are those of the layer."""
    torch.manual_seed(0)
    for layer, inputs, outputs in (
        (nn.Conv1d(40, 300, 5), 40 * 5, 300 * 5),
        (nn.Conv3d(20, 100, 3), 20 * 27, 100 * 27),
        (nn.ConvTranspose2d(40, 300, 3), 40 * 9, 300 * 9),
    ):
        he(fan=fan)(layer)  # type: ignore[arg-type]
        assert layer.weight.var().item() == pytest.approx(2 / (inputs if fan == "in" else outputs), rel=0.05)
        assert not layer.bias.any()


SHAPES: dict[str, nn.Module] = {
    "narrow to wide": nn.Linear(60, 900),
    "wide to narrow": nn.Conv2d(160, 32, 3),
    "oblong": nn.Conv2d(24, 96, (3, 5)),
    "strided": nn.Conv2d(32, 128, 3, stride=2),
    "strided along one axis": nn.Conv2d(32, 64, (1, 7), stride=(1, 3)),
    "dilated": nn.Conv2d(32, 64, 3, dilation=2),
    "in groups": nn.Conv2d(64, 256, 3, groups=4),
    "depthwise": nn.Conv2d(300, 300, 3, groups=300),
    "depthwise, strided, four a channel": nn.Conv2d(96, 384, 5, stride=2, groups=96),
    "transposed, in groups": nn.ConvTranspose2d(64, 256, 3, groups=4),
}


def gains(layer: nn.Module) -> tuple[float, float]:
    """Second moment of outputs over that of inputs, and of the inputs' gradients over that of the outputs'.

    Measured with random numbers, away from the border, over whole periods of the stride; a stride's share of
    pixels that are read is counted back.
    """
    linear = isinstance(layer, nn.Linear)
    shape = (1000, layer.in_features) if linear else (2, layer.in_channels, 49, 49)
    x = torch.randn(*shape, requires_grad=True)  # type: ignore[arg-type]
    y = layer(x)
    dy = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, x, dy)
    inside = (...,) if linear else (..., slice(12, 36), slice(12, 36))
    middle = inside if isinstance(layer, nn.ConvTranspose2d) else (...,)
    skipped = 1 if linear else math.prod(layer.stride)  # type: ignore[arg-type]
    forward = y[middle].square().mean() / x.square().mean()
    return forward.item(), (dx[inside].square().mean() / dy.square().mean() * skipped).item()


@pytest.mark.parametrize("name", SHAPES)
def test_signals_and_gradients_keep_their_size_through_layers_of_any_shape(name: str) -> None:
    """By what comes out: 2 for he (half of which a ReLU takes), 1 for xavier, whose average of both fans
    shares 2 between the two directions."""
    torch.manual_seed(0)
    layer = SHAPES[name]
    for distribution in ("normal", "uniform"):
        he(fan="in", distribution=distribution)(layer)  # type: ignore[arg-type]
        assert gains(layer)[0] == pytest.approx(2, rel=0.1)
        he(fan="out", distribution=distribution)(layer)  # type: ignore[arg-type]
        assert gains(layer)[1] == pytest.approx(2, rel=0.1)
        catalog.build("init", {"xavier": {"fan": "in", "distribution": distribution}})(layer)
        assert gains(layer)[0] == pytest.approx(1, rel=0.1)
        catalog.build("init", {"xavier": {"distribution": distribution}})(layer)
        assert sum(gains(layer)) == pytest.approx(2, rel=0.1)


def test_a_pruned_convolution_in_groups_is_filled_group_by_group() -> None:
    torch.manual_seed(0)
    layer = nn.utils.prune.l1_unstructured(nn.Conv2d(64, 512, 3, groups=4), "weight", amount=0.0)
    he(fan="out")(layer)
    assert layer.weight_orig.var().item() == pytest.approx(2 / (128 * 9), rel=0.05)


def test_fixed_patterns_of_a_pruned_convolution() -> None:
    net = nn.Sequential(nn.utils.prune.l1_unstructured(nn.Conv2d(2, 9, 3), "weight", amount=0.5), nn.ReLU())
    patterns(fixed=True, gain=1.0)(net)
    assert not net[0].weight_orig.requires_grad
    kernels = net[0].weight_orig.detach()
    assert kernels.flatten(1).norm(dim=1).allclose(torch.ones(9))
    assert kernels[:, 0].equal(kernels[:, 1])


def test_a_form_that_has_no_inverse_is_refused_by_the_layers_name() -> None:
    class Absolute(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight.abs()

    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.utils.parametrize.register_parametrization(net[1], "weight", Absolute())
    with pytest.raises(UserError, match="the weight of 1 is computed by Absolute, which can't take a new"):
        he()(net)


def test_offsets_of_a_parametrized_deformable_convolution_start_at_zero_or_are_refused() -> None:
    layer = DeformableConv2d(2, 3, 3)
    nn.init.ones_(layer.offsets.weight)
    nn.utils.prune.random_unstructured(layer.offsets, "weight", amount=0.5)
    he()(layer)
    assert not layer.offsets.weight_orig.any()
    torch.nn.utils.parametrizations.weight_norm(other := DeformableConv2d(2, 3, 3).offsets)
    with pytest.raises(UserError, match="weight normalization has no zero"):
        other.start(nn.init.zeros_)


def test_he_uniform_is_uniform() -> None:
    """Bounded by the root of three deviations, which a Gaussian exceeds in 8% of draws."""
    torch.manual_seed(0)
    layer = nn.Linear(400, 400)
    he(distribution="uniform")(layer)
    limit = math.sqrt(3 * 2 / 400)
    assert limit * 0.99 < float(layer.weight.abs().max()) <= limit


@pytest.mark.parametrize("activation", ["relu", "elu", "prelu", "leaky_relu", "tanh", "sigmoid"])
def test_the_rule_by_activation_keeps_signals_alive(activation: str) -> None:
    """He's rule would saturate a tanh, Glorot's would halve a rectifier's signal in each layer."""
    if activation in ("tanh", "sigmoid"):
        assert ratio("by_activation", activation) == ratio("xavier", activation)
    else:
        assert ratio("by_activation", activation) == ratio("he", activation)


def test_a_net_that_names_its_classifier_starts_it_apart() -> None:
    torch.manual_seed(0)
    net = catalog.build("model", "lenet300_100", num_classes=1000, init={"he": {"fan": "out"}})
    assert float(net.fc.weight.std()) == pytest.approx(0.5 / math.sqrt(100), rel=0.05)
    assert not net.fc.bias.any()
    hidden = next(layer for layer in net.modules() if isinstance(layer, nn.Linear))
    assert float(hidden.weight.var()) == pytest.approx(2 / 300, rel=0.05)
