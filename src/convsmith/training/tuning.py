"""What a recipe's fine-tuning makes of a training's parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from convsmith import catalog
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track
from convsmith.errors import UserError
from convsmith.nn.folding import folded
from convsmith.nn.stages import stages
from convsmith.objectives.objective import Objective
from convsmith.recipe import Plan
from convsmith.training import features, start
from convsmith.training.finetune import Head, freezer, groups
from convsmith.training.joint import Joint, source_task
from convsmith.training.task import Task


class Tuning:
    """Stages and their paces, if ``train.finetune`` names any.

    Raises:
        UserError: for stages that wake during a training of several processes.
    """

    def __init__(self, recipe: Plan, dataset: Dataset, model: nn.Module, fabric: Fabric) -> None:
        self.recipe = recipe
        self.dataset = dataset
        self.model = model
        self.fabric = fabric
        self.freeze: Callable[[float], None] | None = None
        self.technique: Any = None
        if recipe.train.finetune is None:
            return
        self.technique = catalog.build("finetuning", recipe.train.finetune)
        self.stages = stages(model, (dataset.channels, dataset.size, dataset.size))
        self.paces = self.technique(len(self.stages))
        wakes = any(0 < pace.start < 1 for pace in self.paces)
        if wakes and fabric.world_size > 1:
            raise UserError(
                "gradual unfreezing is for one process: which weights have gradients must not change among "
                "several; take --set train.finetune=all_stages, or train with one process"
            )
        self.freeze = freezer(model, self.stages, self.paces)
        if self.freeze is not None:
            self.freeze(0.0)

    def objective(self, objective: Objective) -> Objective:
        """With the source's task beside the target's, if that is asked for."""
        if not isinstance(self.technique, Joint):
            return objective
        term, finding = source_task(
            self.technique,
            self.dataset,
            start.num_features(self.model),
            self.recipe.data.batch_size,
            self.fabric.device,
            self.recipe.train.seed,
        )
        self.dataset.findings.append(finding)
        return Objective({**objective.terms, "source_task": term})

    def on_features(self, feed: dict[str, Any], track: Track[Any]) -> tuple[nn.Module, dict[str, Any]]:
        """The classifier alone, and features for it; or all as it was, where they can't be kept."""
        if not isinstance(self.technique, Head) or not features.possible(self.model):
            return self.model, feed
        net = folded(self.model, (self.dataset.channels, self.dataset.size, self.dataset.size))
        made = {
            name: features.computed(net, batches, self.technique.views, self.fabric, track)
            for name, batches in feed.items()
        }
        if None in made.values():
            return self.model, feed
        self.freeze = None
        return features.OnFeatures(self.model), made

    def groups(self, task: Task) -> list[Any]:
        """What the optimizer gets: parameters, or groups of them with the scale of their rate."""
        if self.technique is None or isinstance(task.model, features.OnFeatures):
            return [parameter for parameter in task.parameters() if parameter.requires_grad]
        own = groups(task.model, self.stages, self.paces)
        others = list(task.objective.parameters())
        return [*own, {"params": others, "scale": 1.0}] if others else own
