"""Pictures that are one flat color as a net sees them, with the cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from convsmith.data.conversion import FAINT, span
from convsmith.data.fit import fitted
from convsmith.data.item import Item
from convsmith.data.levels import WIDE
from convsmith.data.opening import opened, stream
from convsmith.data.picture import whole
from convsmith.data.quiet import quiet
from convsmith.data.reading import measured
from convsmith.data.scan import Header
from convsmith.errors import shown
from convsmith.findings import Finding

# Pictures whose cause is looked for.
LOOKED = 3
_CAUSES = {
    "outside": (
        "what they show lies outside the center square",
        "`data.fit=squash` or `data.fit=pad` shows whole images",
    ),
    "levels": (
        "their values fill too little of the range that becomes 0 to 255",
        "`data.levels=[LOW,HIGH]` says which values are black and white",
    ),
    "clear": ("they are transparent, and of one color beneath", "save them without transparency"),
    "small": ("what they show is too small at this size", "a larger data.size keeps it"),
    "blank": ("the files themselves are of one color", "replace or delete them"),
}


def flat_findings(
    rows: Sequence[tuple[Item, Header]], faint: Mapping[int, int], options: Mapping[str, Any]
) -> list[Finding]:
    """A finding about pictures that are as good as one color, with its most frequent cause.

    Args:
        rows: of all pictures.
        faint: by row, the difference between the brightest and the darkest pixel, of those where it is small.
        options: with which they were decoded, as for :func:`convsmith.data.pixels.open_store`.
    """
    if not faint:
        return []
    some = sorted(faint)
    causes = Counter(_cause(*rows[row], options) for row in some[:LOOKED])
    said, change = _CAUSES[causes.most_common(1)[0][0]]
    labels = Counter(rows[row][0].label for row in some)
    label, count = labels.most_common(1)[0]
    where = f", {count:,} of them of class {label!r}" if label and len(labels) > 1 else ""
    where = f", all of class {label!r}" if label and len(labels) == 1 and len(some) > 1 else where
    names = ", ".join(shown(rows[row][0].path) for row in some[:3])
    more = f" and {len(some) - 3:,} more" if len(some) > 3 else ""
    are = "image is" if len(some) == 1 else "images are"
    return [
        Finding(
            seen=f"{len(some):,} of {len(rows):,} {are} as good as one flat color{where} (their brightest "
            f"and darkest pixels differ by at most {max(faint.values())} of 255): {names}{more}; {said}",
            means="the net can learn nothing from them, whatever its rate",
            change=change,
            why="without differences there is nothing to tell classes apart by",
            source="scan",
            name="flat_images",
        )
    ]


def _cause(item: Item, header: Header, options: Mapping[str, Any]) -> str:
    channels = 1 if header.mode.startswith("I") else options["channels"]
    fit = options.get("fit", "crop")
    levels = options.get("levels", WIDE)
    try:
        pixels, _ = whole(item.path, lambda own: own, channels, "crop", levels)
        if span(pixels) >= FAINT:
            side = min(pixels.shape[:2])
            cut = fit == "crop" and span(fitted(pixels, side, "crop")) < FAINT
            return "outside" if cut else "small"
        if header.deep:
            least, _, _, most = measured(item.path)
            return "levels" if most > least else "blank"
        with quiet, stream(item.path) as file:
            image = opened(file)
            return "clear" if image.has_transparency_data and _is_clear(image) else "blank"
    except Exception:  # it has gone, or changed, since
        return "blank"


def _is_clear(image: Image.Image) -> bool:
    alpha: Any = image.convert("RGBA").getchannel("A").getextrema()
    return int(alpha[1]) < 255
