"""How large the house is that one plain training walks through, before and after a change; side by side.

    python benchmarks/house.py BEFORE AFTER --data CIFAR10_FOLDER --work WORK

BEFORE and AFTER are checkouts (`git worktree add BEFORE COMMIT`). For each, in processes of their own and in
turns: the files of convsmith whose functions one plain training of `digits` enters (two epochs of LeNet-5),
the places in the source that assign to a recipe or plan, and the time of `import convsmith` and
`convsmith --help` (the median of ROUNDS, each in a fresh process). With --data, also the whole command
`convsmith train` on the clock, and the images a second of its last epoch: ResNet-20, 5,120 images, in turns,
TRAININGS times.
"""

from __future__ import annotations

import argparse
import ast
import csv
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from record import keep
from throughput import subset

ROUNDS = 9
TRAININGS = 3
IMAGES = 5120
TRAINING = """
import sys, tempfile
from pathlib import Path
import convsmith
root = str(Path(convsmith.__file__).parent)
entered = set()
def note(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(root) and frame.f_code.co_flags & 1:
        entered.add(frame.f_code.co_filename)
words = ["data.size=16", "train.epochs=2", "train.device=cpu"]
sys.setprofile(note)
convsmith.train("digits", out=tempfile.mkdtemp() + "/run", model="lenet5", set=words)
sys.setprofile(None)
print(len(entered))
"""


def run(root: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def assigned(root: Path) -> int:
    """Places that assign to an attribute of something called recipe or plan, or of a part of it."""
    count = 0
    for file in (root / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets += [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
            for target in targets:
                for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                    count += isinstance(one, ast.Attribute) and owner(one) in (
                        "recipe",
                        "plan",
                        "chosen",
                        "whole",
                    )
    return count


def owner(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def seconds(root: Path, *words: str) -> float:
    started = time.perf_counter()
    run(root, *words)
    return time.perf_counter() - started


def trained(root: Path, data: Path, out: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the whole command, and images a second of the last epoch."""
    words = ["--model", "resnet20", "--epochs", options.epochs, "--device", options.device, "--out", out]
    wall = seconds(root, "-m", "convsmith.cli.main", "train", str(data), *map(str, words))
    with open(out / "metrics.csv", newline="") as stream:
        return wall, float(list(csv.DictReader(stream))[-1]["images_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--data", type=Path, help="image folder with train/ and test/")
    parser.add_argument("--work", type=Path, help="new folder for links and runs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    places = {"before": options.before.absolute(), "after": options.after.absolute()}
    commands = {
        "python": ("-c", "pass"),
        "import": ("-c", "import convsmith"),
        "help": ("-m", "convsmith.cli.main", "--help"),
    }
    times: dict[str, dict[str, list[float]]] = {name: {key: [] for key in commands} for name in places}
    for _ in range(ROUNDS):
        for name, root in places.items():
            for key, words in commands.items():
                times[name][key].append(seconds(root, *words))
    found: dict[str, Any] = {}
    for name, root in places.items():
        found[name] = {
            "files_entered": int(run(root, "-c", TRAINING)),
            "recipe_assignments": assigned(root),
            **{f"{key}_seconds": statistics.median(own) for key, own in times[name].items()},
        }
    if options.data is not None:
        data = subset(options.data, options.work / "images", IMAGES)
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
        for number in range(TRAININGS):
            for name, root in list(places.items())[:: 1 if number % 2 == 0 else -1]:
                rows[name].append(trained(root, data, options.work / f"{name}{number}", options))
        for name, own in rows.items():
            walls, rates = zip(*own)
            found[name] |= {"train_command_seconds": walls, "images_per_second": rates}
        # Of the medians; above 1 is faster after.
        ratio = [statistics.median(row[1] for row in rows[name]) for name in ("after", "before")]
        found["throughput_ratio"] = ratio[0] / ratio[1]
    name = "house" if options.device == "cpu" else "house_cuda"
    keep(name, {"rounds": ROUNDS, "images": IMAGES, "epochs": options.epochs, **found})


if __name__ == "__main__":
    main()
