"""Model and objective as one module: the thing that Fabric wraps, so that a step is one forward."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from convsmith.objectives.objective import Objective


class Task(nn.Module):
    """forward(images (N, C, H, W), target (N,), costs (N, K) or None) -> (value of each term, logits (N, K)).

    A model whose objective reads ``features`` or ``head`` must have timm's ``forward_features``,
    ``forward_head`` and ``get_classifier``.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, images: Tensor, target: Tensor, costs: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        seen: dict[str, Any] = {"images": images, "target": target, "costs": costs, "model": self.model}
        if self.objective.needs & {"features", "head"}:
            model: Any = self.model
            head, maps = model.get_classifier(), model.forward_features(images)
            features = model.forward_head(maps, pre_logits=True)
            # Once through the head's dropout where that can be; a convolution as a classifier reads maps.
            linear = isinstance(head, nn.Linear)
            seen.update(
                head=head, features=features, input=head(features) if linear else model.forward_head(maps)
            )
        else:
            seen["input"] = self.model(images)
        return self.objective(**seen), seen["input"]
