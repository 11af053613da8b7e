"""The verb that shows what a trained net responds to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convsmith.data.atomic import write
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.inference.predictor import Pixels, Predictor
from convsmith.nn.responses import activations, captured, watch
from convsmith.nn.weights import weights
from convsmith.run.directory import RunDirectory
from convsmith.run.reopened import reopen
from convsmith.verbs.disk import disk_errors
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
        :mod:`convsmith.nn.silence`); ``findings``: which files were left out.

    Raises:
        UserError: if a layer or an image isn't there.
    """
    # Imported here, since ``features`` doesn't need the plots.
    from convsmith.reports import inspection

    predictor, run = opened_model(model, None, device), run_of(model)
    files, pixels, findings = _sample(predictor, run, images, sample)
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
    part = inspection.render(
        predictor.model,
        excitements,
        [name for name in layers if name in excitements] or _spread(list(excitements)),
        [_pictured(predictor, Path(path)) for path in images[:8] or files[:: max(1, len(files) // 2)][:2]],
        pixels,
        _kernels(predictor.model, layers),
    )
    with disk_errors(run.path):
        write(run.inspection, part)
    page = report(run.path, device=device) if run.metrics.exists() else run.inspection
    return {
        "report": str(page),
        "layers": list(excitements),
        **{
            what: {name: value for name, e in excitements.items() if (value := getattr(e, what)) is not None}
            for what in ("zero_share", "dead", "saturated_share")
        },
        "findings": [finding.as_dict() for finding in findings],
    }


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
) -> tuple[list[Path], list[Pixels], list[Finding]]:
    """About ``count`` of the run's val images (else test), evenly spread, or the given ones; their pixels."""
    if not run.files.exists():
        if not images:
            raise UserError(f"{shown(run.path)} doesn't say which images it was trained on; name some")
        files = [Path(image) for image in images]
        files = files[:: max(1, len(files) // count)][:count]
        return files, [predictor.read(path) for path in files], []
    splits = {item.split for item in run.read_files()}
    dataset = reopen(run, predictor, ["val" if "val" in splits else "test"])
    rows = [row for row, item in enumerate(dataset.items) if item.split]
    rows = rows[:: max(1, len(rows) // count)][:count]
    split = dataset.split(str(dataset.items[rows[0]].split))
    assert split is not None
    (pixels,) = split.store.stream([torch.tensor(rows)])
    return [dataset.items[row].path for row in rows], list(pixels.cpu().numpy()), dataset.findings


def _spread(names: list[str], count: int = 3) -> list[str]:
    """Choose the first, the last and evenly spaced ones between."""
    if len(names) <= count:
        return names
    return [names[round(number * (len(names) - 1) / (count - 1))] for number in range(count)]
