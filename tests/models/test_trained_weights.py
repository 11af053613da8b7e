"""Where pretrained weights are looked for, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from convsmith import catalog
from convsmith.models import trained_weights as weights

NET = "tf_efficientnet_lite0"
needs_package = pytest.mark.skipif(
    weights.packaged(NET) is None, reason="convsmith[weights] is not installed"
)


@needs_package
def test_a_packages_tensors_are_timms_in_order() -> None:
    """A net of timm with them answers; shapes and kinds agree one by one; grey images sum the kernels."""
    found = weights.find(NET, ask_hub=False)
    assert found is not None
    assert found.place == "package"
    assert found.license == "apache-2.0"
    tensors = weights.tensors_of(found)
    own = timm.create_model(NET)
    own.load_state_dict(tensors)
    held = torch.load(weights.packaged(NET), weights_only=True)  # type: ignore[arg-type]
    assert [key.rpartition(".")[2] for key in held] == [key.rpartition(".")[2] for key in tensors]
    grey = catalog.build("model", {f"timm:{NET}": {"pretrained": True}}, num_classes=3, in_channels=1)
    torch.testing.assert_close(
        grey.conv_stem.weight, tensors["conv_stem.weight"].sum(1, keepdim=True), rtol=1e-5, atol=1e-6
    )
    # Trained features tell a photograph's parts from noise: its channels respond unlike random ones do.
    assert float(tensors["bn1.running_var"].std()) > 0


def test_the_cache_comes_before_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert weights.find("resnet10t") is None, "no package has it, and the hub is switched off"
    for name, repository in (("resnet10t", "resnet10t.c3_in1k"), (NET, f"{NET}.in1k")):
        place = tmp_path / f"models--timm--{repository}"
        (place / "refs").mkdir(parents=True)
        (place / "refs/main").write_text("0" * 40)
        (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
        save_file({"a": torch.ones(1)}, place / "snapshots" / ("0" * 40) / "model.safetensors")
        found = weights.find(name)
        assert found is not None
        assert found.place == "cache"


def test_a_net_that_nobody_trained_has_no_weights() -> None:
    assert weights.find("no_such_net") is None


def test_other_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="holds other tensors than tf_efficientnet_lite0"):
        weights.tensors_of(weights.Weights(NET, "package", "apache-2.0", tmp_path / "w.pth"))


def test_a_download_is_announced_with_its_size_and_license(caplog: pytest.LogCaptureFixture) -> None:
    """By hand: 4,652,008 weights, and statistics of 21,008 x 2 channels with a counter each."""
    weights.announce(NET)
    assert "timm:tf_efficientnet_lite0 from the hub, about 19 MB, license apache-2.0" in caplog.text
    caplog.clear()
    weights.announce("no_such_net")
    assert not caplog.text
