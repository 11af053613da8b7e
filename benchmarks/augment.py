"""Images a second of one full list of augmentations, against torchvision, kornia and timm, all in one run.

python benchmarks/augment.py

The list: pad-crop, flip, rotate up to 15 degrees, scale 0.8 to 1.25, brightness, contrast and saturation by
up to 0.4, hue by up to 0.05, Fancy PCA; then normalization to float32. The images are uint8 and lie in
memory. What works on single images runs in a DataLoader with 2 workers, PIL or tensors as the library
prefers. Nobody but convsmith has Fancy PCA, so all others get the same function. "batched" of torchvision
draws once for the whole batch.

Needs: pip install 'convsmith[benchmarks]'.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2

from convsmith import catalog
from convsmith.data.augment import Augment, build
from convsmith.data.batches import Batches, Split
from convsmith.data.pixels import Decoded
from convsmith.data.shuffle import Shuffle
from convsmith.nn.normalizer import Normalizer
from record import keep

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
COVARIANCE = torch.tensor([[0.061, 0.057, 0.051], [0.057, 0.059, 0.056], [0.051, 0.056, 0.068]])
VALUES, VECTORS = torch.linalg.eigh(COVARIANCE)
# side, batch, pad, images of an epoch
SIZES = ((32, 128, 4, 6400), (224, 32, 28, 640))


def pixels(count: int, side: int) -> Tensor:
    """Smooth random pictures, (N, side, side, 3) uint8."""
    draws = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=draws) * 255
    smooth = F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255).byte()
    return smooth.permute(0, 2, 3, 1).contiguous()


def lighting(images: Tensor) -> Tensor:
    """Fancy PCA for those who lack it: (..., 3, H, W) in [0, 1], one draw for each image."""
    alphas = torch.randn(*images.shape[:-3], 3) * 0.1
    return (images + ((alphas * VALUES) @ VECTORS.T)[..., None, None]).clamp(0, 1)


class Singles(Dataset[Tensor]):
    """One image at a time through a transform; PIL where it wants that."""

    def __init__(self, images: Tensor, transform: Callable[[Any], Tensor], pil: bool) -> None:
        self.images = images if not pil else None
        self.arrays = [image.numpy() for image in images] if pil else []
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays) if self.images is None else len(self.images)

    def __getitem__(self, place: int) -> Tensor:
        if self.images is None:
            return self.transform(Image.fromarray(self.arrays[place]))
        return self.transform(self.images[place].permute(2, 0, 1))


def loader(images: Tensor, transform: Callable[[Any], Tensor], batch: int, pil: bool) -> Iterator[Tensor]:
    made = DataLoader(
        Singles(images, transform, pil), batch, shuffle=True, num_workers=2, persistent_workers=True
    )
    while True:
        yield from made


def jitter(module: Any) -> Any:
    return module.ColorJitter(0.4, 0.4, 0.4, 0.05)


def torchvision_list(module: Any, side: int, pad: int) -> list[Any]:
    bilinear = v2.InterpolationMode.BILINEAR
    return [
        module.RandomCrop(side, padding=pad),
        module.RandomHorizontalFlip(),
        module.RandomAffine(15, scale=(0.8, 1.25), interpolation=bilinear),
        jitter(module),
    ]


def torchvision_singles(images: Tensor, side: int, batch: int, pad: int) -> Iterator[Tensor]:
    transform = v2.Compose(
        [
            *torchvision_list(v2, side, pad),
            v2.ToDtype(torch.float32, scale=True),
            v2.Lambda(lighting),
            v2.Normalize(MEAN, STD),
        ]
    )
    return loader(images, transform, batch, pil=False)


def torchvision_batched(images: Tensor, side: int, batch: int, pad: int) -> Iterator[Tensor]:
    transform = v2.Compose([*torchvision_list(v2, side, pad), v2.ToDtype(torch.float32, scale=True)])
    normalize = v2.Normalize(MEAN, STD)
    planes = images.permute(0, 3, 1, 2).contiguous()
    while True:
        for rows in torch.randperm(len(images)).split(batch):
            yield normalize(lighting(transform(planes[rows])))


def kornia_batched(images: Tensor, side: int, batch: int, pad: int) -> Iterator[Tensor]:
    import kornia.augmentation as K

    transform = K.AugmentationSequential(
        K.RandomCrop((side, side), padding=pad),
        K.RandomHorizontalFlip(),
        K.RandomAffine(15.0, scale=(0.8, 1.25), p=1.0),
        K.ColorJitter(0.4, 0.4, 0.4, 0.05, p=1.0),
        data_keys=["input"],
    )
    normalize = K.Normalize(torch.tensor(MEAN), torch.tensor(STD))
    planes = images.permute(0, 3, 1, 2).contiguous()
    while True:
        for rows in torch.randperm(len(images)).split(batch):
            yield normalize(lighting(transform(planes[rows].float() / 255)))


def timm_singles(images: Tensor, side: int, batch: int, pad: int) -> Iterator[Tensor]:
    from timm.data.transforms_factory import transforms_imagenet_train

    first, second, last = transforms_imagenet_train(
        side,
        train_crop_mode="rkrc",
        hflip=0.5,
        color_jitter=(0.4, 0.4, 0.4, 0.05),
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        use_prefetcher=False,
        normalize=True,
        separate=True,
    )
    to_tensor, *normalize = last.transforms
    transform = v1.Compose(
        [
            v1.Pad(pad),
            first,
            v1.RandomAffine(15, scale=(0.8, 1.25), interpolation=v1.InterpolationMode.BILINEAR),
            second,
            to_tensor,
            v1.Lambda(lighting),
            *normalize,
        ]
    )
    return loader(images, transform, batch, pil=True)


def convsmith(images: Tensor, side: int, batch: int, pad: int) -> Iterator[Tensor]:
    section = {
        "crop": {"pad": pad},
        "flip": {},
        "rotate": {"degrees": 15},
        "scale": {"low": 0.8, "high": 1.25},
        "brightness": {"amount": 0.4},
        "contrast": {"amount": 0.4},
        "saturation": {"amount": 0.4},
        "hue": {"amount": 0.05},
        "fancy_pca": {},
    }
    targets = torch.zeros(len(images), dtype=torch.long)
    batches = Batches(
        Split(Decoded(images, "memory"), torch.arange(len(images)), targets),
        Normalizer(torch.tensor(MEAN) * 255, torch.tensor(STD) * 255),
        batch_size=batch,
        device=torch.device("cpu"),
        sampler=Shuffle(targets, seed=0),
        augment=Augment(build(section, size=lambda: side, covariance=lambda: COVARIANCE)),
    )
    epoch = 0
    while True:
        for made in batches.epoch(epoch):
            yield made.images
        epoch += 1


CONTENDERS: dict[str, Callable[[Tensor, int, int, int], Iterator[Tensor]]] = {
    "convsmith": convsmith,
    "torchvision v2, per image, 2 workers": torchvision_singles,
    "torchvision v2, batched": torchvision_batched,
    "kornia, batched": kornia_batched,
    "timm, per image, 2 workers": timm_singles,
}


def rate(made: Iterator[Tensor], seconds: float) -> float:
    """Images a second, after the first ones; whole batches that come while the clock runs."""
    for _ in range(8):
        next(made)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        count += len(next(made))
    return count / (time.perf_counter() - started)


def step(seconds: float, batch: int) -> float:
    """Images a second of a bare ResNet-20 step at 32 pixels."""
    torch.manual_seed(0)
    model = catalog.build("model", "resnet20").to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 10, (batch,))
    started, count = 0.0, -2
    while count < 2 or time.perf_counter() - started < seconds:
        if count == 0:
            started = time.perf_counter()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        count += 1
    return count * batch / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 timm draws from it
    report: dict[str, Any] = {"rounds": options.rounds, "seconds": options.seconds, "cores": os.cpu_count()}
    for side, batch, pad, count in SIZES:
        images = pixels(count, side)
        rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        steps = []
        for number in range(options.rounds):
            for name in list(CONTENDERS)[:: 1 if number % 2 == 0 else -1]:
                made = CONTENDERS[name](images, side, batch, pad)
                rates[name].append(rate(made, options.seconds))
                del made
                gc.collect()
                print(f"{side} px, {name}: {rates[name][-1]:,.0f} images/s", flush=True)
            if side == 32:
                steps.append(step(options.seconds, batch))
        median = {name: statistics.median(own) for name, own in rates.items()}
        best = max((name for name in median if name != "convsmith"), key=lambda name: median[name])
        report[str(side)] = {
            "batch": batch,
            "images_per_second": rates,
            "best_peer": best,
            "ratio_to_best_peer": median["convsmith"] / median[best],
        }
        if steps:
            report["32"]["resnet20_step_images_per_second"] = steps
            report["32"]["share_of_a_step"] = statistics.median(steps) / median["convsmith"]
    keep("augment", report)


if __name__ == "__main__":
    main()
