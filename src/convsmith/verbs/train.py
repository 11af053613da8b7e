"""The verb that trains a net into a run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data.dataset import Dataset
from convsmith.data.levels import WIDE
from convsmith.data.scan import Track, no_track
from convsmith.errors import Interrupted, UserError, expect, shown
from convsmith.findings import Finding
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.recipe import resuming
from convsmith.run.directory import RunDirectory
from convsmith.run.run import Run
from convsmith.verbs.disk import disk_errors
from convsmith.verbs.progress import shown_progress
from convsmith.verbs.words import Overrides, RecipeWords, recipe_of

if TYPE_CHECKING:
    from torch import nn

    from convsmith.inference.evaluation import Evaluation
    from convsmith.training.session import Trained

# Number of restarts with ``train.auto``, when the loss explodes.
RESTARTS = 3


def train(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    model: str | nn.Module | None = None,
    start_from: str | os.PathLike[str] | None = None,
    recipe: RecipeWords = None,
    set: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    devices: int | None = None,
    nodes: int | None = None,
    strategy: str | None = None,
    precision: str | None = None,
    auto: bool | None = None,
    resume: bool = False,
    callbacks: Sequence[object] = (),
    track: Track[list[Path]] = no_track,
    progress: bool | None = None,
) -> Run:
    """Train a net on a folder of labelled images, and write the run with its report to ``out``.

    Args:
        data: folder, CSV or built-in name; None takes the recipe's ``data.path``.
        out: the run's folder; None makes a new one, ``runs/NAME``.
        model: name in the catalogue, e.g. ``"resnet20"`` or ``"timm:resnet18"``, or a torch module of your
            own from images (N, C, H, W) to logits (N, K), of which a copy is trained.
        start_from: run, model folder, weight file or ``timm:NAME`` whose weights to start from; ``"none"``
            begins with random ones, and None leaves it to the advice.
        recipe: YAML file, nested dictionaries, or a recipe.
        set: overrides ``"a.b=c"``, or values by dotted key; applied last.
        epochs, minutes, seed, device, devices, nodes, strategy, precision, auto: as in the recipe's
            ``train``.
        resume: go on with the run in ``out``, and begin it if there is none. What made it may be said again;
            how long and on what machine it goes on may be changed, see :mod:`convsmith.recipe.resuming`.
        callbacks: see :func:`convsmith.training.loop.fit`.
        track: shows the progress of reading the data.
        progress: a line an epoch; None shows it on a terminal and in a notebook.

    Returns:
        the run, a mapping with ``run``, ``accuracy`` and ``loss`` on the test split (else val), ``split``,
        ``best_epoch``, ``epochs``, ``val_accuracy``, ``parameters``, ``seconds``, ``report``; ``mae``,
        ``rmse``, ``kl`` and ``val_mae`` or ``val_kl`` where the targets are numbers or distributions. Every
        process of several gets it.

    Raises:
        UserError: on a mistake in what was given.
        KeyboardInterrupt: when interrupted, with the run as its ``run``; all is saved then.
    """
    # Imported inside functions: predicting needs neither the training stack nor the plots.
    from torch import nn

    from convsmith.training import machine

    options = {
        "epochs": epochs,
        "minutes": minutes,
        "seed": seed,
        "device": device,
        "devices": devices,
        "nodes": nodes,
        "strategy": strategy,
        "precision": precision,
        "auto": auto,
    }
    module = None if model is None or isinstance(model, str) else model
    expect("data", data, (str, os.PathLike, type(None)), "a folder, a CSV or a built-in name")
    if module is not None:
        expect("model", module, nn.Module, "a name in the catalogue or a torch module")
    if module is not None and start_from is not None:
        raise UserError("a module is what the training starts from; leave out `start_from`")
    name = model if isinstance(model, str) else None
    place = Path(out) if out is not None else _new_folder(data, recipe)
    run = RunDirectory(place)
    words = recipe_of(data, name, start_from, recipe, set, options)
    if resume and not run.begun:
        # What a queue's script says each time: the first time there is nothing to go on with.
        if words.data.path is None:
            raise UserError(f"{shown(run.path)} holds no run to resume; start one without `resume`")
        resume = False
    if resume:
        words = _resumed(run, words)
    _refuse_inside(run, words.data.path)

    def alone() -> Run:
        with shown_progress(progress) as shows:
            return _run(words, run, module, resume, [*callbacks, *shows], track)

    if words.train.devices * words.train.nodes > 1:
        return alone()
    # If an earlier training started several processes, the first one trains alone and the others wait.
    return machine.first_alone(alone)


def _run(
    words: recipes.Recipe,
    run: RunDirectory,
    module: nn.Module | None,
    resume: bool,
    callbacks: Sequence[object],
    track: Track[list[Path]],
) -> Run:
    from convsmith.training import machine
    from convsmith.training.loop import Diverged

    first = machine.is_first()
    with disk_errors(run.path):
        there = run.path.exists()
        if first:
            run.open_existing() if resume else run.open_new()
        try:
            trained = _trained(words, run, module, resume=resume, callbacks=callbacks, track=track)
            if words.train.devices * words.train.nodes == 1:
                return Run(_concluded(run, trained))
            return Run(machine.first_alone(lambda: _concluded(run, trained)))
        except Interrupted as error:
            raise Interrupted(str(error), Run({"run": str(run.path)})) from None
        except Diverged:
            raise  # what it wrote says why
        except BaseException:
            if first and not resume:
                run.withdraw(folder=not there)
            raise
        finally:
            if first:
                run.unlock()


def _new_folder(data: str | Path | None, recipe: RecipeWords) -> Path:
    """Choose ``runs/NAME`` after the data, with a number if the folder exists."""
    path = data if data is not None else recipes.load(recipe).data.path
    name = Path(path).stem if path is not None else "run"
    number, place = 1, Path("runs", name)
    while place.exists():
        number += 1
        place = Path("runs", f"{name}-{number}")
    return place


def _trained(
    words: recipes.Recipe,
    run: RunDirectory,
    module: nn.Module | None,
    *,
    resume: bool,
    callbacks: Sequence[object],
    track: Track[list[Path]],
) -> Trained:
    """Train; with ``train.auto``, start again at a smaller rate when the loss explodes."""
    from convsmith.training import machine
    from convsmith.training.loop import Diverged
    from convsmith.training.session import train_into

    reasons: dict[str, str] = {}
    restarts: list[Finding] = []
    while True:
        try:
            trained = train_into(
                run,
                words,
                module=module,
                resume=resume,
                callbacks=callbacks,
                reasons=reasons,
                track=track,
            )
        except Diverged as error:
            if not words.train.auto or len(restarts) == RESTARTS:
                raise
            words, why, restart = machine.first_alone(partial(_slower, words, run, str(error)))
            reasons.update(why)
            restarts.append(restart)
            resume = False
        else:
            return replace(trained, findings=(*trained.findings, *restarts))


def _slower(
    words: recipes.Recipe, run: RunDirectory, error: str
) -> tuple[recipes.Recipe, dict[str, str], Finding]:
    """Forget the failed training, and lower its rate to a tenth; give the recipe, the reason by its key,
    and a
    finding.
    """
    name, arguments = catalog.split("optimizer", recipes.load_plan(run.recipe).optimizer)
    usual = inspect.signature(catalog.load("optimizer", name)).parameters["lr"].default
    before = arguments.get("lr", usual)
    slower = words.changed({"optimizer": {name: {**arguments, "lr": before / 10}}})
    run.forget()
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
    """Refuse a run's folder inside the data: it would be taken for a class the next time."""
    root = Path(data).expanduser() if data is not None else None
    if root is not None and root.is_dir() and run.path.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{shown(run.path)} lies inside DATA, {shown(root)}; choose a folder outside for `out`"
        )


