"""Apply a recipe's fine-tuning to the parts of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from convsmith import catalog
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track
from convsmith.errors import UserError
from convsmith.nn.folding import folded
from convsmith.nn.stages import stages
from convsmith.recipe import Plan, Section
from convsmith.training import features
from convsmith.training.finetune import Head, freezer, groups
from convsmith.training.task import Task


def with_frozen_statistics(
    model: nn.Module, freeze: Callable[[float], None] | None
) -> Callable[[float], None]:
    """What is to be called at an epoch's start so that batch normalizations don't count on.

    Batch statistics differ from those that a net was trained with: its features, and the answers of a
    classifier that was solved on them, are others from the first batch on.

    Args:
        model: the net.
        freeze: what is called there already.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]

    def still(passed: float) -> None:
        if freeze is not None:
            freeze(passed)
        for layer in norms:
            layer.eval()

    return still


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
        if recipe.train.finetune is not None:
            self._by_stages(recipe.train.finetune)
        if recipe.train.frozen_statistics:
            self.freeze = with_frozen_statistics(model, self.freeze)

    def _by_stages(self, section: Section) -> None:
        dataset, model, fabric = self.dataset, self.model, self.fabric
        self.technique = catalog.build("finetuning", section)
        self.stages = stages(model, (dataset.channels, dataset.size, dataset.size))
        self.paces = self.technique(len(self.stages))
        wakes = any(0 < pace.start < 1 for pace in self.paces)
        if wakes and fabric.world_size > 1:
            raise UserError(
                "gradual unfreezing is for one process: which weights have gradients must not change among "
                "several; take `train.finetune=all_stages`, or train with one process"
            )
        self.freeze = freezer(model, self.stages, self.paces)
        if self.freeze is not None:
            self.freeze(0.0)

    @property
    def terms(self) -> dict[str, Any]:
        """Sections of further terms of the objective that the technique needs."""
        return dict(getattr(self.technique, "terms", {}))

    @property
    def facts(self) -> dict[str, Callable[[], Any]]:
        """Facts that such terms may ask for, by name."""
        return {
            "dataset": lambda: self.dataset,
            "batch_size": lambda: self.recipe.data.batch_size,
            "device": lambda: self.fabric.device,
            "seed": lambda: self.recipe.train.seed,
        }

    def on_features(
        self, feed: dict[str, Any], track: Track[Any], known: Mapping[str, features.FeatureBatches]
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Replace the net by its classifier and the images by features, if these fit into memory.

        Features that are ``known`` are taken where one view is enough.
        """
        if not isinstance(self.technique, Head) or not features.possible(self.model):
            return self.model, feed
        net = folded(self.model, (self.dataset.channels, self.dataset.size, self.dataset.size))
        made: dict[str, Any] = {}
        for name, batches in feed.items():
            views = self.technique.views if batches.augment is not None else 1
            if views == 1 and name in known:
                made[name] = features.FeatureBatches(batches, known[name].views, known[name].targets)
            else:
                made[name] = features.computed(net, batches, views, self.fabric, track)
        if None in made.values():
            return self.model, feed
        self.freeze = None
        return features.OnFeatures(self.model), made

    def groups(self, task: Task) -> list[Any]:
        """Parameters for the optimizer, or groups of them with the scale of their rate.

        Raises:
            UserError: if no weight of the net may learn.
        """
        if self.freeze is None and not any(p.requires_grad for p in task.model.parameters()):
            raise UserError(
                "no weight of the net may learn: all have requires_grad=False; set it to True for those that "
                "shall, or take `train.finetune=head`"
            )
        if self.technique is None or isinstance(task.model, features.OnFeatures):
            return [parameter for parameter in task.parameters() if parameter.requires_grad]
        own = groups(task.model, self.stages, self.paces)
        others = list(task.objective.parameters())
        return [*own, {"params": others, "scale": 1.0}] if others else own
