"""The recipe: everything a run does, as typed YAML with the reasons kept as comments.

A :class:`Recipe` may leave gaps; a :class:`Plan` is one without. Both are values: a change makes a new one.

>>> Recipe().changed({"data.size": 32}).data.size
32
"""

from convsmith.recipe.checking import Formerly, Strict
from convsmith.recipe.reading import load, load_plan
from convsmith.recipe.schema import (
    Data,
    EarlyStopping,
    Ema,
    Imbalance,
    LabelNoise,
    Normalize,
    Plan,
    PlannedData,
    PlannedTrain,
    Precision,
    Recipe,
    Section,
    Train,
)
from convsmith.recipe.writing import amended, dump

__all__ = [
    "Data",
    "EarlyStopping",
    "Ema",
    "Formerly",
    "Imbalance",
    "LabelNoise",
    "Normalize",
    "Plan",
    "PlannedData",
    "PlannedTrain",
    "Precision",
    "Recipe",
    "Section",
    "Strict",
    "Train",
    "amended",
    "dump",
    "load",
    "load_plan",
]