def _resumed(run: RunDirectory, given: recipes.Recipe) -> recipes.Recipe:
    """The run's own recipe with what is changed now.

    Raises:
        UserError: if what was given would be another training.
    """
    own = recipes.load_plan(run.recipe)
    if own.data.fit is None:
        # Runs from before there was a choice cut the center square out, and took 16 bits for what is deep.
        own = own.changed({"data.fit": "crop", "data.levels": WIDE})
    return own.changed(resuming.changes(given, own))


def _concluded(run: RunDirectory, trained: Trained) -> dict[str, Any]:
    """Evaluate a finished training, write its report, and give its figures."""
    # Here, with what draws and counts: a first model need not wait seconds for it.
    from convsmith.inference.evaluation import Evaluation, evaluate_split
    from convsmith.reports import page

    state, dataset = trained.state, trained.dataset
    predictor = load(run.path).to(state.fabric.device)
    name = "test" if dataset.split("test") is not None else "val"
    split = dataset.split(name)
    assert split is not None
    # A classifier that was solved in closed form has chosen nothing on these images.
    chosen = name == "val" and state.epoch > 0
    evaluation = replace(
        evaluate_split(predictor, dataset, name), chosen_by=state.chosen_by if chosen else None
    )
    if isinstance(evaluation, Evaluation):
        _keep_confusion(run, predictor, dataset, evaluation)
    files = [dataset.items[row].path for row in split.rows.tolist()]
    page.write(run, evaluation, files)
    measure = f"val_{state.measure.name}"
    figures = evaluation.summary()
    assert state.best is not None
    return {
        "run": str(run.path),
        **{key: value for key, value in figures.items() if key not in ("per_class", "findings")},
        "split": name,
        "best_epoch": int(state.best["epoch"]),
        "epochs": state.epoch,
        "stopped": state.stop,
        measure: state.best[measure],
        "parameters": sum(p.numel() for p in predictor.module.parameters()),
        "seconds": state.seconds,
        "report": str(run.report),
        "findings": [finding.as_dict() for finding in trained.findings],
    }


def _keep_confusion(
    run: RunDirectory, predictor: Predictor, dataset: Dataset, evaluation: Evaluation
) -> None:
    """Write the confusion of the validation images: later runs learn from it, so it must not come from test
    images.
    """
    from convsmith.inference.evaluation import evaluate_split

    if evaluation.split != "val":
        found = evaluate_split(predictor, dataset, "val")
        evaluation = cast("Evaluation", found)
    run.write_confusion(evaluation.classes, evaluation.confusion.tolist())
