"""The verbs that look into a trained net: its responses, and its features."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convsmith.data import layout
from convsmith.errors import UserError, shown
from convsmith.nn.responses import captured, class_responses, rectifiers, watch
from convsmith.nn.weights import weights
from convsmith.inference.device import pick_device
from convsmith.data.atomic import write
from convsmith.run.directory import RunDirectory
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.verbs.disk import disk_errors, save
from convsmith.verbs.evaluate import report

if TYPE_CHECKING:
    from convsmith.reports import inspection


def inspect(
    model: str | Path,
    images: Sequence[str | Path] = (),
    *,
    layers: Sequence[str] = (),
    sample: int = 500,
    device: str = "auto",
) -> dict[str, Any]:
    """Look into a trained net, and write kernels, maps, exciting images and silent units into its report.

    Args:
        model: run or model file.
        images: whose maps are shown; by default two of the run's own.
        layers: shown in detail; by default three, spread over the net's activations.
        sample: how many of the run's val or test images (or of ``images`` where it has none) are run
            through the net.
        device: auto, cpu or cuda.

    Returns:
        ``report``, ``zero_share`` and ``dead`` channels by layer.

    Raises:
        UserError: if a layer or an image isn't there.
    """
    # Here: the plots are not needed for features.
    from convsmith.reports import inspection

    predictor = load(model).to(pick_device(device))
    run = RunDirectory.of(model)
    files = _own_files(run) if run.files.exists() else [Path(image) for image in images]
    if not files:
        raise UserError(f"{shown(run.path)} doesn't say which images it was trained on; name some")
    files = files[:: max(1, len(files) // sample)][:sample]
    pixels = [np.array(predictor.read(path)) for path in files]
    with captured(predictor.model, layers):
        pass  # refuses names that the net doesn't have
    watched = list(dict.fromkeys([*rectifiers(predictor.model), *layers]))
    if not watched:
        raise UserError("the net has no activations that are known here; name layers with --layer")
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
        "zero_share": {name: e.zero_share for name, e in excitements.items()},
        "dead": {name: e.dead for name, e in excitements.items()},
    }


def _pictured(predictor: Predictor, path: Path) -> inspection.Pictured:
    from convsmith.reports.inspection import Pictured

    pixels = np.array(predictor.read(path))
    normalized = predictor.normalized(torch.from_numpy(pixels)[None])[0]
    return Pictured(shown(Path(path.parent.name, path.name)), pixels, normalized)


def _kernels(model: torch.nn.Module, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Weights of the first convolution, and of the named ones."""
    own = {
        name.removesuffix(".weight"): weight
        for name, weight in weights(model).items()
        if weight.ndim == 4 and weight.shape[-1] > 1
    }
    return {name: w for number, (name, w) in enumerate(own.items()) if number == 0 or name in layers}


def _own_files(run: RunDirectory) -> list[Path]:
    """The run's val images, else its test images."""
    items = run.read_files()
    for split in ("val", "test"):
        own = [item.path for item in items if item.split == split and item.path.exists()]
        if own:
            return own
    return []


def _spread(names: list[str], count: int = 3) -> list[str]:
    """The first, the last and what lies evenly between."""
    if len(names) <= count:
        return names
    return [names[round(number * (len(names) - 1) / (count - 1))] for number in range(count)]


def features(
    model: str | Path,
    layer: str,
    out: str | Path,
    images: Sequence[str | Path] = (),
    *,
    device: str = "auto",
    batch_size: int = 64,
) -> dict[str, Any]:
    """Write what a layer gives for images to an ``.npz`` file: ``features`` (N, ...), ``files``, ``labels``.

    Args:
        model: run or model file.
        layer: its name as in ``convsmith summary``, or ``pre_logits``: what the classifier reads.
        out: the file.
        images: by default all of the run's own, with their labels and splits.
        device: auto, cpu or cuda.
        batch_size: images at a time.

    Raises:
        UserError: if the layer or an image isn't there, or the file can't be written.
    """
    predictor = load(model).to(pick_device(device))
    if images:
        items = [layout.Item(Path(image), "") for image in images]
    else:
        items = RunDirectory.of(model).read_files()
    net: Any = predictor.model.eval()
    parts = []
    with torch.inference_mode(), captured(net, [] if layer == "pre_logits" else [layer]) as seen:
        for first in range(0, len(items), batch_size):
            chunk = [predictor.read(item.path) for item in items[first : first + batch_size]]
            read = predictor.normalized(torch.from_numpy(np.stack(chunk)))
            if layer == "pre_logits":
                parts.append(
                    net.forward_head(net.forward_features(read), pre_logits=True).float().cpu().numpy()
                )
            else:
                net(read)
                parts.append(seen[layer].float().cpu().numpy())
    found = np.concatenate(parts)
    target = Path(out).expanduser()
    _save(
        target,
        features=found,
        files=np.array([str(item.path) for item in items]),
        labels=np.array([item.label for item in items]),
        splits=np.array([item.split or "" for item in items]),
    )
    return {"out": str(target), "shape": list(found.shape)}


def response_maps(
    run: str | Path, out: str | Path, *, device: str = "auto", batch_size: int = 64
) -> dict[str, Any]:
    """Write where a net sees the class of each of its run's training images, to an ``.npz`` file.

    ``files`` (N,), ``maps`` (N, h, w) float16, >= 0: what the augmentation ``guided_crop`` reads.

    Args:
        run: a run's folder.
        out: the file.
        device: auto, cpu or cuda.
        batch_size: images at a time.

    Raises:
        UserError: if the net has no maps or the targets are no classes, an image isn't there, or the file
            can't be written.
    """
    predictor = load(run).to(pick_device(device))
    if predictor.encoding is not None:
        raise UserError("response maps are of classes; this run's targets are numbers")
    items = [item for item in RunDirectory(run).read_files() if item.split == "train"]
    parts = []
    for first in range(0, len(items), batch_size):
        chunk = items[first : first + batch_size]
        pixels = torch.from_numpy(np.stack([predictor.read(item.path) for item in chunk]))
        target = torch.tensor([predictor.classes.index(item.label) for item in chunk])
        found = class_responses(predictor.model, predictor.normalized(pixels), target.to(predictor.device))
        parts.append(found.half().cpu().numpy())
    maps = np.concatenate(parts)
    _save(Path(out).expanduser(), maps=maps, files=np.array([str(item.path) for item in items]))
    return {"out": str(out), "shape": list(maps.shape)}


def _save(target: Path, **arrays: np.ndarray[Any, Any]) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    save(target, stream.getvalue())
