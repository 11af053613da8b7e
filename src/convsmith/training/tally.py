"""Sums over the batches of an epoch, and the means over its images that they give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convsmith.data.batches import Batch
from convsmith.run.best import column

if TYPE_CHECKING:
    from convsmith.training.loop import Fit, Row


def tally(
    state: Fit, sums: dict[str, Tensor], split: str, terms: dict[str, Tensor], logits: Tensor, batch: Batch
) -> None:
    """Add a batch to the sums of a split, by name: its terms, its measure and its number of images."""
    target = batch.targets
    count = len(target)
    new = {f"{split}_{name}": value.detach().double() * count for name, value in terms.items()}
    new[f"{split}_{state.measure.name}"] = state.measure.of(logits, target).double()
    new[f"{split}_count"] = torch.full((), count, dtype=torch.float64, device=logits.device)
    if split == "val" and state.judge is not None:
        new[column(state.judge.name)] = state.judge.of(logits, target, batch.costs)
    for name, value in new.items():
        sums[name] = sums[name] + value if name in sums else value


def means(state: Fit, sums: dict[str, Tensor], split: str) -> Row:
    """The means over all images and processes, their names beginning with ``split``."""
    names = sorted(sums)
    flat = torch.cat([sums[name].reshape(-1) for name in names])
    everyone = state.fabric.all_reduce(flat, reduce_op="sum").cpu()
    parts = dict(zip(names, everyone.split([sums[name].numel() for name in names])))
    count = float(parts.pop(f"{split}_count"))
    judged = parts.pop(column(state.judge.name), None) if state.judge is not None else None
    if split == "val":
        state.validated = round(count)
    found = {name: float(value) / count for name, value in parts.items()}
    terms = state.task.objective.reads
    losses = [found[f"{split}_{name}"] for name in terms if state.task.objective.per_image(name)]
    measure = f"{split}_{state.measure.name}"
    own = found.pop(measure)
    if judged is not None and state.judge is not None:
        shape = sums[column(state.judge.name)].shape
        found[column(state.judge.name)] = state.judge.value(judged.view(shape), count)
    if split == "train":  # in the order in which its columns have always been
        return {f"{split}_loss": float(sum(losses)), measure: own, **found}
    return {f"{split}_loss": float(sum(losses)), **found, measure: own}
