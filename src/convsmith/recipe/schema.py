"""What a recipe may say, as frozen pydantic models; annotations mark the fields that name techniques."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BeforeValidator, PrivateAttr, field_validator

from convsmith.catalog import Kind, Place, SetOf
from convsmith.findings import Finding
from convsmith.recipe import checking
from convsmith.recipe.checking import Formerly, Strict

Section = str | dict[str, Any]
Path = Annotated[str, Place()]
Precision = Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"]
OfClasses = Literal["accuracy", "balanced_accuracy", "macro_f1", "expected_cost"]
ChooseBy = OfClasses | Literal["loss", "mae", "scaled_mae", "rmse", "kl"]
Side = Annotated[int, Ge(4), Le(4096)]
Share = Annotated[float, Ge(0), Le(1)]
Model = Annotated[Section, Kind("model")]
Optimizer = Annotated[Section, Kind("optimizer")]
Augment = Annotated[dict[str, Any], SetOf("augmentation")]


def _as_text(value: Any) -> Any:
    """Names of classes, of which YAML takes some for numbers: ``[10]`` is the class 10."""
    return [str(name) if type(name) is int else name for name in value] if isinstance(value, list) else value


def _number_of(key: str) -> Callable[[Any], Any]:
    """A number alone is the one key of a section: ``early_stopping: 5`` is its patience."""

    def section(value: Any) -> Any:
        return {key: value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    return section


class Normalize(Strict):
    """By the training split's mean pixel or mean image, or as the net that is started from was trained."""

    mean: Literal["pixel", "image", "source"] = "pixel"
    std: bool = True


class Imbalance(Strict):
    """A long tail made of the training split: the first class has ``ratio`` times the images of the last."""

    type: Literal["exp", "step"] = "exp"
    ratio: Annotated[float, Ge(1)] = 100.0


class LabelNoise(Strict):
    """A share of wrong labels in the training split: any other class alike, or the next one."""

    type: Literal["symmetric", "pair"] = "symmetric"
    rate: Share = 0.2


class Data(Strict):
    """Where the images are and how they reach the net.

    ``val`` is the share of the images that is set aside for validation where the folder names no split,
    ``test`` the share that tests alone, and ``floor`` the share of the validation images that is kept out of
    them, for an accuracy that chose no epoch. ``seed`` moves the split. ``group`` keeps together what belongs
    together: a column of the CSV, ``parent`` (the folder that a file lies in), a regular expression for the
    path within DATA (its first group, or all that matches), ``auto`` (see :mod:`convsmith.data.grouping`), or
    ``none``.
    ``fit`` makes an image square: by its center square, by bands beside it, or by making its sides alike.
    ``levels`` are the values of images with more than 8 bits that become black and white.
    ``memory_share`` and ``disk_share`` are shares of what is free, which decoded images may take.
    """

    path: Path | None = None
    size: Side | None = None
    stored: Side | None = None
    fit: Literal["crop", "pad", "squash"] | None = None
    levels: tuple[int, int] | None = None
    val: Annotated[float, Gt(0), Lt(1)] = 0.2
    test: Annotated[float, Ge(0), Lt(1)] = 0.0
    seed: Annotated[int, Ge(0)] = 0
    group: str | None = "auto"
    floor: Annotated[float, Ge(0), Lt(1)] = 0.0
    batch_size: Annotated[int, Ge(1)] | None = None
    target: Annotated[Section, Kind("target")] | None = None
    sampler: Annotated[Section, Kind("sampler")] = "shuffle"
    augment: Augment | None = None
    crops: Annotated[int, Ge(1)] = 1
    normalize: Normalize = Normalize()
    exclude: Annotated[list[str], BeforeValidator(_as_text)] = []
    costs: Annotated[Section, Kind("cost")] | None = None
    imbalance: Imbalance | None = None
    label_noise: LabelNoise | None = None
    memory_share: Annotated[Share, Formerly("memory")] = 0.5
    disk_share: Annotated[Share, Formerly("disk")] = 0.5
    workers: Annotated[int, Ge(0)] | None = None

    @field_validator("levels")
    @classmethod
    def _rising(cls, levels: tuple[int, int] | None) -> tuple[int, int] | None:
        if levels is not None and not -(1 << 32) < levels[0] < levels[1] < 1 << 32:
            raise ValueError("two whole numbers, the one that becomes black and a larger one, white")
        return levels


class EarlyStopping(Strict):
    patience: Annotated[int, Ge(1)] = 10


class Ema(Strict):
    decay: Annotated[float, Gt(0), Lt(1)] = 0.999


