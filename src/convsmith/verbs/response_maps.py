"""The verb that writes where a net responds to its classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convsmith.errors import UserError
from convsmith.nn.responses import class_responses
from convsmith.run.directory import RunDirectory
from convsmith.run.reopened import reopen
from convsmith.verbs.disk import new_file, save_arrays
from convsmith.verbs.opened import opened_model

if TYPE_CHECKING:
    from convsmith.verbs.disk import Array


def response_maps(
    run: str | Path, out: str | Path, *, device: str = "auto", batch_size: int = 64
) -> dict[str, Any]:
    """Write a map of where the net responds to the class, for each training image of its run.

    The ``.npz`` file has ``files`` (N,) and ``maps`` (N, h, w) float16, >= 0; ``guided_crop`` reads it.

    Args:
        run: a run's folder.
        out: a new file.
        device: auto, cpu or cuda.
        batch_size: images at a time.

    Raises:
        UserError: if the net has no maps or the targets are no classes, an image isn't there, or the file
            can't be written.
    """
    target = new_file(out)
    predictor = opened_model(run, None, device)
    if predictor.encoding is not None:
        raise UserError("response maps are of classes; this run's targets are numbers")
    dataset = reopen(RunDirectory(run), predictor, ["train"])
    train = dataset.train
    rows = torch.split(torch.arange(len(train)), batch_size)

    def maps() -> Iterator[Array]:
        for places, pixels in zip(rows, train.store.stream([train.rows[own] for own in rows])):
            target = train.targets[places].to(predictor.device)
            found = class_responses(predictor.module, predictor.normalized(pixels), target)
            yield found.half().cpu().numpy()

    files = [str(dataset.items[row].path) for row in train.rows.tolist()]
    shape = save_arrays(target, ("maps", len(train), maps()), files=np.array(files))
    return {
        "out": str(out),
        "shape": list(shape),
        "findings": [finding.as_dict() for finding in dataset.findings],
    }
