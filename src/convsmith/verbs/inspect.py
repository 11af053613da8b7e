"""The verb that shows what a trained net responds to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convsmith.data.atomic import write
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.inference.predictor import Pixels, Predictor
from convsmith.nn.responses import Excitement, activations, captured, watch
from convsmith.nn.selectivity import Selectivity, selectivity
from convsmith.nn.slopes import learned_slopes
from convsmith.nn.weights import weights
from convsmith.run.directory import RunDirectory
from convsmith.run.reopened import reopen
from convsmith.verbs.disk import disk_errors, own_page
from convsmith.verbs.opened import Model, opened_model, run_of
from convsmith.verbs.report import report

if TYPE_CHECKING:
    from convsmith.reports import inspection


def inspect(
    model: Model,
    images: Sequence[str | Path] = (),
    *,
    layers: Sequence[str] = (),
    sample: int = 500,
    device: str = "auto",
) -> dict[str, Any]:
    """Write a trained net's kernels, maps, most exciting images and dead channels into its report.

    Args:
        model: run or model file.
        images: whose maps are shown; by default two of the run's own.
        layers: shown in detail; by default three, spread over the net's activations.
        sample: how many of the run's val or test images (or of ``images`` where it has none) are run
            through the net.
        device: auto, cpu or cuda.

    Returns:
        ``report``; ``layers``, in order; by layer, ``zero_share`` (of responses) and ``dead`` channels where
        the activation cuts off to zero, ``saturated_share`` where it has a bound (see
        :mod:`convsmith.nn.silence`), and for each unit ``image_share``, the share of the image that it
        responds to (:func:`convsmith.nn.extent.share_above_half`, mean over the images that excite it most),
        and ``selectivity``, its class selectivity index, where the images have classes and no response is
        negative; ``class_units`` says how many ``units`` answer to one class, how many would ``by_chance``,
        and to which ``classes`` (:func:`convsmith.nn.selectivity.selectivity`); ``slopes`` of each PReLU,
        their ``mean``, ``min``, ``max`` and number of ``channels``; ``findings``: which files were left out.

    Raises:
        UserError: if a layer or an image isn't there, or a page in its place isn't convsmith's.
    """
    # Imported here, since ``features`` doesn't need the plots.
    from convsmith.reports import inspection

    predictor, run = opened_model(model, None, device), run_of(model)
    for page in (run.inspection, run.report) if run.metrics.exists() else (run.inspection,):
        own_page(page)
    files, pixels, target, findings = _sample(predictor, run, images, sample)
    with captured(predictor.model, layers):
        pass  # refuses names that the net doesn't have
    watched = list(dict.fromkeys([*activations(predictor.model), *layers]))
    if not watched:
        raise UserError("the net has no activations that are known here; name layers with `layers`")
    batches = (
        predictor.normalized(torch.from_numpy(np.stack(pixels[first : first + 64])))
        for first in range(0, len(pixels), 64)
    )
    found = watch(predictor.model, watched, batches, top=inspection.TOP)
    excitements = {name: found[name] for name in watched if found[name].count}
    selective = _selective(excitements, target)
    part = inspection.render(
        predictor.model,
        excitements,
        [name for name in layers if name in excitements] or _spread(list(excitements)),
        [_pictured(predictor, Path(path)) for path in images[:8] or files[:: max(1, len(files) // 2)][:2]],
        pixels,
        _kernels(predictor.model, layers),
        selective,
        predictor.classes,
    )
    with disk_errors(run.path):
        write(run.inspection, part)
    written = report(run.path, device=device) if run.metrics.exists() else run.inspection
    return {
        "report": str(written),
        "layers": list(excitements),
        **{
            what: {name: value for name, e in excitements.items() if (value := getattr(e, what)) is not None}
            for what in ("zero_share", "dead", "saturated_share")
        },
        **_by_unit(excitements),
        **_by_class(selective, predictor.classes),
        "slopes": {
            name: {
                "mean": float(own.mean()),
                "min": float(own.min()),
                "max": float(own.max()),
                "channels": len(own),
            }
            for name, own in learned_slopes(predictor.model).items()
        },
        "findings": [finding.as_dict() for finding in findings],
    }


def _selective(excitements: Mapping[str, Excitement], target: torch.Tensor | None) -> dict[str, Selectivity]:
    """Of the layers that answer nothing below zero; none without classes to compare."""
    if target is None or len(torch.unique(target)) < 2:
        return {}
    return {name: selectivity(e.means, target) for name, e in excitements.items() if e.lowest >= 0}


def _by_unit(excitements: Mapping[str, Excitement]) -> dict[str, Any]:
    shares = {name: e.image_share for name, e in excitements.items()}
    return {"image_share": {name: _numbers(own) for name, own in shares.items() if own is not None}}


def _by_class(selective: Mapping[str, Selectivity], classes: Sequence[str]) -> dict[str, Any]:
    from convsmith.reports.inspection import favorites

    return {
        "selectivity": {name: _numbers(own.index) for name, own in selective.items()},
        "class_units": {
            name: {
                "units": int(own.selective.sum()),
                "by_chance": own.by_chance,
                "classes": favorites(own, classes),
            }
            for name, own in selective.items()
        },
    }


def _numbers(values: torch.Tensor) -> list[float | None]:
    """To four places, None for nan, which JSON doesn't have."""
    return [round(value, 4) if math.isfinite(value) else None for value in values.tolist()]


