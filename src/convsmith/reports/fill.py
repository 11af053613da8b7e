"""Pages from their templates."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape

import convsmith


def fill(template: str, **values: Any) -> str:
    """Render a template of this package; texts in ``values`` are escaped."""
    environment = Environment(loader=PackageLoader("convsmith.reports"), autoescape=select_autoescape())
    environment.filters["code"] = code
    page = environment.get_template(template).render(version=convsmith.__version__, **values)
    # Names of files and classes are of any bytes, and a page is of letters.
    return page.encode("utf-8", "backslashreplace").decode()


def code(sentence: str) -> Markup:
    """Escape a sentence for HTML, and show what stands in backticks as code.

    >>> print(code("take `train.clip=1` if a < b"))
    take <code>train.clip=1</code> if a &lt; b
    """
    # Escaped first: a name with tags in backticks stays text.
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(sentence))))
