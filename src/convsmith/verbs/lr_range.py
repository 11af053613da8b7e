"""The verb that finds a learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith.data.scan import Track, no_track
from convsmith.verbs.disk import new_file, save


def lr_range(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    model: str | None = None,
    start_from: str | None = None,
    recipe: str | Path | None = None,
    set: Sequence[str] = (),
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    track: Track[list[Path]] = no_track,
) -> dict[str, Any]:
    """Sweep the learning rate over one short training, and propose one.

    Args:
        data, model, start_from, recipe, set, track: as in :func:`convsmith.train`.
        out: a new HTML file with the curve.
        low, high: first and last rate of the sweep.
        steps: number of batches of the sweep.

    Returns:
        ``proposal``, ``steepest``, ``minimum``, ``rates``, ``losses``, ``word`` (the override that sets the
        proposal), ``out``.

    Raises:
        UserError: on a mistake in what was given.
    """
    from convsmith import catalog
    from convsmith.errors import UserError
    from convsmith.training.assemble import assemble
    from convsmith.training.lr_range import lr_range as test
    from convsmith.training.planning import planned
    from convsmith.verbs.words import recipe_of

    if not 0 < low < high:
        raise UserError(f"`low={low:g}` must be above 0 and below `high={high:g}`")
    target = None if out is None else new_file(out)
    ready = planned(recipe_of(data, model, start_from, recipe, set), track=track)
    net = None if ready.initial is None else ready.initial.model
    state = assemble(ready.plan, ready.dataset, ready.fabric, net, track)
    found = test(state, low=low, high=high, steps=steps)
    name = catalog.split("optimizer", ready.plan.optimizer)[0]
    word = f"optimizer.{name}.lr={found.proposal:g}"
    if target is not None:
        from convsmith.reports import sweep

        save(target, sweep.render(found, str(ready.plan.data.path), word))
    return {
        "proposal": found.proposal,
        "steepest": found.steepest,
        "minimum": found.minimum,
        "word": word,
        "rates": found.rates,
        "losses": found.losses,
        "out": None if out is None else str(out),
    }
