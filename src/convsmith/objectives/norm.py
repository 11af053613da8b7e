"""Any norm of the catalogue as a penalty on the weights, a term of the objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import Kind, Spec, technique
from convsmith.nn import units
from convsmith.nn.precision import wide
from convsmith.nn.weights import EVERY, places

# A name that both kinds have (``p``) measures the same entries in either.
KINDS = ("matrix_norm", "vector_norm")


@technique(
    "term",
    "norm",
    source="Golub & Van Loan 2013, section 2.3; Yoshida & Miyato 2017 (spectral, squared there)",
    chapter="9 正则化 regularization",
    use="a small gain (spectral, row_sum, column_sum), low rank (nuclear), no large weight (max)",
)
class NormPenalty(nn.Module):
    """weight * sum over layers of |W|, W being the weights of a convolution or fully connected layer.

    A matrix norm sees the matrix (O, I kH kW) of the layer, a row of incoming weights for each unit or
    filter: for a fully connected layer its gain; for a convolution that of one patch (over whole maps the
    2-norm's is at most sqrt(kH kW) times that), with groups as if all saw the same channels. A vector norm
    sees all weights as one vector. The norm itself is summed, not its square. Where W is zero the value and
    the gradient are zero.

    ``spectral``, ``nuclear`` and ``schatten`` decompose each layer's matrix at each step: on one CPU core
    some 10 ms for 64 3x3 filters over 64 channels, but 2 s for 512 over 512; choose small ``layers``.

    Args:
        of: the norm, e.g. ``"nuclear"`` or ``{"schatten": {"p": 3}}``; which is which family's, see
            :mod:`convsmith.nn.norms`.
        weight: lambda, >= 0.
        layers: patterns of the layers' names.

    Raises:
        UserError: if there is no such norm, or a pattern fits no layer.

    >>> layer = nn.Linear(2, 2); _ = layer.weight.data.copy_(torch.diag(torch.tensor([3.0, 4.0])))
    >>> [round(NormPenalty(name, weight=0.5)(layer).item(), 4) for name in ("spectral", "nuclear", "l2")]
    [2.0, 3.5, 2.5]
    """

    def __init__(
        self,
        of: Annotated[Spec, Kind(*KINDS)] = "spectral",
        weight: Annotated[float, Ge(0)] = 1e-3,
        layers: Sequence[str] = EVERY,
    ) -> None:
        super().__init__()
        name = of if isinstance(of, str) else next(iter(of), "")
        kind = catalog.kind_of(name, KINDS)
        self.norm = catalog.build(kind, of)
        self.of_matrix = kind == "matrix_norm"
        self.weight = weight
        self.layers = layers

    def forward(self, model: nn.Module) -> Tensor:
        found = places(model, self.layers).values()
        if not found:
            return torch.zeros((), device=next((p.device for p in model.parameters()), None))
        return torch.stack([self._norm(place.layer, place.value()) for place in found]).sum() * self.weight

    def _norm(self, layer: nn.Module, weight: Tensor) -> Tensor:
        matrix = units.rows(layer, wide(weight))
        value: Tensor = self.norm(matrix if self.of_matrix else matrix.flatten())
        # A singular value of zero has a gradient of length one, in a direction that rounding draws.
        return value * (value.detach() > 0)
