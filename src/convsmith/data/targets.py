"""Encoding of numeric targets as a net's outputs, and decoding back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor

from convsmith import catalog
from convsmith.catalog import Spec
from convsmith.data.encodings import Kind


class Encoding(Protocol):
    """Encodes numbers (N, T) as targets (N, K) for the net's outputs, and decodes outputs.

    ``outputs`` name the K outputs; ``numeric`` is False where they stand for no numbers (votes).
    """

    kind: Kind
    numeric: bool

    @property
    def outputs(self) -> list[str]: ...

    def fit(self, values: Tensor) -> None:
        """Look at the training targets, (N, T)."""

    def encode(self, values: Tensor) -> Tensor: ...

    def decode(self, output: Tensor) -> Tensor:
        """Numbers (N, T) in the targets' units, of outputs as the net gives them (logits, or numbers)."""

    def error(self, found: Tensor, true: Tensor) -> Tensor:
        """found - true, the short way round where the numbers are a circle."""

    def state(self) -> dict[str, Any]:
        """What :meth:`fit` found, for model.json."""


def choose(columns: Sequence[str], values: Tensor, spec: Spec | None) -> tuple[Encoding, str | None]:
    """Fit the encoding that the recipe names, or that the numbers suggest; give the reason too.

    Raises:
        UserError: if the numbers don't fit it.

    >>> import torch
    >>> choose(["a", "b"], torch.tensor([[0.5, 0.5], [0.1, 0.9]]), None)[1]
    'each row of the targets sums to 1: a distribution over 2 classes'
    """
    reason = None
    if spec is None:
        sums = (
            len(columns) > 1 and bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() < 1e-3).all())
        )
        spec = "votes" if sums else "numbers"
        reason = (
            f"each row of the targets sums to 1: a distribution over {len(columns)} classes"
            if sums
            else "targets are plain numbers"
        )
    encoding: Encoding = catalog.build("target", spec, columns=list(columns))
    encoding.fit(values)
    return encoding, reason


def restore(spec: Spec, columns: Sequence[str], state: dict[str, Any]) -> Encoding:
    """Make a fitted encoding again from its state."""
    encoding: Encoding = catalog.build("target", spec, columns=list(columns))
    for key, value in state.items():
        setattr(encoding, key, value)
    return encoding


@dataclass(frozen=True)
class Measure:
    """The figure by which epochs are compared: its name, which way is better, and its sum over a batch."""

    name: str
    higher_is_better: bool
    of: Callable[[Tensor, Tensor], Tensor]


def _right(output: Tensor, target: Tensor) -> Tensor:
    """Images whose class is found; of a mixed image that with the larger share."""
    return (output.argmax(1) == (target.argmax(1) if target.ndim == 2 else target)).sum()


def measure_of(encoding: Encoding | None) -> Measure:
    """Accuracy for classes (no encoding), KL divergence for distributions, else the mean absolute error.

    >>> import torch
    >>> measure_of(None).of(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    tensor(1)
    """
    if encoding is None:
        return Measure("accuracy", True, _right)
    if encoding.kind == "distribution":
        return Measure(
            "kl",
            False,
            lambda output, target: F.kl_div(output.float().log_softmax(1), target, reduction="sum"),
        )

    def absolute(output: Tensor, target: Tensor) -> Tensor:
        found, true = encoding.decode(output.float()), encoding.decode(target.float())
        return encoding.error(found, true).abs().mean(1).sum()

    return Measure("mae", False, absolute)
