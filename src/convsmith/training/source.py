"""The net that a training starts from: fresh, of a run or weight file, of timm, or a module of your own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convsmith import catalog
from convsmith.data.dataset import Dataset
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.inference import model_file
from convsmith.inference.pipeline import dtype_of
from convsmith.inference.predictor import Predictor
from convsmith.models.with_convolution import parted, pretrained
from convsmith.nn import manners
from convsmith.nn.computed import copied
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.probe import blank, probe
from convsmith.nn.traced import Traced
from convsmith.recipe import Recipe, Section
from convsmith.training import foreign, foreign_names
from convsmith.training.transfer import changes, copy_weights_, head_finding, swapped

# Arguments of a net that follow from the data.
GIVEN = ("num_classes", "in_channels", "size")
# Model name of a source net that the catalogue doesn't build.
AS_IT_IS = "source"


@dataclass(frozen=True)
class Initial:
    """The net that a training begins with.

    ``new_head``: whether its classifier is new while all other weights are the source's; ``normalizer``: the
    source's, None if it isn't known.
    """

    model: nn.Module
    findings: tuple[Finding, ...] = ()
    normalizer: Normalizer | None = None
    new_head: bool = False


def architecture(recipe: Recipe, size: int, module: nn.Module | None = None) -> Section | None:
    """Find the model section: the recipe's, or that of its source, for ``size``; None if it is open.

    Args:
        recipe: of which ``model`` and ``train.start_from`` are read.
        size: of the images, in pixels.
        module: a net of the user's own, to start from.

    Raises:
        UserError: if the source doesn't say what net it is.
    """
    if module is not None:
        return AS_IT_IS
    source = recipe.train.start_from
    if source is None or source.startswith("timm:"):
        return recipe.model if recipe.model is not None else source
    if not Path(source).expanduser().exists():
        raise UserError(f"`start_from={shown(source)}`: there is no such run or file")
    if not model_file.describes(source):
        if recipe.model is not None:
            return recipe.model
        raise UserError(
            f"`start_from={shown(source)}` holds weights alone; name the net that they are for with `model`, "
            f"e.g. resnet18 or timm:resnet18"
        )
    opened = model_file.load(source)
    found = recipe.model if recipe.model is not None else section_of(opened)
    slides = recipe.train.resize_weights == "fully_convolutional" and size != opened.size
    if slides and catalog.split("model", found)[0] not in ("fully_convolutional", AS_IT_IS):
        return {"fully_convolutional": {"model": found, "trained_size": opened.size}}
    return found


def section_of(predictor: Predictor) -> Section:
    """The recipe's section for an opened net: its name and options, else ``source``."""
    if predictor.is_ensemble or isinstance(predictor.module, Traced):
        return AS_IT_IS
    _, name, arguments = catalog.call_of(predictor.module)
    usual = inspect.signature(catalog.load("model", catalog.base_name(name))).parameters
    own = {
        key: value
        for key, value in arguments.items()
        if key in usual and key not in GIVEN and value != usual[key].default
    }
    return {name: own} if own else name


def build(spec: Section, dataset: Dataset) -> nn.Module:
    """A fresh net for the data set's classes and images."""
    model: nn.Module = catalog.build(
        "model", spec, num_classes=len(dataset.classes), in_channels=dataset.channels, size=dataset.size
    )
    return model


def initial(recipe: Recipe, dataset: Dataset, module: nn.Module | None = None) -> Initial:
    """The net with the weights that ``train.start_from`` names, if any.

    Args:
        recipe: with its model.
        dataset: whose classes and images the net is for.
        module: a net of the user's own, which stays as it is: a copy is trained.

    Raises:
        UserError: if the source is missing, damaged, or of another net.
    """
    if module is not None:
        found = _fitted(copied(module), None, "the given module", dataset)
    elif recipe.train.start_from is None:
        assert recipe.model is not None
        return Initial(build(recipe.model, dataset))
    else:
        found = _sourced(recipe, dataset, recipe.train.start_from)
    _refuse_nonfinite(found.model, shown(recipe.train.start_from or "the given module"))
    if found.new_head:
        zero_init_(found.model)
    return found


def _refuse_nonfinite(model: nn.Module, name: str) -> None:
    """Refuse a source whose weights, or running statistics, are NaN or infinite."""
    statistics = ((key, v) for key, v in model.named_buffers() if "running_" in key)
    for key, tensor in (*model.named_parameters(), *statistics):
        if not bool(tensor.isfinite().all()):
            count = int((~tensor.isfinite()).sum())
            raise UserError(
                f"{name}: {key} has {count:,} values of {tensor.numel():,} that are NaN or infinite, as a "
                f"training that diverged leaves them; take weights from before, or others"
            )


def _as_it_is(source: str, dataset: Dataset) -> Initial:
    """Start from a net that the catalogue doesn't build; all its layers stay."""
    opened = model_file.load(source)
    if opened.is_ensemble:
        raise UserError(
            f"`start_from={shown(source)}`: an ensemble isn't trained on as one; start from one of its "
            f"members"
        )
    if opened.channels != dataset.channels:
        raise UserError(
            f"`start_from={shown(source)}` reads images of {opened.channels} channels, and these have "
            f"{dataset.channels}; convert the images"
        )
    found = _fitted(opened.module, opened.classes, shown(source), dataset)
    return replace(found, normalizer=_normalizer(opened.pipeline.state_dict(), dataset))


