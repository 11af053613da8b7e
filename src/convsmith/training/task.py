"""Model and objective as one module, which Fabric wraps, so that a step is one forward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsmith.nn.computed import computed
from convsmith.nn.manners import classifier, with_features
from convsmith.nn.weights import Memory, remembered
from convsmith.objectives.objective import Objective


class Task(nn.Module):
    """forward(images (N, C, H, W), target (N,), costs (N, K) or None) -> (value of each term, logits (N, K)).

    Features and classifier of a model are found by :mod:`convsmith.nn.manners`, so that any module will do.
    A parametrized weight is computed once a forward, for its layer and for all terms that read it.
    ``progress`` is the share of the training that has passed; the loop sets it.
    """

    progress: Tensor

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        # Structure changes only between trainings, and each training has a task of its own.
        self.computes = any(computed(layer) for layer in model.modules())
        self.places: Memory = {}
        # Not persistent: it follows from the position in the training.
        self.register_buffer("progress", torch.zeros(()), persistent=False)

    def forward(
        self, images: Tensor, target: Tensor, costs: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        with self._reading():
            seen: dict[str, Any] = {
                "images": images,
                "target": target,
                "costs": costs,
                "model": self.model,
                "progress": self.progress,
            }
            if "features" in self.objective.needs:
                seen["features"], seen["input"] = with_features(self.model, images)
            else:
                seen["input"] = self.model(images)
            if "head" in self.objective.needs:
                seen["head"] = classifier(self.model)
            with remembered(self.places):
                return self.objective(**seen), seen["input"]

    def _reading(self) -> AbstractContextManager[Any]:
        # Needed for random parametrizations too: layer and penalty must see the same weight.
        return parametrize.cached() if self.computes else nullcontext()
