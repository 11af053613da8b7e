"""Apply a recipe's augmentations to a batch: draw, compose, and resample on the device."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convsmith import catalog
from convsmith.data.color import recolor
from convsmith.data.geometry import compose
from convsmith.data.pixels import cached
from convsmith.data.resample import View


def build(section: Mapping[str, Any], **given: Callable[[], Any]) -> list[Any]:
    """Build the augmentations of the recipe's section, in its order.

    Args:
        section: ``{name: {argument: value}}``.
        given: what follows from the data, each made when the first augmentation asks for it by name.

    >>> [type(own).__name__ for own in build({"translate": {"share": 0.2}}, size=lambda: 32)]
    ['Translate']
    """
    built = []
    for name, arguments in section.items():
        asked = inspect.signature(catalog.load("augmentation", name)).parameters
        supplied = {key: make() for key, make in given.items() if key in asked}
        built.append(catalog.build("augmentation", {name: arguments}, **supplied))
    return built


class Augment:
    """Augmentations by what they do: first those of place, then of the pixels in their order, then mixing.

    Args:
        augmentations: objects with ``matrices`` (place), ``colors`` or ``change`` (pixels), or ``mix``.
        num_classes: K; where targets are classes, mixing makes them distributions (N, K).
        size: side of the pictures made, in pixels; None: as the images.
    """

    def __init__(self, augmentations: Sequence[Any], num_classes: int = 0, size: int | None = None) -> None:
        self.place = [own for own in augmentations if hasattr(own, "matrices")]
        self.looks = [own for own in augmentations if hasattr(own, "colors") or hasattr(own, "change")]
        self.mixings = [own for own in augmentations if hasattr(own, "mix")]
        self.num_classes = num_classes
        self.size = size

    def __call__(
        self,
        pixels: Tensor,
        rows: Tensor,
        own: Tensor,
        generator: torch.Generator,
        finish: Callable[[Tensor, Tensor | None], Tensor],
    ) -> Tensor:
        """New pictures of a batch.

        Args:
            pixels: (n, H, W, C) uint8, the images of this process.
            rows: of the store, of all images of the batch over all processes, (N,).
            own: which of them are this process's, (n,).
            generator: in the same state on every process.
            finish: from pictures (n, H, W, C) in [0, 255], uint8 or float32, to what the net reads; written
                to its second argument (n, H, W, C) if there is one.

        Returns:
            (n, C, H, W) float32.
        """
        # Drawn for the batch of all processes, so that any number of them sees the same pictures.
        view = self._view(pixels, compose(self.place, rows, generator)[own])
        drawn = [look.draw(len(rows), generator)[own].to(pixels.device) for look in self.looks]
        some = len(pixels) if pixels.is_cuda else cached(pixels[:1].numel())
        if some >= len(pixels):
            return finish(self._seen(pixels, view, drawn), None)
        result = torch.empty(len(pixels), *view.out, pixels.shape[3], device=pixels.device)
        for start in range(0, len(pixels), some):
            part = slice(start, start + some)
            finish(self._seen(pixels[part], view[part], [own[part] for own in drawn]), result[part])
        return result.permute(0, 3, 1, 2)

    def _view(self, pixels: Tensor, matrices: Tensor) -> View:
        out = (pixels.shape[1], pixels.shape[2]) if self.size is None else (self.size, self.size)
        return View.of(pixels, matrices, out)

    def _seen(self, pixels: Tensor, view: View, drawn: Sequence[Tensor]) -> Tensor:
        pixels = view(pixels)
        if not self.looks:
            return pixels
        planes = self._changed(pixels.permute(0, 3, 1, 2).float(), drawn)
        return planes.permute(0, 2, 3, 1)

    def _changed(self, planes: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """Multiply consecutive color matrices; apply augmentations without a matrix between them."""
        total: Tensor | None = None
        for place, (look, numbers) in enumerate(zip(self.looks, drawn)):
            if hasattr(look, "colors"):
                if total is None:
                    mean = self._means(planes, place)
                own = look.colors(numbers, mean)
                if self._reads_mean(place + 1):
                    mean = (own[:, :3, :3] @ mean[:, :, None]).squeeze(2) + own[:, :3, 3]
                total = own if total is None else own @ total
                continue
            if total is not None:
                planes, total = recolor(planes, total), None
            planes = look.change(planes, numbers)
        return planes if total is None else recolor(planes, total)

    def _means(self, planes: Tensor, place: int) -> Tensor:
        """Mean colors (n, 3) in [0, 1], where one of the augmentations from ``place`` on reads them."""
        if self._reads_mean(place):
            return (planes.mean((2, 3)) / 255).expand(-1, 3)
        return planes.new_zeros(len(planes), 3)

    def _reads_mean(self, place: int) -> bool:
        return any(getattr(look, "needs_mean", False) for look in self.looks[place:])

    def mixed(
        self, images: Tensor, targets: Tensor, count: int, own: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Images (n, C, H, W) and targets mixed with others of the same process's share.

        Args:
            images: normalized.
            targets: (n,) classes, or (n, T) numbers or shares.
            count: images of the batch over all processes.
            own: which of them are this process's, (n,).
            generator: as before.

        Returns:
            the images, and targets (n, K) or (n, T); without a mixing augmentation both as they came.
        """
        if not self.mixings:
            return images, targets
        soft = targets if targets.is_floating_point() else F.one_hot(targets, self.num_classes).float()
        for mixing in self.mixings:
            drawn = mixing.draw(count, generator)[own].to(images.device)
            partners = torch.randperm(len(images), generator=generator).to(images.device)
            images, share = mixing.mix(images, images[partners], drawn)
            soft = torch.lerp(soft[partners], soft, share[:, None].to(soft))
        return images, soft
