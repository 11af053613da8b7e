"""convsmith: from a folder of labelled images to a small, accurate, shipped ConvNet.

>>> import convsmith as cs
>>> cs.train("digits", out="runs/digits")  # doctest: +SKIP
>>> cs.load("runs/digits").predict(["digit.png"])  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Imported on first use: `convsmith --help` must not wait for torch. Editors and type checkers read
# __init__.pyi instead, which tools/stubs.py writes.
_VERBS = {
    "train": "convsmith.verbs.train",
    "advise": "convsmith.verbs.advise",
    "augment": "convsmith.verbs.augment",
    "compare": "convsmith.verbs.compare",
    "diagnose": "convsmith.verbs.diagnose",
    "evaluate": "convsmith.verbs.evaluate",
    "lr_range": "convsmith.verbs.lr_range",
    "predict": "convsmith.verbs.predict",
    "report": "convsmith.verbs.report",
    "inspect": "convsmith.verbs.inspect",
    "features": "convsmith.verbs.features",
    "response_maps": "convsmith.verbs.response_maps",
    "score_map": "convsmith.verbs.score_map",
    "summary": "convsmith.verbs.summary",
    "techniques": "convsmith.verbs.techniques",
    "load": "convsmith.inference.model_file",
    "fit": "convsmith.verbs.fit",
    "Predictor": "convsmith.inference.predictor",
    "Run": "convsmith.run.run",
    "UserError": "convsmith.errors",
}
__all__ = [
    "Predictor",
    "Run",
    "UserError",
    "advise",
    "augment",
    "compare",
    "diagnose",
    "evaluate",
    "features",
    "fit",
    "inspect",
    "load",
    "lr_range",
    "predict",
    "report",
    "response_maps",
    "score_map",
    "summary",
    "techniques",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'convsmith' has no attribute {name!r}")
    return getattr(importlib.import_module(_VERBS[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
