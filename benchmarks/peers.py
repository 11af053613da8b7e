"""What peers do with a folder of photographs: fastai, timm's parts, and Ultralytics' defaults by description.

    python benchmarks/peers.py NAME DATA [--epochs N] [--rate R] [--device cpu|cuda]

Each is a program of its own, so that its imports are on the clock; the last line is JSON with the accuracies
on val and test. All start from the same weights, which timm finds in the hub's cache.

- ``fastai``: ``vision_learner`` and ``fine_tune(N)``, images resized to 224, ``aug_transforms``, all else at
  its defaults (one frozen epoch, then N of the whole net, discriminative rates, one cycle).
- ``fastai_all``: the same learner, all layers from the first epoch on, batches of 32, best epoch by val.
- ``timm``: the whole net by timm's own parts: its training transforms (area crops, flips, color jitter),
  AdamW with weight decay 0.05, cosine after one epoch of warm-up, N epochs, best epoch by val.
- ``described``: the documented defaults of `yolo classify train` (docs.ultralytics.com, train settings),
  written anew, since that code is AGPL: 100 epochs at 224 pixels, batch 16, AdamW of rate
  0.002 * 5 / (4 + classes), 3 epochs of warm-up, linear decay to a hundredth, flips, RandAugment, erasing
  0.4, crops of half of the area or more, an average of the weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
from pathlib import Path
from typing import Any

NET, SIDE = "tf_efficientnet_lite0", 224
MEAN = STD = (0.5, 0.5, 0.5)


def fastai(data: Path, epochs: int, rate: float | None, device: str) -> dict[str, float]:
    import fastai.vision.all as fast

    fast.set_seed(0)
    blocks = fast.ImageDataLoaders.from_folder(
        data,
        train="train",
        valid="val",
        item_tfms=fast.Resize(SIDE),
        batch_tfms=fast.aug_transforms(),
        device=device,
    )
    learner = fast.vision_learner(blocks, NET, metrics=fast.accuracy)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    found = {}
    for split in ("val", "test"):
        files = fast.get_image_files(data / split)
        answers, _ = learner.get_preds(dl=blocks.test_dl(files))
        truth = [blocks.vocab.o2i[file.parent.name] for file in files]
        found[split] = float((answers.argmax(1) == fast.tensor(truth)).float().mean())
    return found


def fastai_all(data: Path, epochs: int, rate: float | None, device: str) -> dict[str, float]:
    import fastai.vision.all as fast
    from fastai.callback.tracker import SaveModelCallback

    fast.set_seed(0)
    blocks = fast.ImageDataLoaders.from_folder(
        data,
        train="train",
        valid="val",
        bs=32,
        item_tfms=fast.Resize(SIDE),
        batch_tfms=fast.aug_transforms(),
        device=device,
    )
    learner = fast.vision_learner(blocks, NET, metrics=fast.accuracy)
    learner.unfreeze()
    with learner.no_bar(), learner.no_logging(), tempfile.TemporaryDirectory() as folder:
        learner.path = Path(folder)
        learner.fit_one_cycle(epochs, cbs=SaveModelCallback(monitor="accuracy"))
    files = fast.get_image_files(data / "test")
    answers, _ = learner.get_preds(dl=blocks.test_dl(files))
    truth = [blocks.vocab.o2i[file.parent.name] for file in files]
    return {"test": float((answers.argmax(1) == fast.tensor(truth)).float().mean())}


def timm(data: Path, epochs: int, rate: float | None, device: str) -> dict[str, float]:
    from timm.data import create_transform

    common = {"input_size": SIDE, "mean": MEAN, "std": STD}
    train = create_transform(**common, is_training=True, color_jitter=0.4)
    return _trained(data, train, epochs, rate or 3e-4, device, batch=32, warmup=1, last=0.0, average=False)


def described(data: Path, epochs: int, rate: float | None, device: str) -> dict[str, float]:
    from torchvision.transforms import v2

    train = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, scale=(0.5, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(),
            v2.PILToTensor(),
            v2.ToDtype(_float(), scale=True),
            v2.Normalize(MEAN, STD),
            v2.RandomErasing(0.4),
        ]
    )
    classes = len(list((data / "train").iterdir()))
    rate = round(0.002 * 5 / (4 + classes), 6)
    return _trained(data, train, epochs, rate, device, batch=16, warmup=3, last=0.01, average=True)


def _float() -> Any:
    import torch

    return torch.float32


def _trained(
    data: Path,
    transform: Any,
    epochs: int,
    rate: float,
    device: str,
    *,
    batch: int,
    warmup: int,
    last: float,
    average: bool,
) -> dict[str, float]:
    """A plain loop over torch's loader: AdamW, warm-up, decay to ``last`` of the rate, best epoch by val."""
    import timm
    import torch
    from timm.data import create_transform
    from timm.utils import ModelEmaV3
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    torch.manual_seed(0)
    plain = create_transform(input_size=SIDE, mean=MEAN, std=STD, crop_pct=1.0)
    workers = 2 if device == "cpu" else 8
    feeds = {
        split: DataLoader(
            ImageFolder(str(data / split), transform if split == "train" else plain),
            batch_size=batch if split == "train" else 64,
            shuffle=split == "train",
            num_workers=workers,
            persistent_workers=split != "test",
        )
        for split in ("train", "val", "test")
    }
    classes = len(list((data / "train").iterdir()))
    net = timm.create_model(NET, pretrained=True, num_classes=classes).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.05)
    mixed = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    kept = ModelEmaV3(net, decay=0.999, use_warmup=True) if average else None

    @torch.inference_mode()
    def accuracy(model: Any, split: str) -> float:
        model.eval()
        with mixed:
            right = [
                (model(images.to(device)).argmax(1).cpu() == targets) for images, targets in feeds[split]
            ]
        return float(torch.cat(right).float().mean())

    steps, best, state = len(feeds["train"]), -1.0, {}
    for epoch in range(epochs):
        net.train()
        for number, (images, targets) in enumerate(feeds["train"]):
            passed = epoch + number / steps
            shape = 1 + math.cos(math.pi * passed / epochs) if last == 0 else 2 * (1 - passed / epochs)
            factor = min(1.0, passed / warmup if warmup < epochs else 1.0) * (last + (1 - last) * shape / 2)
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            with mixed:
                loss = torch.nn.functional.cross_entropy(net(images.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if kept is not None:
                kept.update(net)
        model = net if kept is None else kept.module
        found = accuracy(model, "val")
        if found > best:
            best, state = found, copy.deepcopy(model.state_dict())
    net.load_state_dict(state)
    return {"val": best, "test": accuracy(net, "test")}


PEERS = {"fastai": fastai, "fastai_all": fastai_all, "timm": timm, "described": described}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    print(json.dumps(PEERS[given.name](given.data, given.epochs, given.rate, given.device)))
