"""The verb that says what is wrong with a training, and starts the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convsmith.advice.curves import diagnose as rules
from convsmith.advice.evidence import gather
from convsmith.run.directory import RunDirectory


def diagnose(run: str | Path) -> dict[str, Any]:
    return {"findings": rules(gather(RunDirectory(run)))}
