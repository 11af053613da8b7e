"""The verb that writes a layer's outputs to a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from convsmith.data.item import Item
from convsmith.findings import Finding
from convsmith.inference.predictor import Predictor
from convsmith.nn import manners
from convsmith.nn.probe import evaluating
from convsmith.nn.responses import captured
from convsmith.run.reopened import reopen
from convsmith.verbs.disk import new_file, save_arrays
from convsmith.verbs.opened import Model, opened_model, run_of

if TYPE_CHECKING:
    from convsmith.verbs.disk import Array


def features(
    model: Model,
    layer: str,
    out: str | Path,
    images: Sequence[str | Path] = (),
    *,
    device: str = "auto",
    batch_size: int = 64,
) -> dict[str, Any]:
    """Write a layer's outputs for images to an ``.npz`` file: ``features`` (N, ...), ``files``, ``labels``.

    Args:
        model: run or model file.
        layer: its name as in ``convsmith summary``, or ``pre_logits``: what the classifier reads.
        out: a new file.
        images: by default all of the run's own, with their labels and splits.
        device: auto, cpu or cuda.
        batch_size: images at a time.

    Raises:
        UserError: if the layer or an image isn't there, or the file can't be written.
    """
    target = new_file(out)
    predictor = opened_model(model, None, device)
    items, batches, findings = _pictures(predictor, model, images, batch_size)
    net = predictor.module
    named = [] if layer == "pre_logits" else [layer]

    def outputs() -> Iterator[Array]:
        for pixels in batches:
            with torch.inference_mode():
                read = predictor.normalized(pixels)
                if layer == "pre_logits":
                    found = manners.features(net, read)
                else:
                    net(read)
                    found = seen[layer]
            yield found.float().cpu().numpy()

    with evaluating(net), captured(net, named) as seen:
        shape = save_arrays(
            target,
            ("features", len(items), outputs()),
            files=np.array([str(item.path) for item in items]),
            labels=np.array([item.label for item in items]),
            splits=np.array([item.split or "" for item in items]),
        )
    return {
        "out": str(target),
        "shape": list(shape),
        "findings": [finding.as_dict() for finding in findings],
    }


def _pictures(
    predictor: Predictor, model: Model, images: Sequence[str | Path], batch_size: int
) -> tuple[list[Item], Iterator[Tensor], list[Finding]]:
    """Read the given images, else all of the run's own, in batches of pixels."""
    if images:
        items = [Item(Path(image), "") for image in images]
        chunks = (items[first : first + batch_size] for first in range(0, len(items), batch_size))
        return (
            items,
            (torch.from_numpy(np.stack([predictor.read(item.path) for item in chunk])) for chunk in chunks),
            [],
        )
    dataset = reopen(run_of(model), predictor)
    rows = [row for row, item in enumerate(dataset.items) if item.split]
    store = dataset.at_size
    return (
        [dataset.items[row] for row in rows],
        store.stream(list(torch.split(torch.tensor(rows), batch_size))),
        dataset.findings,
    )
