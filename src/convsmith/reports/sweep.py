"""The page of a learning-rate range test."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

import convsmith
from convsmith.advice.learning_rate import Sweep
from convsmith.reports import plots


def render(found: Sweep, data: str, word: str) -> str:
    """One HTML file with the curve and the proposal."""
    environment = Environment(loader=PackageLoader("convsmith.reports"), autoescape=select_autoescape())
    return environment.get_template("sweep.html").render(
        found=found, data=data, word=word, curve=Markup(plots.sweep(found)), version=convsmith.__version__
    )
