"""What each mistake costs: a matrix with the true class by row and the decision by column."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from convsmith.catalog import Place, technique
from convsmith.errors import UserError, nearest, shown


def read_table(file: str | Path, classes: Sequence[str]) -> Tensor:
    """Read a CSV with the classes in its first row (decision) and first column (truth), as (K, K) float64.

    Rows and columns may come in any order.

    Raises:
        UserError: if it can't be read, a class is missing or unknown, or a cell isn't a number >= 0.
    """
    place = Path(file).expanduser()
    try:
        with open(place, newline="", encoding="utf-8-sig") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {shown(place)} as a UTF-8 CSV: {error}") from None
    head = rows[0][1:] if rows else []
    names = [row[0] for row in rows[1:]]
    for found in (head, names):
        _same_classes(found, classes, place)
    values = {
        (name, other): _cell(text, place, number)
        for number, (name, row) in enumerate(zip(names, rows[1:]), start=2)
        for other, text in zip(head, row[1:] + [""] * (len(head) - len(row) + 1))
    }
    return torch.tensor(
        [[values[true, decided] for decided in classes] for true in classes], dtype=torch.double
    )


def _same_classes(found: Sequence[str], classes: Sequence[str], file: Path) -> None:
    for name in found:
        if name not in classes:
            raise UserError(f"{shown(file)}: there is no class {name!r}{nearest(name, classes)}")
    missing = [name for name in classes if name not in found]
    if missing:
        raise UserError(f"{shown(file)}: class {missing[0]!r} needs a row and a column of its own")


def _cell(text: str, file: Path, row: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{shown(file)}:{row}: {text!r} is not a number >= 0")
    return value


def checked(costs: Tensor, classes: Sequence[str]) -> Tensor:
    """Refuse costs in which a right decision costs as much as a wrong one; else give them back.

    Raises:
        UserError: for the first such class.
    """
    for place, row in enumerate(costs.tolist()):
        others = [cost for number, cost in enumerate(row) if number != place]
        if row[place] >= max(others):
            raise UserError(
                f"costs: deciding {classes[place]!r} rightly costs {row[place]:g}, no less than any mistake; "
                f"the diagonal is usually 0"
            )
    return costs


@technique(
    "cost",
    "table",
    source="Elkan 2001, The foundations of cost-sensitive learning",
    chapter="11 不平衡样本 imbalance",
    use="you know what mistakes cost",
)
def table(classes: Sequence[str], file: Annotated[str, Place()] | None = None) -> Tensor:
    """Costs from a CSV: the decisions in its first row, the true classes in its first column.

    Args:
        classes: names of the K classes.
        file: the CSV.

    Returns:
        (K, K) float64.

    Raises:
        UserError: if the file doesn't fit the classes.

    >>> import tempfile; from pathlib import Path
    >>> file = Path(tempfile.mkdtemp()) / "costs.csv"
    >>> _ = file.write_text("true,ill,well\\nwell,1,0\\nill,0,20\\n")
    >>> table(["ill", "well"], str(file)).tolist()
    [[0.0, 20.0], [1.0, 0.0]]
    """
    if file is None:
        raise UserError("cost table needs its file, e.g. `data.costs.table.file=costs.csv`")
    return checked(read_table(file, classes), classes)


@technique(
    "cost",
    "pairs",
    source="Elkan 2001",
    chapter="11 不平衡样本 imbalance",
    use="a few mistakes cost more than the others",
)
def pairs(classes: Sequence[str], costs: dict[str, dict[str, float]] = {}, other: float = 1.0) -> Tensor:  # noqa: B006
    """The named costs ``{true: {decided: cost}}``; every other mistake costs ``other``, being right nothing.

    Args:
        classes: names of the K classes.
        costs: >= 0.
        other: >= 0.

    Returns:
        (K, K) float64.

    Raises:
        UserError: if a class is unknown or a cost negative.

    >>> pairs(["ill", "well"], {"ill": {"well": 20}}).tolist()
    [[0.0, 20.0], [1.0, 0.0]]
    """
    matrix = torch.full((len(classes), len(classes)), float(other), dtype=torch.double).fill_diagonal_(0)
    places = {name: number for number, name in enumerate(classes)}
    for true, row in costs.items():
        for decided, cost in row.items():
            for name in (true, decided):
                if name not in places:
                    raise UserError(f"cost pairs: there is no class {name!r}{nearest(name, classes)}")
            if not 0 <= cost < math.inf:
                raise UserError(f"cost pairs: {true} decided as {decided} costs {cost}; costs are >= 0")
            matrix[places[true], places[decided]] = cost
    return checked(matrix, classes)


def confusion_counts(run: str | Path, classes: Sequence[str]) -> Tensor:
    """Read the validation confusion of a run, ``confusion.csv``, true class by row; (K, K) float64.

    Raises:
        UserError: if the run has none, or other classes.
    """
    place = Path(run).expanduser()
    file = place / "confusion.csv" if place.is_dir() else place
    if not file.exists():
        raise UserError(f"there is no {shown(file)}: name a run that was trained to its end")
    return read_table(file, classes)


@technique(
    "cost",
    "confusion",
    source="the notes, chapter 11; Kukar & Kononenko 1998",
    chapter="11 不平衡样本 imbalance",
    use="mistakes that a first run often makes shall cost more in the next",
)
def confusion(classes: Sequence[str], run: Annotated[str, Place()] | None = None) -> Tensor:
    """C(i, j) = (1 + s) / 2, s the share of class i's validation images taken for j, over the mean share.

    The 1 keeps mistakes that the run never made from costing nothing.

    Args:
        classes: names of the K classes.
        run: the run's folder, or its confusion.csv.

    Returns:
        (K, K) float64 with zeros on the diagonal and a mean of 1 off it; all ones if the run made no mistake.

    Raises:
        UserError: if the run has no confusion.csv or other classes.

    >>> import tempfile; from pathlib import Path
    >>> file = Path(tempfile.mkdtemp()) / "confusion.csv"
    >>> _ = file.write_text("true,a,b\\na,6,2\\nb,0,8\\n")
    >>> confusion(["a", "b"], str(file)).tolist()
    [[0.0, 1.5], [0.5, 0.0]]
    """
    if run is None:
        raise UserError("cost confusion needs a run, e.g. `data.costs.confusion.run=runs/first`")
    counts = confusion_counts(run, classes)
    shares = (counts / counts.sum(1, keepdim=True).clamp_min(1)).fill_diagonal_(0)
    k = len(classes)
    mean = shares.sum() / (k * (k - 1))
    relative = shares / mean if mean > 0 else torch.ones_like(shares)
    return ((1 + relative) / 2).fill_diagonal_(0)


@technique(
    "cost",
    "class_ratio",
    source="the notes, chapter 11; Zhou & Liu 2006, Training cost-sensitive neural networks",
    chapter="11 不平衡样本 imbalance",
    use="nobody knows what mistakes cost, and rare classes shall count as much as frequent ones",
)
def class_ratio(classes: Sequence[str], counts: Tensor) -> Tensor:
    """C(i, j) = n / n_i: a mistake about class i costs the mean class's images n over its own.

    Args:
        classes: names of the K classes.
        counts: training images of each class, (K,); a class without any costs as one with a single image.

    Returns:
        (K, K) float64 with zeros on the diagonal.

    >>> class_ratio(["ill", "well"], torch.tensor([1, 3])).tolist()
    [[0.0, 2.0], [0.6666666666666666, 0.0]]
    """
    own = counts.double().mean() / counts.double().clamp_min(1)
    return own[:, None].repeat(1, len(classes)).fill_diagonal_(0)


def decide(probabilities: Tensor, costs: Tensor | None) -> Tensor:
    """The decision of least expected cost, argmin_j sum_k p_k C(k, j); without costs the likeliest class.

    Args:
        probabilities: (N, K).
        costs: (K, K) or None.

    Returns:
        (N,) int64.

    >>> decide(torch.tensor([[0.1, 0.9]]), torch.tensor([[0.0, 20.0], [1.0, 0.0]]))
    tensor([0])
    """
    if costs is None:
        return probabilities.argmax(1)
    return (probabilities @ costs.to(probabilities)).argmin(1)
