"""How benchmarks keep their figures: one JSON each under results/, with the conditions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsmith.run.directory import environment

RESULTS = Path(__file__).parent / "results"


def conditions() -> dict[str, Any]:
    """Versions, processor and commit; no paths."""
    found = {key: value for key, value in environment().items() if key != "command"}
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return {
        **found,
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
    }


def keep(name: str, figures: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    content = {"benchmark": name, **figures, "conditions": conditions()}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
