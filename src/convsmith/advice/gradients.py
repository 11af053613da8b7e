"""Rules about gradients and dead units."""

from __future__ import annotations

import math
from collections.abc import Iterable

from convsmith.advice.evidence import Evidence
from convsmith.advice.remedies import parts, rate, shortcuts, stuck
from convsmith.findings import Finding

# Ratio of the first layer's gradient to the last hidden layer's from which on gradients count as exploding.
GROWS = 1000
# Fewest layers in which gradients can be compared.
LEAST = 4


def ends(layers: Iterable[str]) -> tuple[str, str] | None:
    """The first layer and the last one before the classifier, whose small start makes hidden gradients small.

    >>> ends(["conv1", "conv2", "conv3", "fc"])
    ('conv1', 'conv3')
    """
    names = list(layers)
    return (names[0], names[-2]) if len(names) >= LEAST else None


def exploding_gradients(e: Evidence) -> Finding | None:
    """Before any update, the loss is far above that of guessing, or gradients grow from layer to layer."""
    if not e.steps:
        return None
    gradients = {name: values[0] for name, values in e.health.get("first_gradient", {}).items()}
    found = ends(gradients)
    by_layer, grows = "", False
    if found is not None:
        first, last = found
        by_layer = (
            f"the gradients of the first batch are {gradients[first]:.2g} in the first layer ({first}), "
            f"{gradients[last]:.2g} in the last before the classifier ({last})"
        )
        grows = not gradients[first] <= GROWS * gradients[last]
    if math.isfinite(e.first) and e.first <= 20 * e.chance and not grows:
        return None
    loss = f"the first loss, before any update, is {e.first:.3g}; guessing has {e.chance:.3g}"
    return Finding(
        name="exploding_gradients",
        seen="; ".join(filter(None, (loss, by_layer))),
        means="the initial weights enlarge what passes through them layer by layer, forward or backward",
        change="initialize by He's rule, normalize between layers, and lead shortcuts around them",
        why="the variance of a layer's output should be that of its input, and of its gradient too; "
        "normalization alone lets gradients grow with depth",
        source="He et al. 2015, 2016; Glorot & Bengio 2010; Yang et al. 2019 on batch normalization",
        set=(*parts(e, init="he", norm="batch"), *shortcuts(e)) or ("train.clip=1",),
        epochs=(1, 1),
    )


def vanishing_gradients(e: Evidence) -> Finding | None:
    """The first layer's gradients are below a thousandth of the classifier's, and nothing is learned.

    The classifier of a deep net begins with 3% of its usual weights, which divides all others' gradients.
    """
    gradients = e.health.get("gradient", {})
    layers = list(gradients)
    if len(layers) < LEAST or not stuck(e):
        return None
    first, last = (next((v for v in gradients[layers[end]] if v == v), math.nan) for end in (0, -1))
    if not first < 0.001 * last:
        return None
    return Finding(
        name="vanishing_gradients",
        seen=f"gradients fall from {last:.2g} in the last layer ({layers[-1]}) to "
        f"{first:.2g} in the first ({layers[0]}); the loss stays at {min(e.column('train_loss')):.3g}, "
        f"guessing has {e.chance:.3g}",
        means="the first layers don't learn",
        change="take ReLU, He's initialization, and normalization or shortcuts",
        why="a sigmoid's slope is at most 1/4: each layer divides the gradient by four or more",
        source="Glorot & Bengio 2010; He et al. 2016",
        set=parts(e, activation="relu", init="he", norm="batch"),
        epochs=(1, len(e.rows)),
    )


def dead_units(e: Evidence) -> Finding | None:
    """At least half of a layer's channels respond to none of the images, and did before this training."""
    first = {name: values[0] for name, values in e.health.get("first_dead", {}).items()}
    dead = {name: e.last("dead", name) - first.get(name, 0.0) for name in e.health.get("dead", {})}
    if not dead or not max(dead.values()) >= 0.5:
        return None
    worst = max(dead, key=lambda name: dead[name])
    before = f", {100 * first[worst]:.0f}% before the training" if first.get(worst) else ""
    return Finding(
        name="dead_units",
        seen=f"{100 * e.last('dead', worst):.0f}% of the channels of {worst} respond to none of the images "
        f"looked at{before}",
        means="they learn nothing any more: a ReLU below zero has no gradient",
        change=f"a smaller rate ({rate(e, e.rate / 3)}), or a leaky activation",
        why="one large step can push a unit below zero for good",
        source="study notes, chapter 8, on ReLU's dead zone; Maas et al. 2013",
        set=(rate(e, e.rate / 3),),
        epochs=(1, max(1, len(e.rows))),
    )
