"""The ways to train that are open for a data set, with what each is expected to reach and to cost."""

from __future__ import annotations

from convsmith import catalog
from convsmith.advice import ways
from convsmith.advice.strategy import STRATEGIES
from convsmith.advice.ways import Way
from convsmith.inference.intervals import of_share
from convsmith.recipe import Plan
from convsmith.training import timing as timings
from convsmith.training.planning import Planned

# Epochs that a way is priced at, where the plan doesn't take it: of tuning, and from scratch.
TUNING, SCRATCH = 10, 30


def survey(ready: Planned) -> list[Way]:
    """The classifier alone, the classifier and then the layers below it, and random weights.

    The first accuracy is measured, on training images that the classifier didn't see; the second adds what
    tuning is expected to gain. Where there is no trained net to start from, the plan is the only way.
    """
    plan, known = ready.plan, ready.known
    if ready.timing is None:
        return []
    if known is None or known.similarity is None or not known.linear:
        minutes = ready.timing.seconds(plan.train.epochs) / 60
        return [Way(_name(plan), None, None, minutes, "not estimated", True)]
    found = known.similarity
    head = of_share(found.last, found.images)
    more = ways.gain(found)
    tuned = (head[0] + more, min(1.0, head[1] + more))
    other = plan if plan.train.epochs else _changed(plan, STRATEGIES[False, found.similar], TUNING)
    scratch = plan.changed(
        {"train.finetune": None, "train.head_first": False, "train.epochs": SCRATCH, "train.start_from": None}
    )
    price = ready.timing
    return [
        Way("head", found.last, head, price.seconds(0) / 60, "measured", not plan.train.epochs),
        Way(_name(other), found.last + more, tuned, _minutes(ready, other), "estimated", other is plan),
        Way("from scratch", None, None, _minutes(ready, scratch), "not estimated"),
    ]


def _changed(plan: Plan, finetune: object, epochs: int) -> Plan:
    return plan.changed({"train.finetune": finetune, "train.epochs": epochs})


def _minutes(ready: Planned, plan: Plan) -> float:
    if plan is ready.plan and ready.timing is not None:
        return ready.timing.seconds(plan.train.epochs) / 60
    net = None if ready.initial is None else ready.initial.model
    return timings.measured(plan, ready.dataset, ready.fabric, net).seconds(plan.train.epochs) / 60


def _name(plan: Plan) -> str:
    section = plan.train.finetune
    if section is None:
        return "all layers" if plan.train.start_from is not None else "from scratch"
    name = catalog.split("finetuning", section)[0]
    if name == "head":
        return "head"
    return f"head, then {name}" if plan.train.head_first else name
