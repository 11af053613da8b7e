"""What a net or layer remembers of its call is enough to make it again."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.catalog import Fetched, technique
from convsmith.errors import UserError

LAYER_KINDS = ("activation", "pooling", "global_pooling", "norm", "dropout", "neck", "convolution")
LAYERS = [(kind, name) for kind in LAYER_KINDS for name in catalog.names(kind)]
MODELS = [name for name in catalog.names("model") if name not in ("timm", "source")] + ["timm:resnet10t"]


def again(built: object) -> Any:
    """Through JSON, as a file would keep it."""
    kind, name, arguments = json.loads(json.dumps(catalog.call_of(built)))
    return catalog.rebuild(kind, name, arguments)


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_net_is_made_again(name: str) -> None:
    options: dict[str, Any] = {"activation": {"prelu": {"init": 0.1, "per_channel": True}}}
    if name == "fully_convolutional":
        options = {"model": {"lenet5": options}, "trained_size": 20}
    if name == "with_convolution":
        options = {"model": {"resnet20": options}, "stages": [1, -1]}
    given = {"num_classes": 7, "in_channels": 2, "size": 67, "width": 32, "hidden": 24}
    net = catalog.build("model", {name: options}, **given)
    twin = again(net)
    assert shapes(twin) == shapes(net)
    assert type(twin) is type(net)
    assert catalog.call_of(twin) == catalog.call_of(net)
    other = catalog.build("model", name, num_classes=7, in_channels=3, size=67)
    assert shapes(other) != shapes(net), "the arguments matter"


@pytest.mark.parametrize(("kind", "name"), LAYERS)
def test_every_layer_is_made_again(kind: str, name: str) -> None:
    window = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "bias": False}
    layer = catalog.build(kind, name, channels=6, in_channels=6, out_channels=4, **window)
    twin = again(layer)
    assert type(twin) is type(layer)
    assert shapes(twin) == shapes(layer)
    assert repr(twin) == repr(layer), "windows and options too"


def test_a_family_and_a_subclass_answer_with_their_own_names() -> None:
    from convsmith.objectives.penalties import L2

    assert catalog.call_of(catalog.build("model", "vgg13", width=8))[1] == "vgg13"
    assert "depth" not in catalog.call_of(catalog.build("model", "vgg13", width=8))[2]

    class Mine(L2):
        """Built like its parent, but another thing."""

    with pytest.raises(TypeError, match="Mine was not built by a technique"):
        catalog.describe(Mine(0.1))

    @technique("term", "carded")
    class Carded(L2):
        """A card of its own."""

        def __init__(self, share: float = 0.5) -> None:
            super().__init__(weight=share)

    assert catalog.call_of(Carded(0.25)) == ("term", "carded", {"share": 0.25})


def test_weights_are_recorded_and_not_fetched_again() -> None:
    @technique("model", "fetcher")
    def fetcher(architecture: str, pretrained: Annotated[bool, Fetched()] = False) -> nn.Module:
        """A net with a switch."""
        net = nn.Identity()
        net.fetched = pretrained  # type: ignore[assignment]
        return net

    net = catalog.build("model", {"fetcher:large": {"pretrained": True}})
    assert catalog.call_of(net) == ("model", "fetcher:large", {"pretrained": True})
    assert net.fetched
    twin = again(net)
    assert not twin.fetched
    assert catalog.call_of(twin) == ("model", "fetcher:large", {"pretrained": False})
    assert "pretrained" in catalog.call_of(catalog.build("model", "timm:resnet10t"))[2]


def test_a_net_within_a_net_is_not_fetched_again_either() -> None:
    inner = {"timm:no_such_net": {"pretrained": True}}
    with pytest.raises(UserError, match="timm has no net 'no_such_net'"):
        catalog.rebuild("model", "with_convolution", {"model": inner})
    arguments = {"model": {"timm:resnet10t": {"pretrained": True}}, "size": 64}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        twin = catalog.rebuild("model", "with_convolution", arguments)
    assert catalog.call_of(twin)[2]["model"] == {"timm:resnet10t": {"pretrained": False}}


def test_what_a_file_can_not_hold_is_refused() -> None:
    term = catalog.build("term", "weighted_cross_entropy", counts=torch.ones(2), classes=["a", "b"])
    with pytest.raises(TypeError, match="weighted_cross_entropy was built with counts, which a file can't"):
        catalog.call_of(term)
    with pytest.raises(UserError, match="model resnet20 has no argument 'widht'; did you mean 'width'"):
        catalog.rebuild("model", "resnet20", {"widht": 3})


def test_an_argument_that_must_be_given_is_named() -> None:
    with pytest.raises(UserError, match="model timm needs its architecture: write timm:ARCHITECTURE"):
        catalog.build("model", "timm", num_classes=3, in_channels=3, size=32)
