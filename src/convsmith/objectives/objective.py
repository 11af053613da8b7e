"""The objective: a sum of named terms, each of which reads what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.objectives.regularizers import Regularizer

# Kinds of techniques in a recipe's objective.
KINDS = ("term", "regularizer")
# What a term may read; `input` are the logits, as in torch's losses.
SEEN = frozenset({"input", "features", "target", "costs", "images", "head", "model", "progress"})
# What says nothing of an image.
IMAGELESS = frozenset({"model", "progress"})
SPLITS = ("train", "val")


class Objective(nn.Module):
    """Terms by name; forward gives each one's value, already weighted.

    A term is any module; the names of its forward's arguments say what it reads: ``input`` (logits
    (N, K)), ``features`` (N, D), ``target`` (N,), ``costs`` (N, K) of each decision, ``images``
    (N, C, H, W), ``head``, ``model``, ``progress`` (share of the training that has passed, a scalar tensor in
    [0, 1], for terms that change on the way). torch's own losses fit as they are. Terms stay in float32 where
    the net is moved to half precision: centers and counters would lose their small steps. Of no images, terms
    that are means over images are 0.

    A term whose scale moves, so that its values can't be compared between epochs, says it by an attribute
    ``comparable``, the splits of ("train", "val") in which they can; what stops a training, keeps its best
    epoch or diagnoses it reads other figures then.

    Args:
        terms: modules by name.

    Raises:
        UserError: if a term reads something else.

    >>> import torch
    >>> loss = Objective({"ce": nn.CrossEntropyLoss()})
    >>> loss(input=torch.zeros(1, 2), target=torch.tensor([0]))
    {'ce': tensor(0.6931)}
    """

    def __init__(self, terms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(dict(terms))
        self.reads = {name: _reads(name, term) for name, term in terms.items()}

    @property
    def needs(self) -> frozenset[str]:
        """Names of everything that the terms read."""
        # By a comprehension: torch.compile of torch 2.8 knows no union of frozensets.
        return frozenset(name for reads in self.reads.values() for name in reads)

    def forward(self, **seen: Any) -> dict[str, Tensor]:
        found = {
            name: term(**{word: seen[word] for word in self.reads[name]}) for name, term in self.terms.items()
        }
        if len(seen.get("target", (1,))):
            return found
        # Foreign terms, torch's own among them, give NaN for no images.
        nothing = seen["input"].sum()
        return {name: nothing if self.per_image(name) else value for name, value in found.items()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Objective:
        def kept(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrower = moved.is_floating_point() and moved.dtype.itemsize < min(4, tensor.dtype.itemsize)
            return tensor.to(moved.device) if narrower else moved

        super()._apply(kept, recurse)  # type: ignore[no-untyped-call]
        return self

    def per_image(self, name: str) -> bool:
        """Whether a term is a mean over images, rather than a property of the net alone."""
        return not set(self.reads[name]) <= IMAGELESS

    def comparable(self, split: str) -> bool:
        """Whether the loss of ``split``, train or val, can be compared between epochs."""
        return all(split in comparable(term) for name, term in self.terms.items() if self.per_image(name))


def comparable(term: object) -> tuple[str, ...]:
    """The splits in which the values of a term, or of a class of terms, can be compared between epochs.

    >>> comparable(nn.CrossEntropyLoss)
    ('train', 'val')
    """
    return tuple(getattr(term, "comparable", SPLITS))


def _reads(name: str, term: nn.Module) -> tuple[str, ...]:
    words = tuple(inspect.signature(term.forward).parameters)
    unknown = [word for word in words if word not in SEEN]
    if unknown:
        raise UserError(f"term {name} reads {unknown[0]!r}; a term can read {', '.join(sorted(SEEN))}")
    return words


def build(
    section: Mapping[str, Any],
    *,
    targets: str = "classes",
    facts: Mapping[str, Callable[[], Any]] | None = None,
) -> tuple[Objective, dict[str, Regularizer]]:
    """The terms and the regularizers of a recipe's section, ``{name: {argument: value}}``.

    Args:
        section: of the recipe.
        targets: what the data has: ``"classes"``, ``"numbers"`` or ``"distribution"``.
        facts: what follows from the data and the net, by name (``num_classes``, ``num_features``,
            ``classes``, ``counts``, ``model``, ...); each is made when the first term asks for it.

    Raises:
        UserError: if a term is for other targets, or nothing in the section reads them.
    """
    terms: dict[str, nn.Module] = {}
    regularizers: dict[str, Regularizer] = {}
    made: dict[str, Any] = {}
    for name, arguments in section.items():
        if catalog.kind_of(name, KINDS) == "regularizer":
            regularizers[name] = catalog.build("regularizer", {name: arguments})
            continue
        wanted = targets_of(name)
        if wanted and targets not in wanted:
            fit = [other for other in catalog.names("term") if targets in targets_of(other)]
            raise UserError(
                f"objective {name} is for {' or '.join(wanted)}, but the data's targets are {targets}; take "
                f"one of {', '.join(fit)} (`objective.{name}=null` takes {name} out)"
            )
        asked = inspect.signature(catalog.load("term", name)).parameters
        for key in facts or {}:
            if key in asked and key not in made:
                made[key] = facts[key]()  # type: ignore[index]
        terms[name] = catalog.build("term", {name: arguments}, **made)
    objective = Objective(terms)
    if "target" not in objective.needs:
        raise UserError("no term of the objective looks at the targets; add one, e.g. cross_entropy")
    return objective, regularizers


def targets_of(name: str) -> tuple[str, ...]:
    """Kinds of targets that a term takes: some of classes, numbers, distribution.

    >>> targets_of("tukey"), targets_of("l2")
    (('numbers',), ())
    """
    found: tuple[str, ...] = getattr(catalog.load("term", name), "targets", ())
    return found
