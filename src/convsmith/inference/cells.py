"""Tables as a notebook shows them."""

from __future__ import annotations

import html
from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column is a name, the others are numbers.

    >>> table(["class", "images"], [["a<b", "3"]]).split("</tr>")[1]
    "<tr><th style='text-align:left'>a&lt;b</th><td>3</td>"
    """
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><th style='text-align:left'>{html.escape(row[0])}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
