"""A trained net with its classes and its preprocessing: what `convsmith.load` gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from convsmith import catalog
from convsmith.data.batches import Normalizer
from convsmith.data.pixels import decode, sized
from convsmith.data.targets import Encoding, restore
from convsmith.errors import UserError, shown
from convsmith.objectives.costs import decide
from convsmith.run.directory import RunDirectory, write

FORMAT = 1


class Pipeline(nn.Module):
    """From uint8 images (N, size, size, channels) to the net's outputs (N, K): preprocessing and net as one.

    What evaluation, prediction and exported files run, so that none of them can preprocess differently.
    """

    def __init__(self, model: nn.Module, normalizer: Normalizer) -> None:
        super().__init__()
        self.model = model
        self.normalizer = normalizer

    def forward(self, pixels: Tensor) -> Tensor:
        outputs: Tensor = self.model(self.normalized(pixels))
        return outputs

    def normalized(self, pixels: Tensor) -> Tensor:
        """What the net reads, (N, C, H, W)."""
        return self.normalizer(pixels).contiguous(memory_format=torch.channels_last)


class Predictor:
    """Classify image files.

    Args:
        model: from normalized images (N, C, H, W) to logits (N, K).
        spec: the recipe's section that builds the model.
        classes: names of the K classes.
        size: side in pixels that images are brought to.
        channels: 1 or 3.
        normalizer: uint8 to float.
        columns: names of numeric targets.
        encoding: of numeric targets; None for classes.
        costs: (K, K) of each decision (column) about each class (row): the decision of least expected cost
            is the answer. None takes the likeliest class.
        stored: side in pixels that images are decoded at before they are brought to ``size``; None: ``size``.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: catalog.Spec,
        classes: Sequence[str],
        size: int,
        channels: int,
        normalizer: Normalizer,
        columns: Sequence[str] = (),
        encoding: Encoding | None = None,
        costs: Tensor | None = None,
        stored: int | None = None,
    ) -> None:
        self.stored = stored or size
        self.costs = costs
        self.columns = list(columns)
        self.encoding = encoding
        self.model = model
        self.spec = spec
        self.classes = list(classes)
        self.size = size
        self.channels = channels
        self.normalizer = normalizer
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> Predictor:
        self.device = torch.device(device)
        self.model.to(self.device)
        self.normalizer = self.normalizer.to(self.device)
        return self

    @property
    def pipeline(self) -> Pipeline:
        """Preprocessing and net as one module, in evaluation mode."""
        return Pipeline(self.model, self.normalizer).eval()

    def normalized(self, pixels: Tensor) -> Tensor:
        """What the net reads, (N, C, H, W) on its device, of uint8 images (N, size, size, channels)."""
        return self.pipeline.normalized(pixels.to(self.device))

    @torch.inference_mode()
    def outputs(self, pixels: Tensor) -> Tensor:
        """What the net gives, (N, K) in float64 on the CPU, for uint8 images (N, size, size, channels)."""
        outputs: Tensor = self.pipeline(pixels.to(self.device))
        return outputs.double().cpu()

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Posteriors (N, K) in float64 on the CPU for uint8 images (N, size, size, channels)."""
        # float64, so that the posteriors of a thousand classes still sum to one
        return self.outputs(pixels).softmax(1)

    def predict(
        self, paths: str | Path | Sequence[str | Path], *, top: int = 5, batch_size: int = 64
    ) -> list[dict[str, Any]]:
        """For each file (or the one) its label, the label's probability, and the ``top`` classes with theirs.

        Where mistakes have costs, the label is the decision of least expected cost.

        Where the targets are numbers, ``values`` by name instead of a label.

        Raises:
            UserError: if a file can't be read as an image.
        """
        files = [paths] if isinstance(paths, str | Path) else paths
        return list(self._predictions([Path(file) for file in files], top, batch_size))

    def _predictions(self, paths: list[Path], top: int, batch_size: int) -> Iterator[dict[str, Any]]:
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            pixels = np.stack([self.read(path) for path in chunk])
            outputs = self.outputs(torch.from_numpy(pixels))
            if self.encoding is not None and self.encoding.numeric:
                for path, row in zip(chunk, self.encoding.decode(outputs).tolist()):
                    yield {"file": str(path), "values": dict(zip(self.columns, row))}
                continue
            posteriors = outputs.softmax(1)
            found = posteriors.topk(min(top, len(self.classes)))
            decisions = decide(posteriors, self.costs).tolist()
            for path, row, values, places, own in zip(
                chunk, posteriors, found.values.tolist(), found.indices.tolist(), decisions
            ):
                best = [{"label": self.classes[k], "probability": p} for k, p in zip(places, values)]
                answer = {"label": self.classes[own], "probability": float(row[own])}
                yield {"file": str(path), **answer, "top": best}

    def read(self, path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """An image file as the net takes it, (size, size, channels) uint8.

        Raises:
            UserError: if it can't be read as an image.
        """
        try:
            pixels = decode(path, self.stored, self.channels)
            # In two steps where training did so: a file is the same image everywhere.
            return sized(torch.from_numpy(pixels)[None], self.size)[0].numpy()
        except FileNotFoundError:
            raise UserError(f"there is no image {shown(path)}") from None
        except IsADirectoryError:
            raise UserError(f"{shown(path)} is a folder; name the images in it") from None
        except Exception as error:  # Pillow's plugins raise anything on damaged data
            raise UserError(f"{shown(path)} can't be read as an image ({type(error).__name__})") from None

    def save(self, run: RunDirectory) -> None:
        """Write ``model.safetensors`` (weights and preprocessing) and ``model.json`` (how to build it)."""
        tensors = {f"model.{key}": value.contiguous() for key, value in self.model.state_dict().items()}
        tensors["normalizer.mean"] = self.normalizer.mean
        tensors["normalizer.std"] = self.normalizer.std
        tensors = {key: value.detach().cpu().clone() for key, value in tensors.items()}
        description = {
            "format": FORMAT,
            "model": self.spec,
            "classes": self.classes,
            "size": self.size,
            "channels": self.channels,
        }
        if self.stored != self.size:
            description["stored"] = self.stored
        if self.costs is not None:
            description["costs"] = self.costs.tolist()
        if self.encoding is not None:
            description["target"] = {
                "encoding": catalog.describe(self.encoding),
                "columns": self.columns,
                "state": self.encoding.state(),
            }
        write(run.model, json.dumps(description, indent=1) + "\n")
        write(run.weights, save(tensors))


def load(path: str | Path) -> Predictor:
    """Open a run, or a ``model.safetensors`` with its ``model.json`` beside it.

    Raises:
        UserError: if it isn't there, or is damaged.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"there is no run or model file {shown(place)}")
    run = RunDirectory.of(place)
    if not run.model.exists():
        raise UserError(f"{shown(place)} holds no trained model: {run.model.name} is missing")
    description = run.read_json(run.model)
    tensors = tensors_of(run.weights if place.is_dir() else place)
    try:
        model = catalog.build(
            "model",
            description["model"],
            num_classes=len(description["classes"]),
            in_channels=description["channels"],
            size=description["size"],
        )
        inside = {key.removeprefix("model."): v for key, v in tensors.items() if key.startswith("model.")}
        model.load_state_dict(inside)
        normalizer = Normalizer(tensors["normalizer.mean"], tensors["normalizer.std"])
        target = description.get("target")
        columns = target["columns"] if target else []
        encoding = restore(target["encoding"], columns, target["state"]) if target else None
        costs = description.get("costs")
    except (KeyError, TypeError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{shown(place)}: model.json and the weights don't fit together ({first})") from None
    return Predictor(
        model.to(memory_format=torch.channels_last).eval(),
        description["model"],
        description["classes"],
        description["size"],
        description["channels"],
        normalizer,
        columns,
        encoding,
        torch.tensor(costs, dtype=torch.double) if costs is not None else None,
        description.get("stored"),
    )


def tensors_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: if it is missing, damaged, or of another format (a pickle is never opened).
    """
    try:
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    except FileNotFoundError:
        raise UserError(f"there is no weight file {shown(file)}") from None
    except (SafetensorError, OSError) as error:
        first = str(error).splitlines()[0][:100]
        raise UserError(f"{shown(file)} is not a whole safetensors file ({first})") from None
