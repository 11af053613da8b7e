"""Trained weights to start from, where the recipe names no net."""

from __future__ import annotations

from typing import Any

from convsmith.advice.choice import Choice
from convsmith.data.dataset import Dataset
from convsmith.findings import Finding
from convsmith.recipe import Recipe

# Largest side in pixels for which nets that halve the image five times are too coarse.
SMALL = 40
# Net for larger images; ImageNet's weights exist for it.
NET = "timm:resnet18"
SUBSAMPLES = "a ResNet that subsamples early"


def choose(recipe: Recipe, dataset: Dataset) -> tuple[list[Choice], list[Finding]]:
    """Choose ImageNet's weights for photographs if the weights are on this machine; else recommend them.

    A training downloads nothing that it wasn't asked for.

    Returns:
        choices, and findings; both empty where net or source are chosen already, or weights would not help.
    """
    free = recipe.model is None and "start_from" not in recipe.train.model_fields_set
    if not free or dataset.encoding is not None or dataset.channels != 3 or dataset.size <= SMALL:
        return [], []
    why = "features of a million photographs make up for those that a small data set lacks"
    source = "Yosinski et al. 2014; Kornblith et al. 2019"
    if cached(NET):
        return [
            Choice("train.start_from", NET, f"{why} ({source}); its weights are in this machine's cache"),
            Choice("model", NET, f"images of {dataset.size} pixels: {SUBSAMPLES}"),
        ], []
    return [], [
        Finding(
            seen=f"{len(dataset.train):,} photographs train a net from random weights",
            means="it must learn edges and textures too, from these images alone",
            change=f"`start_from={NET}` begins with ImageNet's weights, which are downloaded once",
            why=why,
            source=source,
            name="from_scratch",
        )
    ]


def cached(name: str) -> bool:
    """Whether the weights of one of timm's nets are in Hugging Face's cache already, as safetensors."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    found: Any = timm.get_pretrained_cfg(name.removeprefix("timm:"))
    if found is None or not found.hf_hub_id:
        return False
    return isinstance(try_to_load_from_cache(found.hf_hub_id, "model.safetensors"), str)
