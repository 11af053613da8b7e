"""Print a pip constraints file with the lowest declared version of every direct dependency.

python tools/lowest.py [EXTRA...] > constraints.txt

Dependencies of dependencies stay free, so that pip finds a set that goes with them. Tools that check the
source (ruff, mypy, import-linter) are left out: nobody who installs convsmith needs an old one.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
CHECKERS = ("ruff", "mypy", "import-linter")


def constraints(extras: Iterable[str] = (), file: Path = PYPROJECT) -> list[str]:
    """Lines ``name==lowest`` for the dependencies, and for those of ``extras``.

    Raises:
        ValueError: if a dependency declares no lower bound.
    """
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    lines = []
    for requirement in wanted:
        name, bound = re.match(r"([\w.-]+)(?:.*?>=\s*([\w.]+))?", requirement).groups()  # type: ignore[union-attr]
        if bound is None:
            raise ValueError(f"{requirement!r} declares no lowest version; write {name}>=...")
        if name not in CHECKERS:
            lines.append(f"{name}=={bound}")
    return sorted(set(lines))


if __name__ == "__main__":
    print("\n".join(constraints(sys.argv[1:])))
