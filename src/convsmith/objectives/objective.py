"""The objective: a sum of named terms, each of which reads what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from convsmith import catalog
from convsmith.errors import UserError

# What the loop can hand a term; `input` are the logits, torch's own name.
SEEN = frozenset({"input", "features", "target", "images", "head", "model"})


class Objective(nn.Module):
    """Terms by name; forward gives each one's value, already weighted.

    A term is any module; the names of its forward's arguments say what it reads: ``input`` (logits
    (N, C)), ``features`` (N, D), ``target`` (N,), ``images`` (N, C, H, W), ``head``, ``model``. torch's
    own losses fit as they are.

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
        """What all terms together read."""
        return frozenset().union(*self.reads.values())

    def forward(self, **seen: Any) -> dict[str, Tensor]:
        return {
            name: term(**{word: seen[word] for word in self.reads[name]}) for name, term in self.terms.items()
        }

    def per_image(self, name: str) -> bool:
        """Whether a term is a mean over images, rather than a property of the net alone."""
        return self.reads[name] != ("model",)


def _reads(name: str, term: nn.Module) -> tuple[str, ...]:
    words = tuple(inspect.signature(term.forward).parameters)
    unknown = [word for word in words if word not in SEEN]
    if unknown:
        raise UserError(f"term {name} reads {unknown[0]!r}; a term can read {', '.join(sorted(SEEN))}")
    return words


def build(section: Mapping[str, Any]) -> Objective:
    """The objective of a recipe's section, ``{term: {argument: value}}``."""
    return Objective({name: catalog.build("term", {name: arguments}) for name, arguments in section.items()})
