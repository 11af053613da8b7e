"""Shapes, receptive fields, parameters and multiply-accumulates of a net, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from convsmith.nn.computed import LAYERS, named_layers, own_parameters, plain_type
from convsmith.nn.probe import After, blank, probe
from convsmith.nn.receptive_field import Field, Follow


@dataclass(frozen=True)
class Row:
    """One leaf layer: its output's shape without the batch, what it sees, and its cost for one image.

    ``parameters`` counts what is stored: of a parametrized layer, the parameters that its weight is computed
    from. ``receptive_field`` (height, width) and ``stride`` (between neighbors, in pixels) are None where
    all of the image counts.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None

    @property
    def cells(self) -> list[str]:
        """The row as people read it."""
        return [
            f"{self.name} ({self.kind})",
            "x".join(map(str, self.shape)),
            "all" if self.receptive_field is None else "x".join(map(str, self.receptive_field)),
            "" if self.stride is None else "x".join(map(str, self.stride)),
            f"{self.parameters:,}",
            f"{self.macs:,}",
        ]


@dataclass(frozen=True, repr=False)
class Summary:
    """All layers of a net, its parameters, and its multiply-accumulates for one image; prints as a table."""

    rows: list[Row]
    parameters: int
    macs: int

    def __repr__(self) -> str:
        head = ["layer", "output", "sees", "stride", "parameters", "MACs"]
        lines = [head, *(row.cells for row in self.rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
        text = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
            for line in lines
        ]
        return "\n".join(
            [*text, f"{self.parameters:,} parameters, {self.macs:,} multiply-accumulates an image"]
        )


def summarize(model: nn.Module, shape: tuple[int, int, int]) -> Summary:
    """Run one image of ``shape`` (C, H, W) through ``model`` and note what each layer gives.

    Multiply-accumulates count convolutions and fully connected layers, as the field does, and not how a
    parametrized weight is computed. A shared layer counts its parameters once and its work at each call.

    >>> summarize(nn.Conv2d(3, 8, 3, padding=1), (3, 4, 4)).macs
    3456
    """
    rows: list[Row] = []
    counted: set[int] = set()
    image = blank(model, shape)
    follow = Follow(image)
    notes = {
        name: _noting(name, rows, counted, follow)
        for name, layer in named_layers(model)
        # A parametrized layer is no leaf, nor a normalization that carries its activation inside.
        if isinstance(layer, LAYERS) or own_parameters(layer) or not any(True for _ in layer.children())
    }
    probe(model, image, after=notes, within=follow)
    total = sum(parameter.numel() for parameter in model.parameters())
    return Summary(rows, total, sum(row.macs for row in rows))


def _noting(name: str, rows: list[Row], counted: set[int], follow: Follow) -> After:
    def note(layer: nn.Module, inputs: Any, outputs: Any) -> None:
        output = _first(outputs)
        if output is None:
            return
        new = [p for p in own_parameters(layer) if id(p) not in counted]
        counted.update(id(p) for p in new)
        kind = plain_type(layer).__name__
        parameters = sum(p.numel() for p in new)
        field = follow.of(output)
        rows.append(
            Row(
                name or kind,
                kind,
                tuple(output.shape[1:]),
                parameters,
                _macs(layer, inputs, output),
                _whole_numbers(field, "size"),
                _whole_numbers(field, "stride"),
            )
        )

    return note


def _first(outputs: Any) -> Tensor | None:
    """A layer's output; of several, as attention and an LSTM give, the first."""
    if isinstance(outputs, dict):
        outputs = tuple(outputs.values())
    if isinstance(outputs, tuple | list):
        return next((found for found in map(_first, outputs) if found is not None), None)
    return outputs if isinstance(outputs, Tensor) else None


def _whole_numbers(field: Field | None, what: str) -> tuple[int, int] | None:
    values = [getattr(span, what) for span in field.spans] if field is not None else [math.inf]
    return (int(values[0]), int(values[1])) if all(map(math.isfinite, values)) else None


def _macs(layer: nn.Module, inputs: Any, output: Tensor) -> int:
    if isinstance(layer, _ConvTransposeNd):
        given: Tensor = inputs[0]
        return given[0].numel() * math.prod(layer.kernel_size) * layer.out_channels // layer.groups
    if isinstance(layer, _ConvNd):
        return output[0].numel() * math.prod(layer.kernel_size) * layer.in_channels // layer.groups
    if isinstance(layer, nn.Linear):
        return output[0].numel() * layer.in_features
    return 0
