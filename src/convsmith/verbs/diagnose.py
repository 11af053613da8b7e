"""The verb that says what is wrong with a training, and starts the next one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith.advice.curves import diagnose as rules
from convsmith.advice.evidence import gather
from convsmith.data.scan import Track, no_track
from convsmith.errors import UserError, shown
from convsmith.run.directory import RunDirectory


def diagnose(
    run: str | os.PathLike[str],
    *,
    apply: bool = False,
    out: str | Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    callbacks: Sequence[object] = (),
    track: Track[list[Path]] = no_track,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Read a run's curves and say what is wrong, why, and what to change; also of a failed or a running one.

    Args:
        run: the run's directory, which is not changed.
        apply: start a run with the changes, in ``out``.
        out: the next run's directory.
        seed, device: of the next run; None: as in this one.
        callbacks, track, progress: as in :func:`convsmith.train`, of the next run.

    Returns:
        ``run``, ``findings`` (each with ``name``, ``seen``, ``means``, ``change``, ``why``, ``source``,
        ``set``), ``healthy``; with ``apply``, ``next``: what :func:`convsmith.train` returns.

    Raises:
        UserError: if there is no such run, or nothing to apply.
    """
    if apply != (out is not None):
        raise UserError("`apply` and `out=NEWRUN` go together: the changed recipe is trained there")
    directory = RunDirectory(run)
    findings = rules(gather(directory))
    result: dict[str, Any] = {
        "run": os.fspath(run),
        "findings": [finding.as_dict() for finding in findings],
        "healthy": not findings,
    }
    if apply:
        changes = [word for finding in findings for word in finding.set]
        if not changes:
            raise UserError(f"the diagnosis of {shown(directory.path)} has found nothing to change")
        from convsmith.verbs.train import train

        assert out is not None
        next_run = train(
            out=out,
            recipe=directory.recipe,
            set=changes,
            seed=seed,
            device=device,
            callbacks=callbacks,
            track=track,
            progress=progress,
        )
        result["next"] = dict(next_run)
        result["changes"] = changes
    return result
