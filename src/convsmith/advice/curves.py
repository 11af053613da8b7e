"""Diagnosis of a training: the rules in their order, from cause to consequence.

Each rule is a pure function from the :class:`Evidence` to a finding: a fault, its meaning, and the change
that mends it. The rules are those of the study notes about learning curves, and those of the literature
about gradients and dead units. Their thresholds were set on two thirds of the trainings of
``benchmarks/diagnosis.py``; docs/training.md says how often they are right on the last third.
"""

from __future__ import annotations

from collections.abc import Callable

from convsmith.advice.evidence import Evidence
from convsmith.advice.fitting import (
    collapse,
    flat_images,
    label_noise,
    noisy_validation,
    over_fitting,
    too_much_regularization,
    under_fitting,
)
from convsmith.advice.gradients import dead_units, exploding_gradients, vanishing_gradients
from convsmith.advice.rates import plateau, rate_too_high, rate_too_high_later, rate_too_low
from convsmith.findings import Finding

Rule = Callable[[Evidence], Finding | None]

# From cause to consequence. Only the first that applies is reported, since it may have caused the others.
CAUSES: tuple[Rule, ...] = (
    flat_images,
    exploding_gradients,
    vanishing_gradients,
    too_much_regularization,
    collapse,
    rate_too_high,
    rate_too_low,
    label_noise,
    rate_too_high_later,
    plateau,
    over_fitting,
    under_fitting,
    dead_units,
)
# Rules that are reported beside any cause.
BESIDE: tuple[Rule, ...] = (noisy_validation,)


def diagnose(e: Evidence) -> list[Finding]:
    """Findings about a training: its first cause, and what stands beside it; empty if it is healthy."""
    causes = (rule(e) for rule in CAUSES)
    found = next((finding for finding in causes if finding is not None), None)
    beside = [finding for finding in (rule(e) for rule in BESIDE) if finding is not None]
    return [*([found] if found is not None else []), *beside]
