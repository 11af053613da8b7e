"""Fine-tuning: which stages of a trained net learn, how fast, and from when on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from convsmith.catalog import technique
from convsmith.nn.stages import Stage

Decay = Annotated[float, Gt(0), Le(1)]
Share = Annotated[float, Gt(0), Le(1)]
NEVER = math.inf


@dataclass(frozen=True)
class Pace:
    """How one stage learns: its rate as a share of the optimizer's, and the share of training before it
    starts.
    """

    scale: float
    start: float = 0.0


@technique(
    "finetuning",
    "head",
    source="Yosinski et al. 2014; Sharif Razavian et al. 2014",
    chapter="10 网络训练 training",
    use="few images, similar to the source's: the classifier alone, on features that are computed once",
)
class Head:
    """Train the classifier alone, on features computed once for ``views`` views of each image.

    Args:
        views: V, number of views of each training image, the first one plain, the others augmented. Each
            epoch draws one of them. 1 without augmentation.

    >>> [pace.start for pace in Head()(3)]
    [inf, inf, 0.0]
    """

    def __init__(self, views: Annotated[int, Ge(1)] = 1) -> None:
        self.views = views

    def __call__(self, stages: int) -> list[Pace]:
        return [Pace(0.0, NEVER)] * (stages - 1) + [Pace(1.0)]


@technique(
    "finetuning",
    "last_stages",
    source="Yosinski et al. 2014",
    chapter="10 网络训练 training",
    use="few images: the last stages learn, the general ones before them stay",
)
class LastStages:
    """Train the last ``stages`` stages, the classifier included; freeze all before.

    >>> [pace.scale for pace in LastStages(stages=2, decay=0.5)(4)]
    [0.0, 0.0, 0.5, 1.0]
    """

    def __init__(self, stages: Annotated[int, Ge(1)] = 2, decay: Decay = 1.0) -> None:
        self.stages = stages
        self.decay = decay

    def __call__(self, stages: int) -> list[Pace]:
        paces = AllStages(self.decay)(stages)
        frozen = max(0, stages - self.stages)
        return [Pace(0.0, NEVER)] * frozen + paces[frozen:]


@technique(
    "finetuning",
    "all_stages",
    source="Howard & Ruder 2018, section 3.2, on discriminative rates",
    chapter="10 网络训练 training",
    use="enough images: everything learns, the general first stages more slowly",
)
class AllStages:
    """Train all stages, stage n of N at decay^(N - n) of the rate: shallow ones are general.

    >>> [pace.scale for pace in AllStages(decay=0.5)(3)]
    [0.25, 0.5, 1.0]
    """

    def __init__(self, decay: Decay = 0.7) -> None:
        self.decay = decay

    def __call__(self, stages: int) -> list[Pace]:
        return [Pace(self.decay ** (stages - 1 - number)) for number in range(stages)]


@technique(
    "finetuning",
    "gradual",
    source="Howard & Ruder 2018, section 3.3",
    chapter="10 网络训练 training",
    use="few images unlike the source's: a new head can't wreck what is below before it has learned",
)
class Gradual:
    """Unfreeze stages one after the other, from the classifier down.

    Args:
        until: share of the training after which all learn.
        decay: as in ``all_stages``.

    >>> [pace.start for pace in Gradual(until=0.5)(3)]
    [0.5, 0.25, 0.0]
    """

    def __init__(self, until: Share = 0.5, decay: Decay = 0.7) -> None:
        self.until = until
        self.decay = decay

    def __call__(self, stages: int) -> list[Pace]:
        paces = AllStages(self.decay)(stages)
        steps = max(1, stages - 1)
        return [
            Pace(pace.scale, self.until * (stages - 1 - number) / steps) for number, pace in enumerate(paces)
        ]


def groups(model: nn.Module, stages: Sequence[Stage], paces: Sequence[Pace]) -> list[dict[str, Any]]:
    """Make parameter groups with the ``scale`` of their rate, without the stages that never learn."""
    return [
        {"params": stage.parameters(model), "scale": pace.scale, "stage": stage.name}
        for stage, pace in zip(stages, paces)
        if pace.start != NEVER
    ]


def freezer(
    model: nn.Module, stages: Sequence[Stage], paces: Sequence[Pace]
) -> Callable[[float], None] | None:
    """Make the function that freezes and unfreezes stages, given the share of the training that has passed.

    None if no stage is ever frozen.

    A frozen stage has no gradients, and its batch normalizations keep the source's statistics: the
    statistics of a small new data set would change the inputs of the frozen weights.
    """
    if all(pace.start == 0 for pace in paces):
        return None

    def freeze(passed: float) -> None:
        for stage, pace in zip(stages, paces):
            awake = passed >= pace.start
            for parameter in stage.parameters(model):
                parameter.requires_grad_(awake)
            for name in stage.modules:
                module = model.get_submodule(name)
                if isinstance(module, _BatchNorm):
                    module.train(awake and model.training)

    return freeze
