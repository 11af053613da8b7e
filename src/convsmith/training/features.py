"""Features computed once, for fine-tuning the classifier alone; an epoch then takes milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.data.batches import Batch, Batches
from convsmith.data.pixels import free_memory
from convsmith.data.scan import Track
from convsmith.data.shuffle import generator
from convsmith.errors import UserError
from convsmith.nn import manners
from convsmith.nn.stages import stages


class OnFeatures(nn.Module):
    """A net that consists of another net's classifier, from features (N, D) to logits (N, K).

    Args:
        net: the whole net; only its classifier's parameters are parameters of this module.

    Raises:
        AssertionError: if the classifier isn't linear (see :func:`possible`).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        assert possible(net)
        # In a tuple, so that the frozen part is not registered: not trained, averaged or saved.
        self._whole = (net.eval(),)
        self.classifier: nn.Module = manners.classifier(net)

    @property
    def whole(self) -> nn.Module:
        return self._whole[0]

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def forward_features(self, x: Tensor) -> Tensor:
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits:
            return x
        logits: Tensor = self.classifier(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(x)


def possible(net: nn.Module) -> bool:
    """Whether cached features can be used: the logits must be the classifier's output for the features.

    They aren't if the classifier is a convolution, which reads maps, or if the net lacks timm's methods and
    may change the classifier's output.
    """
    return manners.is_linear(net)


def whole(model: nn.Module) -> nn.Module:
    """The net to save: the whole net if only its classifier was trained, else ``model`` itself."""
    return model.whole if isinstance(model, OnFeatures) else model


@torch.inference_mode()
def features(net: Any, images: Tensor) -> Tensor:
    """Features (N, D) float32 of normalized images (N, C, H, W): the input of the net's classifier."""
    return manners.features(net, images).float()


def refuse_nonfinite(vectors: Tensor) -> None:
    """Refuse features (N, D) that no classifier can be solved on.

    Raises:
        UserError: if any is NaN or infinite.
    """
    bad = int((~vectors.isfinite().all(1)).sum())
    if bad:
        raise UserError(
            f"the net to start from gives NaN or infinite features for {bad:,} of {len(vectors):,} images: "
            f"its weights are damaged, or the images aren't what it was trained on; start from another net"
        )


def probes(net: Any, feed: Batches) -> tuple[Tensor, Tensor]:
    """Inputs of the classifier of ``net`` (N, D), and of its last stage, for all images of ``feed``.

    Maps are averaged to 2x2 places, tokens to one. Both results are on the CPU, and equal if the net has one
    stage.
    """
    (first,) = feed.sample(1).epoch(0)
    _, channels, height, width = first.images.shape
    body = stages(net, (channels, height, width))[:-1]
    before: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps = inputs[0].float()
        if maps.ndim == 4:
            maps = F.adaptive_avg_pool2d(maps, 2).flatten(1)
        before.append((maps.mean(1) if maps.ndim == 3 else maps).cpu())

    handle = net.get_submodule(body[-1].modules[0]).register_forward_pre_hook(note) if len(body) > 1 else None
    try:
        last = [features(net, batch.images).cpu() for batch in feed.epoch(0)]
    finally:
        if handle is not None:
            handle.remove()
    refuse_nonfinite(torch.cat(last))
    return torch.cat(last), torch.cat(before or last)


class FeatureBatches:
    """Batches of features like those of :class:`convsmith.data.batches.Batches`; each epoch draws a view.

    Args:
        feed: the images, in whose order, batches and shares the features come.
        views: features (V, N, D).
        targets: of each view, (V, N) or (V, N, K): mixed images have mixed targets.
    """

    def __init__(self, feed: Batches, views: Tensor, targets: Tensor) -> None:
        self.feed = feed
        self.views = views
        self.targets = targets

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        feed = self.feed
        whole = feed.order(epoch).tensor_split(len(feed))[first:]
        count = self.views.shape[0]
        for number, everyone in enumerate(whole, start=first):
            draws = generator(feed.seed, epoch, number)
            view = torch.randint(count, (len(everyone),), generator=draws)[feed.rank :: feed.world]
            place = everyone[feed.rank :: feed.world].to(self.views.device)
            view = view.to(self.views.device)
            yield Batch(
                images=self.views[view, place].to(feed.device, non_blocking=True),
                targets=self.targets[view, place].to(feed.device, non_blocking=True),
                share=len(place) * feed.world / len(everyone),
                count=len(place),
                costs=feed.costs_of(place.to(feed.device)),
            )

    def sample(self, count: int) -> FeatureBatches:
        """Take about ``count`` images, evenly spread, in their original order."""
        rows = torch.linspace(0, self.views.shape[1] - 1, min(count, self.views.shape[1])).long()
        rows = rows.to(self.views.device)
        return FeatureBatches(self.feed.sample(count), self.views[:1, rows], self.targets[:1, rows])


def computed(
    net: nn.Module, feed: Batches, views: int, fabric: Any, track: Track[Batch]
) -> FeatureBatches | None:
    """Compute the features of all images of ``feed``: one plain view, then augmented ones if there are any.

    Each process computes its share of every batch, and all get all features, since any may get any image
    later. They are written into one tensor, which lies with the net, or in main memory if there is no room.

    Returns:
        None if not even one view fits into half of the free memory.
    """
    views = views if feed.augment is not None else 1
    classes = _mixed_classes(feed) if views > 1 else 0
    device, views = _place(
        net, len(feed.split) * (4 * manners.num_features(net) + max(8, 4 * classes)), views
    )
    if views < 1:
        return None
    net.eval()
    # Made here, not in inference mode: autograd can't save tensors that were made there.
    vectors = torch.zeros(views, len(feed.split), manners.num_features(net), device=device)
    targets: Tensor | None = None
    for view in range(views):
        # The first view is plain, as images are at prediction time. In the
        # others images are mixed with their neighbors, which must not all be of their class.
        draws = generator(feed.seed, view)
        places = torch.randperm(len(feed.split), generator=draws) if view else torch.arange(len(feed.split))
        pictures = feed.in_order(plain=view == 0, places=places)
        if _processes() > 1:
            pictures.rank, pictures.world = feed.rank, feed.world
        parts = places.tensor_split(len(pictures))
        for part, batch in zip(
            parts, track(pictures.epoch(view), len(pictures), f"Features {view + 1}/{views}")
        ):
            wanted = batch.targets
            if classes and wanted.ndim == 1:
                # Mixed images have distributions as targets, so the plain ones beside them need them too.
                wanted = F.one_hot(wanted, classes).float()
            if targets is None:
                targets = torch.zeros(
                    views, len(places), *wanted.shape[1:], dtype=wanted.dtype, device=device
                )
            if not len(wanted):  # a batch of fewer images than processes
                continue
            own = (part[feed.rank :: feed.world] if _processes() > 1 else part).to(device)
            with fabric.autocast():
                found = features(net, fabric.strategy.precision.convert_input(batch.images))
            vectors[view, own] = found.to(device)
            targets[view, own] = wanted.to(device)
    assert targets is not None
    if _processes() > 1:
        for tensor in (*vectors, *targets):  # a view at a time: what isn't one's own is zero
            torch.distributed.all_reduce(tensor)
    return FeatureBatches(feed, vectors, targets)


def _mixed_classes(feed: Batches) -> int:
    """Number of classes, where augmentation mixes images of them; else 0."""
    return feed.augment.num_classes if getattr(feed.augment, "mixings", None) else 0  # type: ignore[union-attr]


def _processes() -> int:
    return int(torch.distributed.get_world_size()) if torch.distributed.is_initialized() else 1


def free(device: torch.device) -> int:
    """Bytes free where a device's tensors lie, for this process."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # Processes of one machine take from the same memory.
    return free_memory() // _processes()


def _place(net: nn.Module, size: int, views: int) -> tuple[torch.device, int]:
    """Where features go, and how many views of ``size`` bytes: what fits into half of the free memory."""
    home = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    for device in dict.fromkeys((home, torch.device("cpu"))):
        fit = torch.tensor(min(views, free(device) // 2 // size), device=home)
        if _processes() > 1:
            torch.distributed.all_reduce(fit, torch.distributed.ReduceOp.MIN)
        if fit >= 1:
            break
    return device, int(fit)
