from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.models.trained_weights import reachable


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


@pytest.mark.parametrize("offline", [True, False])
def test_pretrained_without_the_hub_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, offline: bool
) -> None:
    """The user's own offline mode, and a hub at whose address nothing listens: no retries, no log."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="pretrained weights of timm:resnet10t.* cannot be fetched") as caught:
        catalog.build("model", {"timm:resnet10t": {"pretrained": True}})
    assert "\n" not in str(caught.value)
    assert "`model=timm:resnet10t`" in str(caught.value)
    assert "Retry" not in caplog.text
    assert offline == constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_asked() -> None:
    """Any answer counts, also a refusal; silence does not."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert reachable(address), "501, not implemented, is an answer"
        thread.join()
    assert not reachable(address)
