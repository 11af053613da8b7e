"""Does `convsmith advise` keep silent about healthy images, and name labels that are wrong?

    python benchmarks/alarms.py SOURCES --work WORK [--jobs 1]

SOURCES as in defaults.py. Sets of 2 to 10 classes, drawn by a seed: photographs (CIFAR-10 enlarged, cut-out
stamps), CIFAR-10 as it is, MNIST and digits, and arrows, whose classes differ in direction alone. A finding
about labels on a set with its own labels is a false alarm; on a set of which a part of the labels was
exchanged it is a hit. Photographs of 32 pixels have no wrong labels planted: pixels say too little of them,
and the advice then says nothing. What is done is kept in WORK, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

import convsmith as cs
from convsmith.data import builtin
from photographs import _folders, _on_white, _stamps
from record import keep


@dataclass(frozen=True)
class Case:
    """One set: kind of images, side in pixels, classes, images of each, share of wrong labels, seed."""

    kind: str
    side: int
    classes: int
    images: int
    noise: float
    seed: int

    @property
    def name(self) -> str:
        return "-".join(str(value) for value in asdict(self).values())


# Kind, side, and numbers of healthy and of planted sets.
KINDS = (
    ("cifar10", 96, 8, 6),
    ("cifar10", 32, 4, 0),
    ("stamps", 128, 4, 3),
    ("mnist", 28, 4, 3),
    ("mnist", 64, 4, 3),
    ("digits", 8, 4, 3),
    ("arrows", 64, 4, 2),
)


def cases() -> Iterator[Case]:
    for kind, side, healthy, planted in KINDS:
        most = {"stamps": 8, "arrows": 4}.get(kind, 10)
        for number in range(healthy + planted):
            draws = random.Random(f"{kind} {side} {number}")
            noise = 0.0 if number < healthy else draws.choice([0.15, 0.3])
            # Planted in enough images that their share can be told.
            classes = draws.choice([k for k in (2, 3, 4, 5, 8, 10) if (3 if noise else 2) <= k <= most])
            images = draws.choice([100, 150] if noise else [20, 50, 100])
            yield Case(kind, side, classes, images, noise, number)


def made(case: Case, sources: Path, work: Path) -> Path:
    """The set's folder."""
    folder = work / "data" / case.name
    if folder.exists():
        return folder
    making = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(making, ignore_errors=True)
    draws = random.Random(f"{case.name} images")
    pictures = _arrows(case, draws) if case.kind == "arrows" else _files(case, sources, draws)
    labels = sorted({label for label, _, _ in pictures})
    for label, name, image in pictures:
        wrong = draws.random() < case.noise
        given = draws.choice([other for other in labels if other != label]) if wrong else label
        target = making / given / f"{label}_{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.resize((case.side, case.side), Image.Resampling.BICUBIC).save(target)
    making.rename(folder)
    return folder


def _files(case: Case, sources: Path, draws: random.Random) -> list[tuple[str, str, Image.Image]]:
    place = Path(builtin.folder("digits")) if case.kind == "digits" else sources / case.kind
    found = (_stamps(place) if case.kind == "stamps" else _folders(place))["train"]
    mode = "RGB" if case.kind in ("cifar10", "stamps") else "L"
    pictures = []
    for label in draws.sample(sorted(found), case.classes):
        files = draws.sample(found[label], min(case.images, len(found[label])))
        pictures += [(label, file.stem, _on_white(Image.open(file)).convert(mode)) for file in files]
    return pictures


def _arrows(case: Case, draws: random.Random) -> list[tuple[str, str, Image.Image]]:
    """Arrows of any color, place and size on noise, pointing up, right, down or left."""
    pictures = []
    for turn in range(case.classes):
        for number in range(case.images):
            side = case.side
            ground = Image.effect_noise((side, side), draws.uniform(10, 60)).convert("RGB")
            x, y, r = (draws.uniform(*span) * side for span in ((0.35, 0.65), (0.35, 0.65), (0.2, 0.33)))
            angle = turn * math.pi / 2 + draws.uniform(-0.2, 0.2)
            ends = [
                (x + r * s * math.sin(angle + a), y - r * s * math.cos(angle + a))
                for s, a in ((1, 0), (1, math.pi), (0.6, 0.6), (0.6, -0.6))
            ]
            color = tuple(draws.randrange(256) for _ in range(3))
            pen = ImageDraw.Draw(ground)
            for end in ends[1:]:
                pen.line((ends[0], end), fill=color, width=max(2, side // 16))
            pictures.append((f"turn{turn}", str(number), ground))
    return pictures


def job(task: tuple[Case, str, str]) -> None:
    case, sources, work = task
    torch.set_num_threads(1)
    kept = Path(work) / f"{case.name}.json"
    if not kept.exists():
        found = cs.advise(made(case, Path(sources), Path(work)), set=["train.device=cpu"])
        kept.write_text(json.dumps({"findings": found["findings"]}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    chosen = list(cases())
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        list(pool.map(job, [(case, str(given.sources), str(given.work)) for case in chosen]))
    rows: list[dict[str, Any]] = []
    for case in chosen:
        findings = json.loads((given.work / f"{case.name}.json").read_text())["findings"]
        names = sorted(finding.get("name", "") for finding in findings)
        said = [finding["seen"] for finding in findings if finding.get("name") == "label_noise"]
        rows.append(
            {**asdict(case), "label_noise": said[0].partition(",")[0] if said else None, "named": names}
        )
    sums = {}
    for kind, side, _, _ in KINDS:
        own = [row for row in rows if (row["kind"], row["side"]) == (kind, side)]
        healthy, planted = ([row for row in own if bool(row["noise"]) == wrong] for wrong in (False, True))
        sums[f"{kind}, {side} pixels"] = {
            "healthy": len(healthy),
            "false_alarms": sum(row["label_noise"] is not None for row in healthy),
            "planted": len(planted),
            "named": sum(row["label_noise"] is not None for row in planted),
        }
    keep("alarms", {"kinds": sums, "sets": rows})


if __name__ == "__main__":
    main()
