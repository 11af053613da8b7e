"""What a program can't carry: named with its layer, before anything is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from changed_nets import CLASSES, NETS, SIZE, SIZES, made, of_timm, small
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from travelling import answers_alike, predictor

import convsmith as cs
from convsmith.inference import model_file
from convsmith.nn.computed import copied

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*lazy modules.*:UserWarning"),
]


# ---- what a program can't carry is said


class Depth(nn.Module):
    """Stochastic depth."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x * (torch.rand(x.shape[0], 1, 1, 1) < 0.5) / 0.5
        return x


class Straight(torch.autograd.Function):
    """The sign, with the gradient of the identity."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Straight.apply(x)
        return y


def spectral(way: Callable[[nn.Module], object]) -> nn.Module:
    net = small()
    way(net[4])
    return net


OTHERWISE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "depth": (lambda: small(norm=Depth()), "layer 1 does"),
    "two depths": (
        lambda: small(
            nn.Sequential(nn.Unflatten(1, (32, 1, 1)), Depth(), nn.Flatten(), nn.Linear(32, 3)), Depth()
        ),
        "layers 1, 9.1 do",
    ),
    "sign": (lambda: small(norm=Sign()), "layer 0 does"),
    "spectral norm": (lambda: spectral(parametrizations.spectral_norm), "layer 4 does"),
    "old spectral norm": (lambda: spectral(torch.nn.utils.spectral_norm), "layer 4 does"),
    "attention's dropout": (
        of_timm(
            "vit_tiny_patch16_224",
            img_size=SIZE,
            patch_size=4,
            embed_dim=12,
            depth=2,
            num_heads=3,
            attn_drop_rate=0.3,
        ),
        "layers blocks.0.attn, blocks.1.attn do",
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_training_does_otherwise_is_said_with_the_layers(name: str, tmp_path: Path) -> None:
    make, where = OTHERWISE[name]
    torch.manual_seed(0)
    net = make().eval()
    before = copied(net).state_dict()
    own = predictor(net)
    (finding,) = model_file.draft(own).findings
    assert finding.seen == f"{where} in training what a program can't carry"
    assert finding.change
    with pytest.warns(UserWarning, match=where):
        own.save(tmp_path)
    answers_alike(net, cs.load(tmp_path).module)
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("name", [name for name in NETS if not name.startswith("timm")])
def test_nothing_is_said_of_what_trains_alike(name: str) -> None:
    assert model_file.draft(predictor(made(name), SIZES.get(name, SIZE))).findings == ()


# ---- what is refused


class If(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


class Batches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.shape[0] > 1 else x.amax((2, 3))


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x.mean((2, 3)) * self.seen


class Free(nn.Module):
    def __init__(self, way: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Any:
        return self.way(x)


def no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x.mean((2, 3))


def without_autocast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return x.mean((2, 3))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "values": (
        lambda: small(norm=nn.Sequential(nn.Tanh(), If())),
        r"layer 1\.1 \(If\) .*depends on the values.*torch\.where",
    ),
    "item": (lambda: Free(lambda x: x.mean((2, 3)) * float(x.max())), "depends on the values"),
    "numpy": (
        lambda: Free(lambda x: torch.from_numpy(x.numpy().mean((2, 3)))),
        r"numpy\(\) is not supported",
    ),
    "tuple": (lambda: Free(lambda x: (x.mean((2, 3)), x)), r"gives a tuple.*one tensor \(N, K\)"),
    "dict": (lambda: Free(lambda x: {"logits": x.mean((2, 3))}), "gives a dict"),
    "constant": (lambda: Free(lambda x: torch.zeros(2, CLASSES)), "isn't computed from the images"),
    "maps": (lambda: Free(lambda x: x), r"gives \(1, 3, 16, 16\) for one image"),
    "batches": (Batches, "branch on the number of images"),
    "counting": (Counting, "changes its tensor seen when it answers"),
    "no_grad": (lambda: Free(no_grad), r"torch\.no_grad\(\).*\.detach\(\)"),
    "autocast": (lambda: Free(without_autocast), r"torch\.autocast.*around the call"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cant_travel_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    net = make().eval()
    before = copied(net).state_dict()
    with pytest.raises(cs.UserError, match=message) as caught:
        predictor(net).save(tmp_path / "net")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "net").exists()
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    assert not net._forward_hooks
    assert not net._forward_pre_hooks
