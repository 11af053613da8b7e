"""A trained net with its classes and its preprocessing: what `convsmith.load` gives."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from convsmith.data.opening import Unread
from convsmith.data.picture import decode, pixels_of, sized, whole
from convsmith.data.signature import Signature
from convsmith.data.targets import Encoding, restore
from convsmith.errors import UserError, shown
from convsmith.inference.answers import answers, refuse_nonfinite
from convsmith.inference.ensemble import Ensemble
from convsmith.inference.pipeline import Pipeline
from convsmith.nn.normalizer import Normalizer

Pixels = npt.NDArray[np.uint8]
# An image file or its bytes, a picture as an array (H, W), (H, W, C) uint8, or one of Pillow's.
Picture = str | Path | bytes | Pixels | Image.Image


class Predictor:
    """A net that answers for image files, arrays and pictures.

    Args:
        net: a :class:`Pipeline` or :class:`Ensemble`.
        signature: what its inputs and outputs mean.
    """

    def __init__(self, net: Pipeline | Ensemble, signature: Signature) -> None:
        self.net = net
        self.signature = signature

    @classmethod
    def of(
        cls,
        module: nn.Module,
        normalizer: Normalizer,
        signature: Signature,
        *,
        channels_last: bool = True,
    ) -> Predictor:
        """A predictor of a plain torch net, from normalized images (N, C, size, size) to outputs (N, K)."""
        return cls(Pipeline(module, normalizer, signature.size, channels_last=channels_last), signature)

    @classmethod
    def together(cls, members: Sequence[Predictor]) -> Predictor:
        """One predictor that averages the answers of several, of any sizes and nets.

        Raises:
            UserError: if there are none, or their classes or channels differ.
        """
        first = members[0].signature if members else None
        for other in members:
            assert first is not None
            own = other.signature
            if (own.fit, own.levels) != (first.fit, first.levels):
                raise UserError(
                    f"an ensemble's members read a picture alike: one makes it square by {first.fit} with "
                    f"the levels {first.levels}, another by {own.fit} with {own.levels}; train them with "
                    f"the same data.fit and data.levels"
                )
            if (own.classes, own.channels, own.encoding) != (first.classes, first.channels, first.encoding):
                raise UserError(
                    f"an ensemble's members answer alike: one is for {', '.join(first.classes[:5])}, another "
                    f"for {', '.join(own.classes[:5])} with {own.channels} channels"
                )
        numeric = bool(members) and members[0].encoding is not None and members[0].encoding.kind == "numbers"
        net = Ensemble([member.net for member in members], numeric=numeric)
        assert first is not None
        size = max(member.size for member in members)
        stored = max(member.stored for member in members)
        return cls(net, replace(first, size=size, stored=stored))

    def __repr__(self) -> str:
        kind = type(self.module).__name__
        known = ", ".join(self.classes[:3]) + (", ..." if len(self.classes) > 3 else "")
        weights = sum(parameter.numel() for parameter in self.module.parameters())
        return (
            f"Predictor: {kind} with {weights:,} parameters, {self.channels} x {self.size} x {self.size} "
            f"pixels to {len(self.classes)} {'classes' if self.encoding is None else 'outputs'} ({known})"
        )

    # ---- what it is

    @property
    def module(self) -> nn.Module:
        """The plain torch net; of an ensemble, the ensemble. Changes to it are changes of the predictor."""
        return self.net.model if isinstance(self.net, Pipeline) else self.net

    @module.setter
    def module(self, module: nn.Module) -> None:
        if not isinstance(self.net, Pipeline):
            raise UserError("an ensemble has no single net that could be replaced; make another ensemble")
        self.net.model = module

    @property
    def is_ensemble(self) -> bool:
        """Whether several nets answer together."""
        return isinstance(self.net, Ensemble)

    @property
    def model(self) -> nn.Module:
        """The same as ``module``."""
        return self.module

    @property
    def normalizer(self) -> Normalizer:
        """Of the pixels.

        Raises:
            UserError: for an ensemble, whose members have their own.
        """
        return self.pipeline.normalizer

    @property
    def pipeline(self) -> Pipeline:
        """Preprocessing and net as one module.

        Raises:
            UserError: for an ensemble, which has several.
        """
        if not isinstance(self.net, Pipeline):
            raise UserError("this looks into one net, and an ensemble has several; name one of its members")
        return self.net

    @property
    def classes(self) -> list[str]:
        """Names of the K outputs."""
        return list(self.signature.classes)

    @property
    def size(self) -> int:
        """Side in pixels of the images that the net reads."""
        return self.signature.size

    @property
    def stored(self) -> int:
        """Side in pixels at which files are decoded, before they are brought to ``size``."""
        return self.signature.stored

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.signature.channels

    @property
    def columns(self) -> list[str]:
        """Names of numeric targets; none for classes."""
        return list(self.signature.columns)

    @cached_property
    def encoding(self) -> Encoding | None:
        """Of numeric targets; None for classes."""
        own = self.signature
        if own.encoding is None:
            return None
        return restore(dict(own.encoding), own.columns, dict(own.state or {}))

    @property
    def costs(self) -> Tensor | None:
        """(K, K) of each decision (column) about each class (row), float64; None where none are known."""
        own = self.signature.costs
        return None if own is None else torch.tensor(own, dtype=torch.double)

    @costs.setter
    def costs(self, costs: Tensor | None) -> None:
        rows = None if costs is None else tuple(map(tuple, costs.double().tolist()))
        self.signature = replace(self.signature, costs=rows)

    @property
    def device(self) -> torch.device:
        """Where the net is."""
        return next((tensor.device for tensor in self.net.buffers()), torch.device("cpu"))

    def to(self, device: torch.device | str) -> Predictor:
        """Move the net and its preprocessing."""
        self.net.to(device)
        return self

    # ---- what it does

    def normalized(self, pixels: Tensor) -> Tensor:
        """What the net reads, (N, C, H, W) on its device, of uint8 images (N, size, size, channels)."""
        return self.pipeline.normalized(pixels.to(self.device))

    def outputs(self, pixels: Tensor) -> Tensor:
        """What the net gives, (N, K) in float64 on the CPU, for uint8 images (N, size, size, channels).

        Raises:
            UserError: if the images are of another shape or type.
        """
        wanted = (self.size, self.size, self.channels)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != wanted or pixels.dtype != torch.uint8:
            raise UserError(
                f"the model reads uint8 images (N, {', '.join(map(str, wanted))}), and these are "
                f"{str(pixels.dtype).removeprefix('torch.')} {tuple(pixels.shape)}; predict takes "
                f"pictures of any size"
            )
        return self.net.outputs(pixels)

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Posteriors (N, K) in float64 on the CPU for uint8 images (N, size, size, channels)."""
        # float64, so that the posteriors of a thousand classes still sum to one
        return self.outputs(pixels).softmax(1)

    def predict(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        top: int = 5,
        batch_size: int = 64,
        leave_out: bool = False,
    ) -> list[dict[str, Any]]:
        """For each picture (or the one) its label with its probability, and the ``top`` classes with theirs.

        A picture is a file's path or its bytes, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
        or one of Pillow's. Where mistakes have costs, the label is the decision of least expected cost. Where
        the targets are numbers, ``values`` by name instead of a label.

        Raises:
            UserError: if a picture can't be read as an image; with ``leave_out`` its answer is an ``error``.
        """
        if top < 1:
            raise UserError(f"`top` is a number of classes, at least 1; it was given {top}")
        single = isinstance(pictures, str | Path | bytes | np.ndarray | Tensor | Image.Image)
        given = [cast(Picture, pictures)] if single else list(cast(Sequence[Picture], pictures))
        chunks = (given[start : start + batch_size] for start in range(0, len(given), batch_size))
        return [answer for chunk in chunks for answer in self._predictions(chunk, top, leave_out)]

    def _predictions(self, pictures: list[Picture], top: int, leave_out: bool) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        read: list[Pixels] = []
        for picture in pictures:
            rows.append({"file": str(picture)} if isinstance(picture, str | Path) else {})
            try:
                read.append(self.read(picture))
            except UserError as error:
                if not leave_out:
                    raise
                rows[-1]["error"] = str(error)
        if not read:
            return rows
        outputs = self.outputs(torch.from_numpy(np.stack(read)))
        refuse_nonfinite(outputs.numpy())
        answers = iter(self.answers(outputs, top))
        return [row if "error" in row else {**row, **next(answers)} for row in rows]

    def answers(self, outputs: Tensor, top: int = 5) -> list[dict[str, Any]]:
        """What :meth:`predict` says of a picture, for each row of outputs (N, K)."""
        if self.encoding is not None and self.encoding.numeric:
            rows = self.encoding.decode(outputs).tolist()
            return [{"values": dict(zip(self.columns, row, strict=True))} for row in rows]
        return answers(outputs.numpy(), self.signature, top)

    def read(self, picture: Picture) -> Pixels:
        """A picture as the net takes it, (size, size, channels) uint8.

        Raises:
            UserError: if it can't be read as an image.
        """
        own = self.signature
        with _readable(picture):
            if isinstance(picture, str | Path | bytes):
                source = picture if isinstance(picture, bytes) else Path(picture)
                pixels = decode(source, self.stored, self.channels, own.fit, own.levels)
            else:
                pixels = pixels_of(picture, self.stored, self.channels, own.fit, own.levels)
            # In two steps where training did so: a file is the same image everywhere.
            return np.asarray(sized(torch.from_numpy(pixels)[None], self.size)[0].numpy())

    def read_whole(self, picture: Picture, shorter: Callable[[int], int]) -> tuple[Pixels, tuple[int, int]]:
        """A picture in the net's channels, uncut, (H, W, channels) uint8, and its own height and width.

        It keeps its shape where the net reads center squares; else it is made square as for the net.

        Args:
            picture: as in :meth:`predict`.
            shorter: gives the side to which the picture's own shorter side is brought.

        Raises:
            UserError: if it can't be read as an image.
        """
        with _readable(picture):
            source = Path(picture) if isinstance(picture, str) else picture
            if isinstance(source, bytes):
                source = Image.open(io.BytesIO(source))
            return whole(source, shorter, self.channels, self.signature.fit, self.signature.levels)

    def save(self, folder: str | Path) -> Path:
        """Write the net with its preprocessing and classes: ``model.safetensors`` and ``model.json``.

        See :func:`convsmith.inference.model_file.write`, which says what can't be written.
        """
        from convsmith.inference import model_file

        return model_file.write(folder, self)


@contextlib.contextmanager
def _readable(picture: Picture) -> Iterator[None]:
    """Turn whatever goes wrong with a picture into a :class:`UserError` that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"there is no image {shown(str(picture))}") from None
    except IsADirectoryError:
        raise UserError(f"{shown(str(picture))} is a folder; name the images in it") from None
    except UserError:
        raise
    except Unread as error:
        name = shown(picture) if isinstance(picture, str | Path) else "the picture"
        raise UserError(f"{name} can't be read: {error}") from None
    except Exception as error:  # Pillow's plugins raise anything on damaged data
        name = shown(picture) if isinstance(picture, str | Path) else "the picture"
        raise UserError(f"{name} can't be read as an image ({type(error).__name__})") from None
