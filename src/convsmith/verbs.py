"""The verbs: what `import convsmith as cs` offers, and all that the command line calls."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data import dataset as datasets
from convsmith.data import layout
from convsmith.data.batches import Split
from convsmith.data.layout import shown
from convsmith.data.pixels import open_store
from convsmith.data.scan import Track, broken_findings, scan, silent
from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.nn.summary import Summary, summarize
from convsmith.run.device import pick_device
from convsmith.run.directory import RunDirectory
from convsmith.run.evaluation import Evaluation
from convsmith.run.evaluation import evaluate as evaluate_split
from convsmith.run.number_evaluation import NumberEvaluation
from convsmith.run.predictor import Predictor, load

if TYPE_CHECKING:
    from torch import Tensor

DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than allowed",
}


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
    plan = _resumed(run, data, set) if resume else _planned(data, model, start_from, recipe, set)
    if resume and (model or recipe or start_from):
        raise UserError("--resume goes on with the run's own recipe; leave out --model, --from and --recipe")
    _refuse_inside(run, plan.data.path)
    with _disk_errors(run.path):
        if first:
            run.open_existing() if resume else run.open_new()
        try:
            state, dataset = training.train(plan, run, resume=resume, callbacks=callbacks, track=track)
            if not first:
                return {}
            return _concluded(run, state, dataset)
        finally:
            if first:
                run.unlock()


def _refuse_inside(run: RunDirectory, data: str | None) -> None:
    """A run within DATA would change it, and be taken for a class the next time."""
    root = Path(data).expanduser() if data is not None else None
    if root is not None and root.is_dir() and run.path.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{shown(run.path)} lies inside DATA, {shown(root)}; choose a folder outside for --out"
        )


def _planned(
    data: str | Path | None,
    model: str | None,
    start_from: str | None,
    file: str | Path | None,
    overrides: Sequence[str],
) -> recipes.Recipe:
    words = [f"model={model}"] if model else []
    plan = recipes.load(file, [*words, *overrides])
    if data is not None:
        plan.data.path = str(data)
    if start_from is not None:
        plan.train.start_from = start_from
    return plan


def _resumed(run: RunDirectory, data: str | Path | None, overrides: Sequence[str]) -> recipes.Recipe:
    if not run.recipe.exists():
        raise UserError(f"{shown(run.path)} holds no run to resume; start one without --resume")
    strange = [word for word in overrides if not word.startswith("train.")]
    if strange:
        raise UserError(f"--resume goes on with the run's own recipe; --set {strange[0]} would change it")
    plan = recipes.load(run.recipe, overrides)
    if data is not None:
        plan.data.path = str(data)
    return plan


def _concluded(run: RunDirectory, state: Any, dataset: datasets.Dataset) -> dict[str, Any]:
    from convsmith.report import page

    predictor = load(run.path).to(state.fabric.device)
    name = "test" if dataset.split("test") is not None else "val"
    split = dataset.split(name)
    assert split is not None
    values = dataset.values(name) if dataset.encoding is not None else None
    evaluation = evaluate_split(predictor, split, name, values)
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


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise UserError(
            f"{DISK_ERRORS[error.errno]} ({error.filename or shown(path)}); make room, then go on with: "
            f"convsmith train --out {shown(path)} --resume"
        ) from None


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    *,
    device: str = "auto",
    track: Track[list[Path]] = silent,
) -> Evaluation | NumberEvaluation:
    """Evaluate a run or model file on DATA, or on the run's own test split (else val).

    Of DATA with splits, its test split is taken (else val, else train); without splits, all of it.

    Raises:
        UserError: if images or classes don't fit the model.
    """
    predictor = load(model).to(pick_device(device))
    if data is not None:
        items = layout.find(datasets.locate(str(data)))
    else:
        place = Path(model).expanduser()
        items = RunDirectory(place if place.is_dir() else place.parent).read_files()
    names = {item.split for item in items}
    name = next((split for split in ("test", "val", "train") if split in names), None)
    if None not in names:
        items = [item for item in items if item.split == name]
    opened = _opened(predictor, items, track)
    found = evaluate_split(predictor, opened.split, name or "all", opened.values)
    return replace(found, findings=opened.findings)


class _Opened(NamedTuple):
    """Items decoded as the predictor wants them, their files and numbers, and what was left out of them."""

    split: Split
    files: list[Path]
    values: Tensor | None
    findings: list[Finding]


def _refuse_strange(predictor: Predictor, items: Sequence[layout.Item]) -> None:
    index = set(predictor.classes)
    for item in items:
        if predictor.encoding is not None:
            if len(item.target or ()) != len(predictor.columns):
                raise UserError(
                    f"{shown(item.path)} has {len(item.target or ())} numeric targets; the model predicts "
                    f"{len(predictor.columns)} ({', '.join(predictor.columns)}). Give a CSV with them"
                )
        elif item.label not in index:
            raise UserError(
                f"{shown(item.path)} is of class {item.label!r}, which the model doesn't know; it knows "
                f"{', '.join(predictor.classes[:10])}{', ...' if len(index) > 10 else ''}"
            )


def _opened(predictor: Predictor, items: Sequence[layout.Item], track: Track[list[Path]]) -> _Opened:
    import torch

    _refuse_strange(predictor, items)
    rows, broken = scan(items, track)
    store, damaged = open_store(
        [(item.path, header) for item, header in rows],
        size=predictor.size,
        channels=predictor.channels,
        track=track,
    )
    bad = {file.path for file in damaged}
    good = [number for number, (item, _) in enumerate(rows) if item.path not in bad]
    if not good:
        first = f": {shown(broken[0].path)}: {broken[0].reason}" if broken else ""
        raise UserError(f"no usable images to evaluate{first}")
    kept = [rows[number][0] for number in good]
    values = None
    if predictor.encoding is not None:
        values = torch.tensor([item.target for item in kept], dtype=torch.double)
        targets = predictor.encoding.encode(values)
    else:
        index = {name: number for number, name in enumerate(predictor.classes)}
        targets = torch.tensor([index[item.label] for item in kept])
    return _Opened(
        Split(store, torch.tensor(good), targets),
        [item.path for item in kept],
        values,
        broken_findings([*broken, *damaged]),
    )


def predict(
    model: str | Path, images: Sequence[str | Path], *, top: int = 5, device: str = "auto"
) -> list[dict[str, Any]]:
    """For each image file its label, probability and ``top`` classes.

    Raises:
        UserError: if the model or an image can't be read.
    """
    return load(model).to(pick_device(device)).predict(images, top=top)


def report(run: str | Path, *, device: str = "auto") -> Path:
    """Write a run's ``report.html`` again from its files; the path of the page."""
    from convsmith.report import page

    directory = RunDirectory(run)
    predictor = load(run).to(pick_device(device))
    items = directory.read_files()
    name = "test" if any(item.split == "test" for item in items) else "val"
    opened = _opened(predictor, [item for item in items if item.split == name], silent)
    evaluation = evaluate_split(predictor, opened.split, name, opened.values)
    with _disk_errors(directory.path):
        page.write(directory, evaluation, opened.files)
    return Path(directory.report)


def summary(model: str, shape: tuple[int, int, int], num_classes: int = 10) -> Summary:
    """Layers, output shapes, parameters and multiply-accumulates of a net for images (C, H, W).

    Raises:
        UserError: if there is no such net, or it can't take such images.
    """
    channels, height, width = shape
    net = catalog.build("model", model, num_classes=num_classes, in_channels=channels, size=height)
    try:
        return summarize(net, shape)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{model} can't take images of {channels}x{height}x{width}: {first}") from None


def techniques(kind: str | None = None) -> list[catalog.Card]:
    """The catalogue's cards by kind and name, of one kind or of all."""
    return [card for (k, _), card in sorted(catalog.index().items()) if kind in (None, k)]
