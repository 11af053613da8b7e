"""Every net of the catalogue begins to learn at its defaults: none diverges.

    python benchmarks/start.py SOURCES --work WORK [--device cuda] [--side 64] [--epochs 4] [--jobs 2]

SOURCES as for defaults.py. Each net trains from scratch on three sets of 1,000 images (digits, MNIST,
CIFAR-10), with nothing set but net, side and epochs. A training that ends in NaN is counted,
and so is one that is no better than guessing by two standard errors: at so few updates the deepest nets
without normalization have just begun. AlexNet's layers want 64 pixels, whatever SIDE is. What is done is kept
in WORK, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.training.assemble import assemble
from convsmith.training.loop import Diverged, fit
from convsmith.training.planning import planned
from photographs import SETS, Set, made
from record import keep

NETS = [name for name in catalog.names("model") if name not in ("timm", "source", "fully_convolutional")]
SIDE = 64
WANTS = {"alexnet": 64}
DATA = {
    "digits": Set("digits", 100, 30, side=SIDE, grey=True),
    "mnist": Set("mnist", 100, 30, side=SIDE, grey=True),
    "cifar10": Set("cifar10", 100, 30, side=SIDE),
}


def trained(name: str, data: Path, device: str, epochs: int, side: int, kept: Path) -> dict[str, Any]:
    """One training, and how it begins and ends."""
    if kept.exists():
        done: dict[str, Any] = json.loads(kept.read_text())
        return done
    found = _trained(name, data, device, epochs, side)
    kept.write_text(json.dumps(found))
    return found


def _trained(name: str, data: Path, device: str, epochs: int, side: int) -> dict[str, Any]:
    side = max(side, WANTS.get(name, 0))
    words = [f"model={name}", f"data.size={side}", f"train.epochs={epochs}", f"train.device={device}"]
    recipe = recipes.load(None, [*words, "train.start_from=none"]).changed({"data.path": str(data)})
    ready = planned(recipe)
    state = assemble(ready.plan, ready.dataset, ready.fabric)
    losses: list[float] = []

    class First:
        def on_batch_end(self, state: Any) -> None:
            if not losses:
                losses.append(float(state.loss))

    classes, images = len(ready.dataset.classes), len(state.val.split)  # type: ignore[attr-defined]
    try:
        fit(state, [First()])
    except Diverged as error:
        return {"diverged": str(error).partition(":")[0], "first": losses[0] if losses else None}
    last = state.history[-1]
    deviation = math.sqrt((1 - 1 / classes) / classes / images)
    best = max(row["val_accuracy"] for row in state.history)
    return {
        "diverged": None,
        "first": losses[0],
        "last": last["train_loss"],
        "val_accuracy": best,
        "learns": best > 1 / classes + 2 * deviation,
        "optimizer": ready.plan.optimizer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="Where the three sets lie.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1, help="Trainings at a time.")
    given = parser.parse_args()
    SETS.update(DATA)
    folders = {name: made(name, given.sources, given.work) for name in DATA}
    rows: dict[str, dict[str, Any]] = {name: {} for name in DATA}
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        runs = {
            (data, name): pool.submit(
                trained,
                name,
                folders[data],
                given.device,
                given.epochs,
                given.side,
                given.work / f"{data} {name} {given.side} {given.epochs}.json",
            )
            for name in NETS
            for data in DATA
        }
        for (data, name), run in runs.items():
            rows[data][name] = found = run.result()
            short = {k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}
            print(data, name, short, flush=True)
    found_all = [found for own in rows.values() for found in own.values()]
    counts = {
        "runs": len(found_all),
        "diverged": sum(found["diverged"] is not None for found in found_all),
        "learn": sum(found.get("learns", False) for found in found_all),
    }
    keep(
        "start", {"device": given.device, "epochs": given.epochs, "side": given.side, **counts, "sets": rows}
    )


if __name__ == "__main__":
    main()