def _fitted(model: nn.Module, classes: list[str] | None, name: str, dataset: Dataset) -> Initial:
    """Give a net a classifier for the data set's classes, and check that it takes the images."""
    shape = (dataset.channels, dataset.size, dataset.size)
    outputs: list[Tensor] = []
    try:
        probe(model, blank(model, shape), after={"": lambda layer, given, output: outputs.append(output)})
    except (RuntimeError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(
            f"{name} can't take images of {'x'.join(map(str, shape))}: {first}; set data.size to the size of "
            f"its images"
        ) from None
    if not (isinstance(outputs[-1], Tensor) and outputs[-1].ndim == 2):
        raise UserError(f"{name} must give one tensor of logits (N, K) for images (N, C, H, W)")
    if next(model.parameters(), None) is None:
        raise UserError(f"{name} has no weights, so there is nothing to train")
    wanted = dataset.classes
    kept = _in_32_bits_(model, name)
    if outputs[-1].shape[1] == len(wanted) and (classes is None or classes == wanted):
        return Initial(model, kept)
    manners.replace_classifier_(model, len(wanted))
    return Initial(model, (*kept, head_finding(["its classifier"], name)), new_head=True)


def _in_32_bits_(model: nn.Module, name: str) -> tuple[Finding, ...]:
    """Bring a net that computes in another type (16 bits, float64) to float32, in which images come."""
    kind = dtype_of(model)
    if kind == torch.float32:
        return ()
    model.float()
    return (
        Finding(
            seen=f"the weights of {name} are {str(kind).removeprefix('torch.')}, and are trained in float32",
            means="the run's net is in float32; after training, .half() makes it small again",
            change="train.precision chooses what a training computes in",
            why="small updates vanish in 16 bits: the number after 1 is 1.001",
            source="Micikevicius et al. 2018, section 3.1",
        ),
    )


@torch.no_grad()
def zero_init_(model: nn.Module) -> None:
    """Set a new classifier to zero, so that all classes are equally likely (Kolesnikov et al. 2020, 3.3).

    Random weights on trained features would have to be unlearned first. A convolution stays random: in our
    nets a ReLU follows it, whose gradient is zero at zero.
    """
    classifier = manners.classifier(model)
    if isinstance(classifier, nn.Linear):
        for parameter in classifier.parameters():
            parameter.zero_()


def _sourced(recipe: Recipe, dataset: Dataset, source: str) -> Initial:
    assert recipe.model is not None
    name, _ = catalog.split("model", recipe.model)
    if source.startswith("timm:"):
        inner, _, _ = parted(recipe.model)
        if inner != source:
            raise UserError(
                f"`start_from={source}` has the weights of another net than `model={inner}`; name one"
            )
        changed = {kind: ("timm's", now) for kind, (_, now) in changes(source, recipe.model).items()}
        model = build(pretrained(recipe.model), dataset)
        return Initial(model, tuple(swapped(changed)), _timms(model, dataset), new_head=True)
    place = Path(source).expanduser()
    if not place.exists():
        raise UserError(f"`start_from={shown(source)}`: there is no such run or file")
    if name == AS_IT_IS:
        return _as_it_is(source, dataset)
    opened = model_file.load(place) if model_file.describes(place) else None
    if opened is not None and (opened.is_ensemble or isinstance(opened.module, Traced)):
        raise UserError(
            f"`start_from={shown(source)}` holds a net that {name} doesn't build (pruned, or made of "
            f"others); leave out `model` to train it as it is"
        )
    model = build(recipe.model, dataset)
    named: list[Finding] = []
    others: dict[str, tuple[Any, Any]] = {}
    if opened is None:
        found = foreign.opened(place)
        classes = found.classes
        tensors, named = foreign_names.named(found, model, shown(place))
    else:
        classes = tuple(opened.classes)
        tensors = dict(opened.pipeline.state_dict())
        others = changes(section_of(opened), recipe.model)
    findings, new_head = copy_weights_(
        tensors, model, recipe, dataset, opened, grown=bool(others), classes=classes
    )
    normalizer = _normalizer(tensors, dataset) or _timms(model, dataset)
    return Initial(model, (*named, *findings, *swapped(others)), normalizer, new_head)


def _normalizer(tensors: Mapping[str, Tensor], dataset: Dataset) -> Normalizer | None:
    """Normalizer stored in a convsmith weight file; None if there is none, or its channels differ."""
    mean, std = tensors.get("normalizer.mean"), tensors.get("normalizer.std")
    if mean is None or std is None or mean.shape[-1] != dataset.channels:
        return None
    if mean.ndim == 3 and mean.shape[0] != dataset.size:
        mean = mean.mean((0, 1))
    return Normalizer(mean, std)


def _timms(model: nn.Module, dataset: Dataset) -> Normalizer | None:
    """Normalizer that timm gives with this net's weights; for grey images, the mean over the colors."""
    given = getattr(model, "pretrained_cfg", None) or {}
    if "mean" not in given or "std" not in given:
        return None
    mean, std = (255 * torch.tensor(given[key]) for key in ("mean", "std"))
    if dataset.channels == 1:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return Normalizer(mean, std)
