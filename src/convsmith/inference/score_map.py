"""Where in a picture a net sees which class: its classifier slides over the whole picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convsmith.errors import UserError
from convsmith.inference.answers import decisions
from convsmith.inference.predictor import Picture, Predictor
from convsmith.nn.extent import fields
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.receptive_field import Span
from convsmith.nn.sliding import sliding

# How many of the net's own images the picture's shorter side holds at most, where nobody says.
ACROSS = 2


@dataclass(frozen=True)
class ScoreMap:
    """Probabilities of the classes at each place of a picture.

    Args:
        scores: (K, h, w), at each place the probabilities of the classes.
        pixels: the picture as the net saw it, (H, W, C) uint8.
        stride: pixels of ``pixels`` from one place to the next, (y, x).
        offset: center of the first place, (y, x); a pixel's center is at a half.
        window: pixels that the net was trained on, around each center.
        full: height and width of the file's picture, upright.
        decided: class of least expected cost over the mean of all places, else the likeliest.
        padded: whether it lies in the middle of a square, with bands beside it.
    """

    scores: npt.NDArray[np.float32]
    pixels: npt.NDArray[np.uint8]
    stride: tuple[float, float]
    offset: tuple[float, float]
    window: int
    full: tuple[int, int]
    decided: int = -1
    padded: bool = False

    @property
    def best(self) -> tuple[int, int, int]:
        """The class that is decided for over the whole picture, and its likeliest place: (k, i, j)."""
        own = self.decided if self.decided >= 0 else int(self.scores.mean((1, 2)).argmax())
        row, column = np.unravel_index(self.scores[own].argmax(), self.scores.shape[1:])
        return own, int(row), int(column)

    @property
    def scale(self) -> float:
        """Pixels of the file's picture in one of ``pixels``; downward, where it was squeezed."""
        own = max(self.full) if self.padded else self.full[0]
        return own / int(self.pixels.shape[0])

    def center(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a place in pixels of the file's picture, (y, x)."""
        places = [first + step * n for first, step, n in zip(self.offset, self.stride, (row, column))]
        if self.padded:
            side = max(self.full)
            y, x = (
                min(max(place * side / shown - (side - own) / 2, 0), own)
                for place, own, shown in zip(places, self.full, self.pixels.shape)
            )
            return y, x
        y, x = (place * own / shown for place, own, shown in zip(places, self.full, self.pixels.shape))
        return y, x


class Slider:
    """A predictor's net, slid over whole pictures (Sermanet et al. 2014; Long et al. 2015, section 3.1).

    A picture of the size that the net was trained on gives a map of 1 x 1 places with the predictor's own
    probabilities; a larger one gives a place for each window of that size that the net's subsampling allows.
    At a window's edge a net with padding sees the pixels beside it, where it saw zeros in training.

    Args:
        predictor: of classes, with one net.

    Raises:
        UserError: if its targets are numbers, it is an ensemble, or its net can't slide.
    """

    def __init__(self, predictor: Predictor) -> None:
        if predictor.encoding is not None:
            raise UserError("score maps are of classes; this model's targets are numbers")
        self.predictor = predictor
        size = predictor.size
        self.net = sliding(predictor.pipeline.model, (predictor.channels, size, size)).eval()
        own = predictor.normalizer
        # A mean image is of the size that the net was trained on.
        mean = own.mean.mean((0, 1)) if own.mean.ndim == 3 else own.mean
        self.normalizer = Normalizer(mean, own.std).to(own.mean.device)

    @torch.inference_mode()
    def over(self, picture: Picture, side: int | None = None) -> ScoreMap:
        """The map of a picture.

        Args:
            picture: as :meth:`Predictor.predict` takes it.
            side: to which its shorter side is brought, in pixels; None leaves it, but for at least the net's
                own and at most twice that.

        Raises:
            UserError: if it can't be read, ``side`` is below the net's own, or the net can't take so large a
                picture.
        """
        size = self.predictor.size
        if side is not None and side < size:
            raise UserError(
                f"the net is for {size} pixels, and can't slide over {side}; give at least {size}"
            )
        pixels, full = self.predictor.read_whole(
            picture, lambda own: side or min(max(own, size), ACROSS * size)
        )
        images = self.normalizer(torch.from_numpy(pixels)[None].to(self.normalizer.mean.device))
        weight = next(self.net.parameters(), images)
        images = images.to(weight.dtype)
        try:
            found: Tensor = self.net(images)
        except RuntimeError as error:
            raise UserError(
                f"this net can't slide: for images of {pixels.shape[0]}x{pixels.shape[1]} it ends in "
                f"{str(error).splitlines()[0]}"
            ) from None
        scores = found[0].double().softmax(0).float().cpu().numpy()
        spans = self._spans(images[0])
        axes = [
            _axis(span, places, long, size)
            for span, places, long in zip(spans, scores.shape[1:], pixels.shape)
        ]
        (y, x), (top, left) = ((axes[0][n], axes[1][n]) for n in (0, 1))
        over_all = scores.astype(np.float64).mean((1, 2))[None]
        decided = int(decisions(over_all, self.predictor.signature)[0])
        padded = self.predictor.signature.fit == "pad"
        return ScoreMap(scores, pixels, (y, x), (top, left), size, full, decided, padded)

    def _spans(self, image: Tensor) -> tuple[Span | None, Span | None]:
        field = fields(self.net, [""], image).get("")
        return (None, None) if field is None else field.spans


def _axis(span: Span | None, places: int, long: int, size: int) -> tuple[float, float]:
    """Step from place to place along an axis, and the first place's center.

    Where all of the picture counts for each place, places are spread evenly.
    """
    if places == 1:
        return float(size), long / 2
    if span is None or not all(map(math.isfinite, (span.stride, span.low, span.high))):
        return (long - size) / (places - 1), size / 2
    return float(span.stride), (span.low + span.high + 1) / 2
