from __future__ import annotations

import pytest
import timm
import torch

from convsmith import catalog
from convsmith.errors import UserError


def test_it_is_timms_net() -> None:
    torch.manual_seed(1)
    ours = catalog.build("model", "timm:resnet10t", num_classes=5, in_channels=1, size=64).eval()
    torch.manual_seed(1)
    theirs = timm.create_model("resnet10t", num_classes=5, in_chans=1).eval()
    images = torch.randn(2, 1, 64, 64)
    assert ours(images).equal(theirs(images))


def test_mistakes() -> None:
    with pytest.raises(UserError, match="timm has no net 'resnt18'; did you mean 'resnet18'"):
        catalog.build("model", "timm:resnt18")


def test_pretrained_offline_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="pretrained weights of timm:resnet10t.* cannot be fetched") as caught:
        catalog.build("model", {"timm:resnet10t": {"pretrained": True}})
    assert "\n" not in str(caught.value)
    assert "--model timm:resnet10t" in str(caught.value)
