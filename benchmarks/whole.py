"""The whole command on the clock: the same fine-tuning at 224 pixels by convsmith, timm's parts and fastai.

    python benchmarks/whole.py SOURCES --work WORK [--rounds 2] [--device cuda]

SOURCES as in defaults.py. All layers of EfficientNet-Lite0, the same weights, 250 photographs of ten classes,
batches of 32, three epochs with validation after each, the best one's test accuracy: from the start of Python
to its last file. convsmith scans, measures health, saves to be resumed, and writes its report within the same
time. Contenders take turns, so that a busy moment meets them all; ratios are of medians.

And the time to a first model on the same photographs with nothing set: until a model that works lies in the
run's folder, and until the command ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import photographs
from defaults import HERE, hub
from photographs import Set, made
from record import RESULTS, conditions, keep

SET = "cifar10, 25 a class, 224 pixels"
EPOCHS, BATCH = 3, 32
OURS = [
    "--from",
    "timm:tf_efficientnet_lite0",
    "--epochs",
    str(EPOCHS),
    *(
        word
        for override in (
            "train.finetune=all_stages",
            "train.head_first=false",
            "data.size=224",
            f"data.batch_size={BATCH}",
        )
        for word in ("--set", override)
    ),
]


def ours(data: Path, out: Path, device: str, words: list[str]) -> tuple[dict[str, Any], float, float]:
    """Figures of one command, its seconds, and those until a model lay in its folder."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "convsmith.cli.main", "train", str(data), "--out", str(out), *words]
    start = time.perf_counter()
    done = subprocess.Popen(
        [*command, "--device", device, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    first = 0.0
    while done.poll() is None:
        if not first and (out / "model.safetensors").exists():
            first = time.perf_counter() - start
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    assert done.stdout is not None
    answer = done.stdout.read()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return json.loads(answer.strip().splitlines()[-1]), seconds, first


def peer(name: str, data: Path, device: str) -> tuple[dict[str, Any], float]:
    words = [name, str(data), "--epochs", str(EPOCHS), "--device", device]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / "peers.py"), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1]), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cores", type=int, help="Of those there are, for the fine-tuning; default: all.")
    parser.add_argument("--first-only", action="store_true", help="Keep the JSON's other figures.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    hub(given.work)
    photographs.SETS[SET] = Set("cifar10", 31, 10, side=224)
    data = made(SET, given.sources, given.work)
    images = {s: sum(1 for _ in (data / s).rglob("*.jpg")) for s in ("train", "val", "test")}
    load = os.getloadavg()[0]
    first = []
    for _ in range(given.rounds):
        row, seconds, until = ours(data, given.work / "first", given.device, [])
        first.append({"seconds": seconds, "first_model": until, "test": row["accuracy"]})
        print("nothing set", first[-1], flush=True)
    alone = {
        "cores": len(os.sched_getaffinity(0)),
        "load": load,
        "rounds": first,
        "commit": conditions()["commit"],
    }
    if given.first_only:
        kept = json.loads((RESULTS / "whole.json").read_text())
        kept["nothing_set"] = alone
        (RESULTS / "whole.json").write_text(json.dumps(kept, indent=1) + "\n")
        return
    all_cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(all_cores[: given.cores]))
    rows: dict[str, list[dict[str, float]]] = {"convsmith": [], "timm": [], "fastai_all": []}
    for _ in range(given.rounds):
        row, seconds, _ = ours(data, given.work / "run", given.device, OURS)
        rows["convsmith"].append({"seconds": seconds, "test": row["accuracy"]})
        for name in ("timm", "fastai_all"):
            row, seconds = peer(name, data, given.device)
            rows[name].append({"seconds": seconds, "test": row["test"]})
        print({name: found[-1] for name, found in rows.items()}, flush=True)
    own = statistics.median(row["seconds"] for row in rows["convsmith"])
    ratios = {
        name: statistics.median(row["seconds"] for row in found) / own
        for name, found in rows.items()
        if name != "convsmith"
    }
    keep(
        "whole",
        {
            "device": given.device,
            "cores": len(os.sched_getaffinity(0)),
            "load": load,
            "images": images,
            "epochs": EPOCHS,
            "batch": BATCH,
            "nothing_set": alone,
            "contenders": rows,
            "times_as_long": ratios,
        },
    )


if __name__ == "__main__":
    main()