class Train(Strict):
    """How long, how precisely and on what the net is trained.

    ``start_from`` is a run, a file or ``timm:NAME``; ``none`` begins with random weights. ``minutes`` is the
    time that the training may take on this machine. With ``head_first`` a new classifier is solved in closed
    form, on features that are computed once, before the ``epochs`` of training, which may be 0 then.
    With ``frozen_statistics`` batch normalizations use the statistics that the net was trained with, and
    don't count on.
    ``validate_every`` is a number of batches: validation images are evaluated so often within an epoch too,
    and the best net so far is kept. An epoch's row of metrics.csv stays that of its end.
    ``choose_by`` is the figure of the validation images by which the kept epoch is chosen.
    ``resize_weights`` says what becomes of trained weights whose shape depends on the images' size.
    ``allocator`` says whether freed memory stays with the process, which saves time with large images.
    """

    epochs: Annotated[int, Ge(0)] = 30
    minutes: Annotated[float, Gt(0)] | None = None
    start_from: Path | None = None
    finetune: Annotated[Section, Kind("finetuning")] | None = None
    head_first: bool = False
    frozen_statistics: bool | None = None
    resize_weights: Annotated[Literal["interpolate", "new", "fully_convolutional"], Formerly("refit")] = (
        "interpolate"
    )
    seed: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Annotated[int, Ge(1)] = 1
    nodes: Annotated[int, Ge(1)] = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Precision | None = None
    channels_last: bool = True
    compile: bool = False
    accumulate: Annotated[int, Ge(1)] = 1
    clip: Annotated[float, Gt(0)] | None = None
    ema: Annotated[Ema | None, BeforeValidator(_number_of("decay"))] = None
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(_number_of("patience"))] = None
    auto: bool = False
    choose_by: ChooseBy | None = None
    validate_every: Annotated[int, Ge(1)] | None = None
    checkpoint_minutes: Annotated[float, Ge(0)] = 10.0
    allocator: Literal["auto", "system"] = "auto"
    tensorboard: bool = False

    @field_validator("start_from", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        """``none`` is no source, and no gap that the advice may fill."""
        return None if value == "none" else value


class Recipe(Strict):
    """All sections; what is None is open, to be chosen from the data.

    A technique is written ``{name: {argument: value}}``, or its bare name.
    """

    data: Data = Data()
    model: Model | None = None
    objective: Annotated[dict[str, Any], SetOf("term", "regularizer", example="cross_entropy")] = {
        "cross_entropy": {},
        "l2": {"weight": 5e-4},
    }
    optimizer: Optimizer | None = None
    schedule: Annotated[Section, Kind("schedule")] = {"cosine": {"warmup": 1}}
    train: Train = Train()

    _notes: tuple[Finding, ...] = PrivateAttr(())

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What was noticed while the recipe was read, as old names of keys."""
        return self._notes

    def noted(self, notes: tuple[Finding, ...]) -> Self:
        """The same recipe with these notes."""
        copy = self.model_copy()
        copy._notes = notes
        return copy

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy with other values by dotted key, checked; what was set stays known as set.

        Raises:
            UserError: on an unknown key or a value out of range.

        >>> recipe = Recipe().changed({"optimizer.sgd.lr": 0.1, "train.epochs": 3})
        >>> recipe.optimizer, sorted(recipe.model_fields_set), recipe.train.model_fields_set
        ({'sgd': {'lr': 0.1}}, ['optimizer', 'train'], {'epochs'})
        """
        tree = self.model_dump(exclude_unset=True)
        for dotted, value in changes.items():
            checking.put(type(self), tree, tuple(dotted.split(".")), value, dotted)
        return checking.validated(type(self), tree, {}).noted(self.notes)

    def __eq__(self, other: object) -> bool:
        # Notes are about the file that a recipe was read from, not about what it says.
        return type(self) is type(other) and self.__dict__ == other.__dict__


class PlannedData(Data):
    """:class:`Data` without gaps."""

    path: Path
    size: Side
    batch_size: Annotated[int, Ge(1)]
    augment: Augment


class PlannedTrain(Train):
    """:class:`Train` without gaps."""

    precision: Precision


class Plan(Recipe):
    """A recipe without gaps: what a run writes down and reproduces from."""

    data: PlannedData
    model: Model
    optimizer: Optimizer
    train: PlannedTrain

    @classmethod
    def of(cls, recipe: Recipe) -> Plan:
        """The plan that a recipe without gaps is.

        Raises:
            UserError: if something is still open.
        """
        tree = recipe.model_dump(exclude_unset=True)
        return checking.validated(cls, tree, {}).noted(recipe.notes)
