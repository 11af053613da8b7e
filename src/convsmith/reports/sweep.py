"""The page of a learning-rate range test."""

from __future__ import annotations

from markupsafe import Markup

from convsmith.advice.learning_rate import Sweep
from convsmith.reports import plots
from convsmith.reports.fill import fill


def render(found: Sweep, data: str, word: str) -> str:
    """One HTML file with the curve and the proposal."""
    return fill(
        "sweep.html",
        found=found,
        data=data,
        word=word,
        curve=Markup(plots.sweep(found)),
    )
