"""Norms of vectors and matrices, batched: measures of penalties, of the max-norm constraint, of scores.

A matrix has three families of p-norms. *Induced* ones are gains, max |Ax|_p over |x|_p = 1: ``column_sum``
(p = 1), ``spectral`` (p = 2), ``row_sum`` (p = inf); other p have no formula, and computing them is NP-hard
(Hendrickx & Olshevsky 2010). *Schatten's* are vector norms of the singular values: ``nuclear`` (p = 1),
``frobenius`` (p = 2), ``spectral`` (p = inf), any other p by ``schatten``. *Entrywise* ones are vector norms
of all entries: ``p``, of which p = 2 is Frobenius' again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from convsmith.catalog import technique
from convsmith.nn.precision import wide

VectorNorm = Callable[..., Tensor]  # x, dim=-1: (..., n) to (...)
MatrixNorm = Callable[[Tensor], Tensor]  # (..., m, n) to (...)


def vector_norm(x: Tensor, p: float, dim: int = -1) -> Tensor:
    """(sum |x|^p)^(1/p) along ``dim`` for p > 0; the largest |x| for p = inf.

    The largest value is divided out first where p is large, so that no power overflows. For p < 1 it is
    no norm: it breaks the triangle inequality.

    >>> vector_norm(torch.tensor([[3.0, -4.0]]), 2)
    tensor([5.])
    """
    if p <= 2 or math.isinf(p):
        plain: Tensor = torch.linalg.vector_norm(x, p, dim)
        return plain
    top = x.detach().abs().amax(dim, keepdim=True)
    scale = torch.where(top > 0, top, 1)
    scaled: Tensor = torch.linalg.vector_norm(x / scale, p, dim)
    return scaled * scale.squeeze(dim)


def entrywise(x: Tensor, p: float) -> Tensor:
    """(sum |x_ij|^p)^(1/p) over all entries of matrices, (..., m, n) to (...).

    >>> entrywise(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 1)
    tensor(7.)
    """
    return vector_norm(x.flatten(-2), p)


def total(tensors: Iterable[Tensor], p: float) -> Tensor:
    """Each tensor's p-norm as one vector (number of tensors,).

    One fused call for all: sixty small kernels would cost as much as a small convolution.

    >>> total([torch.ones(2, 2), torch.ones(1)], 1)
    tensor([4., 1.])
    """
    # wide: the sum of a million half-precision weights ends at 65504
    return torch.stack(list(torch._foreach_norm([wide(x) for x in tensors], p)))


def by_unit(weight: Tensor) -> Tensor:
    """Length of the incoming weights of each unit or filter, (O, I, ...) to (O,).

    >>> by_unit(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([5., 1.])
    """
    return vector_norm(weight.flatten(1), 2)


@technique(
    "vector_norm",
    "l1",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.2",
    chapter="13 数学 norms",
    use="sparsity",
)
def l1() -> VectorNorm:
    """Sum of absolute values.

    >>> l1()(torch.tensor([[3.0, -4.0]]))
    tensor([7.])
    """
    return partial(vector_norm, p=1)


@technique(
    "vector_norm",
    "l2",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.2",
    chapter="13 数学 norms",
    use="length",
)
def l2() -> VectorNorm:
    """Square root of the sum of squares.

    >>> l2()(torch.tensor([[3.0, -4.0]]))
    tensor([5.])
    """
    return partial(vector_norm, p=2)


@technique(
    "vector_norm",
    "max",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.2",
    chapter="13 数学 norms",
    use="the worst value",
)
def largest() -> VectorNorm:
    """Largest absolute value, the limit of the p-norm for p to infinity.

    >>> largest()(torch.tensor([[3.0, -4.0]]))
    tensor([4.])
    """
    return partial(vector_norm, p=math.inf)


@technique(
    "vector_norm",
    "p",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.2",
    chapter="13 数学 norms",
    use="between the sum and the largest value",
)
def p_norm(p: Annotated[float, Gt(0)] = 2.0) -> VectorNorm:
    """(sum |x|^p)^(1/p).

    >>> p_norm(3.0)(torch.tensor([[3.0, 4.0, 5.0]])).round(decimals=4)
    tensor([6.])
    """
    return partial(vector_norm, p=p)


@technique(
    "matrix_norm",
    "column_sum",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.3",
    chapter="13 数学 norms",
    use="gain in the 1-norm",
)
def column_sum() -> MatrixNorm:
    """Largest sum of absolute values of a column.

    >>> column_sum()(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    tensor(6.)
    """
    return partial(torch.linalg.matrix_norm, ord=1)


@technique(
    "matrix_norm",
    "row_sum",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.3",
    chapter="13 数学 norms",
    use="gain in the max-norm",
)
def row_sum() -> MatrixNorm:
    """Largest sum of absolute values of a row.

    >>> row_sum()(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    tensor(7.)
    """
    return partial(torch.linalg.matrix_norm, ord=math.inf)


@technique(
    "matrix_norm",
    "spectral",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.3",
    chapter="13 数学 norms",
    use="gain in the 2-norm, the Lipschitz constant of a linear layer",
)
def spectral() -> MatrixNorm:
    """Largest singular value.

    >>> spectral()(torch.diag(torch.tensor([3.0, -4.0]))).round(decimals=4)
    tensor(4.)
    """
    return partial(torch.linalg.matrix_norm, ord=2)


@technique(
    "matrix_norm",
    "frobenius",
    source="the notes' appendix; Golub & Van Loan 2013, section 2.3",
    chapter="13 数学 norms",
    use="size of a matrix",
)
def frobenius() -> MatrixNorm:
    """Square root of the sum of squares of all entries.

    >>> frobenius()(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    return partial(torch.linalg.matrix_norm, ord="fro")


@technique(
    "matrix_norm",
    "nuclear",
    source="Fazel 2002; Golub & Van Loan 2013, section 2.3",
    chapter="13 数学 norms",
    use="low rank: singular values become small enough to remove",
)
def nuclear() -> MatrixNorm:
    """Sum of the singular values.

    >>> nuclear()(torch.diag(torch.tensor([3.0, -4.0]))).round(decimals=4)
    tensor(7.)
    """
    return partial(torch.linalg.matrix_norm, ord="nuc")


def of_singular_values(x: Tensor, p: float) -> Tensor:
    """(sum s^p)^(1/p) over the singular values s of matrices, (..., m, n) to (...).

    >>> of_singular_values(torch.diag(torch.tensor([3.0, -4.0])), 2.0).round(decimals=4)
    tensor(5.)
    """
    return vector_norm(torch.linalg.svdvals(x), p)


@technique(
    "matrix_norm",
    "schatten",
    source="Schatten 1960; Horn & Johnson 2013, section 7.4",
    chapter="13 数学 norms",
    use="between the sum of the singular values (p = 1) and the largest",
)
def schatten(p: Annotated[float, Ge(1)] = 2.0) -> MatrixNorm:
    """(sum s^p)^(1/p) over the singular values s; p = 1 is the nuclear norm, p = 2 is Frobenius'.

    >>> schatten(3.0)(torch.diag(torch.tensor([3.0, 4.0, 5.0]))).round(decimals=4)
    tensor(6.)
    """
    return partial(of_singular_values, p=p)


@technique(
    "matrix_norm",
    "p",
    source="the notes' appendix: the matrix as one vector",
    chapter="13 数学 norms",
    use="between the sum of all entries and the largest",
)
def matrix_p_norm(p: Annotated[float, Gt(0)] = 2.0) -> MatrixNorm:
    """(sum |x_ij|^p)^(1/p) over all entries; p = 2 is Frobenius'.

    >>> matrix_p_norm(1.0)(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(7.)
    """
    return partial(entrywise, p=p)
