"""A score map laid over its picture, as PNG."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convsmith.inference.score_map import ScoreMap
from convsmith.reports.plots import ORANGE, STYLE

# Longer side of a picture on the page, in inches, and dots an inch.
LONG, DOTS = 4.5, 120


def drawn(found: ScoreMap, label: str) -> bytes:
    """The picture, and beside it the same with the probabilities of one class, each place as large as its
    step to the next; a frame marks what the likeliest place looks at.
    """
    own, row, column = found.best
    height, width = found.pixels.shape[:2]
    scale = LONG / max(height, width)
    pixels = found.pixels[:, :, 0] if found.pixels.shape[2] == 1 else found.pixels
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(2 * scale * width + 1.6, scale * height + 0.6), layout="constrained")
        plain, laid = figure.subplots(1, 2)
        for axes in (plain, laid):
            # The edges of pixel i are i and i + 1.
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        rows, columns = found.scores.shape[1:]
        (y, x), (top, left) = found.stride, found.offset
        edges = (left - x / 2, left + (columns - 0.5) * x, top + (rows - 0.5) * y, top - y / 2)
        shown = laid.imshow(
            found.scores[own],
            cmap="viridis",
            vmin=0,
            vmax=1,
            alpha=0.6,
            extent=edges,
            interpolation="nearest",
        )
        side = found.window
        corner = left + column * x - side / 2, top + row * y - side / 2
        laid.add_patch(Rectangle(corner, side, side, fill=False, color=ORANGE, linewidth=2))
        plain.set_title(f"{width} x {height} pixels")
        laid.set_title(f"{label}: {100 * found.scores[own, row, column]:.0f}% in the frame")
        figure.colorbar(shown, ax=laid, label="probability", shrink=0.8)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DOTS, metadata={"Software": None})
    return content.getvalue()
