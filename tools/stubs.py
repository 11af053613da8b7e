"""Write the .pyi files of packages whose names are imported on first use, for editors and type checkers.

python tools/stubs.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

import convsmith  # noqa: E402
from convsmith.catalog import exports  # noqa: E402

PACKAGES = ("data", "models", "nn", "objectives", "training")
HEAD = "# Written by tools/stubs.py; tests/test_typing.py compares.\n"


def stubs() -> dict[Path, str]:
    """The content of each stub by its place."""
    source = ROOT / "src/convsmith"
    root = [f"from {module} import {name} as {name}" for name, module in vars(convsmith)["_VERBS"].items()]
    found = {
        source / "__init__.pyi": "\n".join([*sorted(root), "", "__version__: str", "__all__: list[str]", ""])
    }
    for package in PACKAGES:
        names = exports(f"convsmith.{package}").items()
        lines = sorted(f"from {module} import {name} as {name}" for name, module in names)
        found[source / package / "__init__.pyi"] = "\n".join([*lines, ""])
    return {place: HEAD + text for place, text in found.items()}


if __name__ == "__main__":
    for place, text in stubs().items():
        place.write_text(text, encoding="utf-8")
