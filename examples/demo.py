"""The main job from end to end on real handwritten digits, as a newcomer would type it.

    python examples/demo.py FOLDER

Trains, evaluates, predicts real test images, and says where the report lies. A finished demo is shown
again rather than repeated.
"""

from __future__ import annotations

import csv
import shlex
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).parent / "digits.yaml"


def run(*words: str | Path) -> None:
    command = ["convsmith", *map(str, words)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", "convsmith.cli.main", *command[1:]], check=True)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    out = folder / "digits"
    if (out / "recipe.yaml").exists():
        run("train", "--out", out, "--resume")
    else:
        run("train", "digits", "--out", out, "--recipe", RECIPE)
    run("evaluate", out)
    with open(out / "files.csv", newline="", encoding="utf-8") as stream:
        tests = [row["path"] for row in csv.DictReader(stream) if row["split"] == "test"]
    run("predict", out, *tests[:: len(tests) // 5][:5])
    print(f"\nOpen the report in a browser: {(out / 'report.html').absolute()}")


if __name__ == "__main__":
    main()
