"""Whether to begin with trained weights where nobody has named a net."""

from __future__ import annotations

from typing import Any

from convsmith.data.dataset import Dataset
from convsmith.findings import Finding
from convsmith.recipe import Recipe

# Below this side a net that halves the image five times has nothing left to look at.
SMALL = 40
# For photographs: subsamples early, and has weights of ImageNet.
NET = "timm:resnet18"


def choose(recipe: Recipe, dataset: Dataset, reasons: dict[str, str]) -> None:
    """Start from ImageNet's weights where images are photographs and the weights are at hand.

    A training downloads nothing that it wasn't asked for: weights that aren't there become a finding.
    """
    free = recipe.model is None and "start_from" not in recipe.train.model_fields_set
    if not free or dataset.encoding is not None or dataset.channels != 3 or dataset.size <= SMALL:
        return
    why = "features of a million photographs make up for those that a small data set lacks"
    source = "Yosinski et al. 2014; Kornblith et al. 2019"
    if cached(NET):
        recipe.train.start_from = NET
        reasons["train.start_from"] = f"{why} ({source}); its weights are in this machine's cache"
        reasons["model"] = f"images of {dataset.size} pixels: a ResNet that subsamples early"
        return
    dataset.findings.append(
        Finding(
            seen=f"{len(dataset.train):,} photographs train a net from random weights",
            means="it must learn edges and textures too, from these images alone",
            change=f"--from {NET} begins with ImageNet's weights, which are downloaded once",
            why=why,
            source=source,
            name="from_scratch",
        )
    )


def cached(name: str) -> bool:
    """Whether the weights of one of timm's nets are in Hugging Face's cache already, as safetensors."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    found: Any = timm.get_pretrained_cfg(name.removeprefix("timm:"))
    if found is None or not found.hf_hub_id:
        return False
    return isinstance(try_to_load_from_cache(found.hf_hub_id, "model.safetensors"), str)
