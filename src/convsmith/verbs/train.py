"""The verb that makes a run."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data import dataset as datasets
from convsmith.data.scan import Track, silent
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.run.directory import RunDirectory
from convsmith.inference.evaluation import Evaluation
from convsmith.inference.evaluation import evaluate as evaluate_split
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.verbs.disk import disk_errors

# Of a training whose loss explodes, with --auto.
RESTARTS = 3


def train(
    data: str | Path | None = None,
    *,
    out: str | Path,
    model: str | None = None,
    start_from: str | None = None,
    recipe: str | Path | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    callbacks: Sequence[object] = (),
    track: Track[list[Path]] = silent,
) -> dict[str, Any]:
    """Train a net on a folder of labelled images, and write the run with its report to ``out``.

    Args:
        data: folder, CSV or built-in name; None takes the recipe's ``data.path``.
        out: the run's directory.
        model: name in the catalogue, e.g. ``"resnet20"`` or ``"timm:resnet18"``.
        start_from: run, weight file or ``timm:NAME`` whose weights to start from.
        recipe: YAML file.
        set: overrides ``"a.b=c"``, applied last.
        resume: go on with the run in ``out``; only ``train.*`` may be set then.
        callbacks: see :func:`convsmith.training.loop.fit`.
        track: shows the progress of reading the data.

    Returns:
        ``run``, ``accuracy`` and ``loss`` on the test split (else val), ``split``, ``best_epoch``,
        ``epochs``, ``val_accuracy``, ``parameters``, ``seconds``, ``report``; ``mae``, ``rmse``, ``kl`` and
        ``val_mae`` or ``val_kl`` where the targets are numbers or distributions.

    Raises:
        UserError: on a mistake in what was given.
    """
    # Here, as further down: predicting needs neither the training stack nor the plots.
    from convsmith.training import train as training

    run = RunDirectory(out)
    first = training.rank() == 0
    plan = _resumed(run, data, set) if resume else planned(data, model, start_from, recipe, set)
    if resume and (model or recipe or start_from):
        raise UserError("--resume goes on with the run's own recipe; leave out --model, --from and --recipe")
    _refuse_inside(run, plan.data.path)
    with disk_errors(run.path):
        if first:
            run.open_existing() if resume else run.open_new()
        try:
            state, dataset = _trained(plan, run, resume=resume, callbacks=callbacks, track=track)
            if not first:
                return {}
            return _concluded(run, state, dataset)
        finally:
            if first:
                run.unlock()


def _trained(
    plan: recipes.Recipe,
    run: RunDirectory,
    *,
    resume: bool,
    callbacks: Sequence[object],
    track: Track[list[Path]],
) -> tuple[Any, datasets.Dataset]:
    """Train; with ``train.auto``, again from the beginning at a smaller rate when the loss explodes."""
    from convsmith.training import train as training
    from convsmith.training.loop import Diverged

    reasons: dict[str, str] = {}
    restarts: list[Finding] = []
    while True:
        try:
            state, dataset = training.train(
                plan,
                run,
                resume=resume,
                callbacks=callbacks,
                reasons=reasons,
                track=track,
            )
        except Diverged as error:
            if not plan.train.auto or len(restarts) == RESTARTS:
                raise
            plan, why, restart = _slower(plan, run, str(error))
            reasons.update(why)
            restarts.append(restart)
            run.forget()
            resume = False
        else:
            dataset.findings.extend(restarts)
            return state, dataset


def _slower(
    plan: recipes.Recipe, run: RunDirectory, error: str
) -> tuple[recipes.Recipe, dict[str, str], Finding]:
    """The plan with a tenth of the failed training's rate, the reason by its key, and a finding."""
    name, arguments = catalog.split("optimizer", recipes.load_plan(run.recipe).optimizer)
    usual = inspect.signature(catalog.load("optimizer", name)).parameters["lr"].default
    before = arguments.get("lr", usual)
    slower = plan.changed({"optimizer": {name: {**arguments, "lr": before / 10}}})
    cause = error.partition(":")[0]
    why = {f"optimizer.{name}.lr": f"at {before:g} {cause}: started again with a tenth"}
    return (
        slower,
        why,
        Finding(
            seen=f"{cause}, at a rate of {before:g}; the training was started again with {before / 10:g}",
            means="the first rate was far too high",
            why="a loss that explodes within the first batches doesn't come back",
            source="study notes, chapter 10, on learning rates",
            name="restarted",
        ),
    )


def _refuse_inside(run: RunDirectory, data: str | None) -> None:
    """A run within DATA would change it, and be taken for a class the next time."""
    root = Path(data).expanduser() if data is not None else None
    if root is not None and root.is_dir() and run.path.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{shown(run.path)} lies inside DATA, {shown(root)}; choose a folder outside for --out"
        )


def planned(
    data: str | Path | None,
    model: str | None,
    start_from: str | None,
    file: str | Path | None,
    overrides: Sequence[str],
) -> recipes.Recipe:
    """The recipe that a user's words make, with its gaps."""
    words = [f"model={model}"] if model else []
    changes = {"data.path": data if data is None else str(data), "train.start_from": start_from}
    plan = recipes.load(file, [*words, *overrides])
    return plan.changed({key: value for key, value in changes.items() if value is not None})


def _resumed(run: RunDirectory, data: str | Path | None, overrides: Sequence[str]) -> recipes.Recipe:
    if not run.recipe.exists():
        raise UserError(f"{shown(run.path)} holds no run to resume; start one without --resume")
    strange = [word for word in overrides if not word.startswith("train.")]
    if strange:
        raise UserError(f"--resume goes on with the run's own recipe; --set {strange[0]} would change it")
    plan = recipes.load(run.recipe, overrides)
    return plan if data is None else plan.changed({"data.path": str(data)})


def _concluded(run: RunDirectory, state: Any, dataset: datasets.Dataset) -> dict[str, Any]:
    from convsmith.reports import page

    predictor = load(run.path).to(state.fabric.device)
    name = "test" if dataset.split("test") is not None else "val"
    split = dataset.split(name)
    assert split is not None
    values = dataset.values(name) if dataset.encoding is not None else None
    evaluation = evaluate_split(predictor, split, name, values)
    if isinstance(evaluation, Evaluation):
        _keep_confusion(run, predictor, dataset, evaluation)
    files = [dataset.items[row].path for row in split.rows.tolist()]
    page.write(run, evaluation, files)
    measure = f"val_{state.measure.name}"
    figures = evaluation.summary()
    return {
        "run": str(run.path),
        **{key: value for key, value in figures.items() if key not in ("per_class", "findings", "n")},
        "split": name,
        "best_epoch": int(state.best["epoch"]),
        "epochs": state.epoch,
        "stopped": state.stop,
        measure: state.best[measure],
        "parameters": sum(p.numel() for p in predictor.model.parameters()),
        "seconds": sum(row["seconds"] for row in state.history),
        "report": str(run.report),
        "findings": [finding.as_dict() for finding in dataset.findings],
    }


def _keep_confusion(
    run: RunDirectory, predictor: Predictor, dataset: datasets.Dataset, evaluation: Evaluation
) -> None:
    """Always that of the validation images: what is learned from it must not come from the test."""
    if evaluation.split != "val":
        split = dataset.split("val")
        assert split is not None
        found = evaluate_split(predictor, split, "val")
        assert isinstance(found, Evaluation)
        evaluation = found
    run.write_confusion(evaluation.classes, evaluation.confusion.tolist())
