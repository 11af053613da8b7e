"""Write and execute notebook.ipynb, a tour in a real Jupyter kernel.

    python examples/notebook.py [notebook.ipynb]

Needs: pip install nbclient ipykernel.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

CELLS = (
    """# convsmith in a notebook

Everything that the command line does, as functions; what they return draws itself.""",
    'import convsmith as cs\n\n[name for name in dir(cs) if not name.startswith("_")]',
    """## Train

Keywords are the options of `convsmith train`; a recipe is a file, nested dictionaries, or a `Recipe`.""",
    """run = cs.train(
    "digits",
    model="lenet5",
    epochs=3,
    recipe={"data": {"size": 16, "floor": 0.5}, "objective": {"cross_entropy": {"smoothing": 0.1}}},
)
run""",
    "run['accuracy'], run.path, run.metrics[-1]['val_loss']",
    "## Open it, ask it\n\nA file, an array, a picture of Pillow's, or a list of them.",
    "model = cs.load(run)\nmodel",
    """import numpy as np
from PIL import Image

from convsmith.data import builtin

file = sorted(builtin.folder("digits").glob("test/7/*.png"))[0]
array = np.array(Image.open(file))
pictures = [file, array, Image.open(file)]
[answer["label"] for answer in model.predict(pictures)]""",
    "model.predict([file, file], top=2)[1]",
    "cs.evaluate(run, split='val')",
    "repr(cs.evaluate(run, split='floor'))",
    "cs.summary(run)",
    "## A net of your own\n\nA copy of the module is trained; it opens again without its class.",
    """from torch import nn

net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
    nn.Flatten(), nn.Linear(32, 10),
)
mine = cs.train("digits", model=net, epochs=2, recipe={"data": {"size": 16}})
mine.model().module""",
    "## What a mistake says",
    """try:
    cs.train("digits", model="lenet")
except cs.UserError as error:
    print(error)""",
    "## A technique of your own, by name",
    """from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from convsmith.catalog import technique


@technique("term", "focal", source="Lin et al. 2017", use="many easy images")
class FocalLoss(nn.Module):
    \"\"\"Mean of (1 - p)^gamma times the cross-entropy, p the probability of the right class.\"\"\"

    def __init__(self, gamma: Annotated[float, Ge(0)] = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        losses = F.cross_entropy(input, target, reduction="none")
        return ((1 - (-losses).exp()) ** self.gamma * losses).mean()


recipe = {"data": {"size": 16}, "objective": {"focal": {"gamma": 1}}}
focal = cs.train("digits", model="lenet5", epochs=1, recipe=recipe)
"focal" in [card.name for card in cs.techniques("term")], "train_focal" in focal.metrics[-1]""",
)


def notebook() -> Any:
    """The cells, not yet executed; one that begins with ``#`` is text."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for text in CELLS:
        is_text = text.startswith("#")
        cell = nbformat.v4.new_markdown_cell(text) if is_text else nbformat.v4.new_code_cell(text)
        made.cells.append(cell)
    # Ids are random otherwise, and the file would change with each run.
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"
    return made


def executed(folder: Path) -> Any:
    """The notebook as a kernel in ``folder`` has run it; an error in a cell is raised."""
    found = notebook()
    NotebookClient(
        found, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    for cell in found.cells:
        cell.metadata.pop("execution", None)  # the time of day
    return found


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_suffix(".ipynb"))
    # Of a file in the output, its place is no business of the reader.
    os.environ.update(CONVSMITH_CACHE="cache", PYTHONWARNINGS="ignore")
    with tempfile.TemporaryDirectory() as work:
        nbformat.write(executed(Path(work)), place)
