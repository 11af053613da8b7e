"""Write what benchmarks measured of each technique into its card: python benchmarks/measured.py"""

from __future__ import annotations

import json
import statistics
from typing import Any

from ruamel.yaml import YAML

from blocks import VARIANTS
from blocks_page import DATA, ROOT, results
from convsmith import catalog

TARGET = ROOT / "src/convsmith/catalog/measured.json"
NAMES = {"mnist": "MNIST, LeNet-5", "cifar10": "CIFAR-10, VGG-11"}


def technique(changes: list[str]) -> tuple[str, str]:
    """Kind and name of the one technique that a row's words choose."""
    path, _, value = changes[-1].partition("=")
    section, *rest = path.split(".")
    if section != "objective":
        return rest[-1], catalog.split(rest[-1], load_yaml(value))[0]
    name = rest[0]
    return next((kind, name) for kind in ("term", "regularizer") if (kind, name) in catalog.listed()[0])


def load_yaml(value: str) -> Any:
    return YAML(typ="safe").load(value)


def measured() -> list[dict[str, Any]]:
    """One row a block of docs/blocks.md: points gained on its net's base, and the time of a step."""
    accuracy, steps = results("blocks_accuracy"), results("blocks_steps")
    rows = []
    for group, variants in VARIANTS.items():
        for block, changes in variants.items():
            if not changes:
                continue
            kind, name = technique(changes)
            effects = []
            for data in DATA:
                own = accuracy[data][group][block]
                base = statistics.mean(next(iter(accuracy[data]["base"].values()))["test"])
                effects.append(
                    {
                        "on": NAMES[data],
                        "points": round(100 * (statistics.mean(own["test"]) - base), 2),
                        "spread": round(100 * statistics.stdev(own["test"]), 2),
                        "step": round(steps[data][group][block]["ratio"], 2),
                    }
                )
            rows.append({"kind": kind, "name": name, "block": block, "effects": effects})
    return rows


def rendered() -> str:
    return json.dumps(measured(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(rendered(), encoding="utf-8")