def _pictured(predictor: Predictor, path: Path) -> inspection.Pictured:
    from convsmith.reports.inspection import Pictured

    pixels = np.array(predictor.read(path))
    normalized = predictor.normalized(torch.from_numpy(pixels)[None])[0]
    return Pictured(shown(Path(path.parent.name, path.name)), pixels, normalized)


def _kernels(model: torch.nn.Module, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Weights of the first convolution with more than one pixel, and of the named layers of any kind."""
    own = {name.removesuffix(".weight"): w for name, w in weights(model).items() if w.ndim in (2, 4)}
    first = next((name for name, w in own.items() if w.ndim == 4 and w[0, 0].numel() > 1), None)
    return {name: w for name, w in own.items() if name == first or name in layers}


def _sample(
    predictor: Predictor, run: RunDirectory, images: Sequence[str | Path], count: int
) -> tuple[list[Path], list[Pixels], torch.Tensor | None, list[Finding]]:
    """About ``count`` of the run's val images (else test), evenly spread, or the given ones.

    Their files, pixels, and classes where they are known.
    """
    if not run.files.exists():
        if not images:
            raise UserError(f"{shown(run.path)} doesn't say which images it was trained on; name some")
        files = [Path(image) for image in images]
        files = files[:: max(1, len(files) // count)][:count]
        return files, [predictor.read(path) for path in files], None, []
    splits = {item.split for item in run.read_files()}
    dataset = reopen(run, predictor, ["val" if "val" in splits else "test"])
    rows = [row for row, item in enumerate(dataset.items) if item.split]
    rows = rows[:: max(1, len(rows) // count)][:count]
    split = dataset.split(str(dataset.items[rows[0]].split))
    assert split is not None
    (pixels,) = split.store.stream([torch.tensor(rows)])
    chosen = [dataset.items[row] for row in rows]
    target = None
    if dataset.encoding is None:
        target = torch.tensor([predictor.classes.index(item.label) for item in chosen])
    return [item.path for item in chosen], list(pixels.cpu().numpy()), target, dataset.findings


def _spread(names: list[str], count: int = 3) -> list[str]:
    """Choose the first, the last and evenly spaced ones between."""
    if len(names) <= count:
        return names
    return [names[round(number * (len(names) - 1) / (count - 1))] for number in range(count)]
