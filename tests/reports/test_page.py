from __future__ import annotations

import html.parser
import json
import os
import warnings
from pathlib import Path

import pytest

import convsmith as cs
from conftest import make_images
from convsmith.verbs.report import report

WICKED = r"<script>alert(1)<&$\frac$script>"


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that had too little time, on classes with wicked names and a broken file."""
    root = tmp_path_factory.mktemp("report")
    make_images(root / "data", images=30)
    (root / "data/class0").rename(root / "data" / WICKED)
    (root / "data/class1/empty.png").write_bytes(b"")
    (root / "data/class2").rename(root / "data/猫")
    words = ["train.epochs=2", "train.device=cpu", "optimizer.sgd.lr=0.002"]
    cs.train(root / "data", out=root / "run", model="lenet5", set=words)
    return root / "run"


def test_it_is_one_file_that_asks_for_nothing(run: Path) -> None:
    page = Page((run / "report.html").read_text())
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe", "object"}]
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:image/png;base64,", "#")), value
    assert "url(http" not in (run / "report.html").read_text()


def test_it_says_what_the_files_say(run: Path) -> None:
    page = Page((run / "report.html").read_text())
    found = cs.evaluate(run, device="cpu")
    low, high = (100 * end for end in found.interval)
    right = f"{100 * found.accuracy:.2f}% ({low:.1f}-{high:.1f}) of {len(found.targets)}"
    assert right in page.text
    assert page.text.count(WICKED) >= 4, "class names are text, never markup"
    assert page.text.count("猫") >= 4, "in the tables and in the confusion matrix"
    assert "1 file left out: empty file" in page.text
    assert (run / "recipe.yaml").read_text().strip() in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 5
    wrong = int((found.predicted != found.targets).sum())
    assert len([tag for tag, _ in page.tags if tag == "img"]) == min(12, wrong) > 0
    for label, row in found.per_class().items():
        assert label in page.text
        assert f"{100 * row['recall']:.1f}%" in page.text


def test_it_can_be_written_again_and_is_the_same(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")  # letters of any script pass in silence
        report(run, device="cpu")
    assert (run / "report.html").read_bytes() == before


def test_many_classes_and_lost_pictures(run: Path, tmp_path: Path) -> None:
    """A hundred classes get a table of confusions instead of a matrix; a lost file no picture."""
    import numpy as np

    from convsmith.inference.evaluation import Evaluation
    from convsmith.reports.page import render
    from convsmith.run.directory import RunDirectory

    draws = np.random.default_rng(0)
    names = [f"c{k}" for k in range(100)]
    found = Evaluation("test", names, draws.dirichlet(np.ones(100), 300), draws.integers(0, 100, 300))
    data = json.loads((run / "data.json").read_text())
    data["counts"]["train"] = dict.fromkeys(names, 3)
    directory = RunDirectory(tmp_path)
    for name in ("recipe.yaml", "environment.json", "model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    directory.write_json(directory.data, data)
    rows = RunDirectory(run).read_metrics()
    page = Page(render(directory, rows, found, [tmp_path / "gone.png"] * 300))
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "gone.png" in page.text


def test_names_that_are_no_letters_or_look_like_formulas(tmp_path: Path) -> None:
    """Class folders in Latin-1, with dollars and brackets: trained, reported, evaluated, inspected."""
    data = make_images(tmp_path / "data", classes=3, images=5)
    names = [b"d\xf1g", b"$a_{b$", b"[male]"]
    for number, name in enumerate(names):
        (data / f"class{number}").rename(data / os.fsdecode(name))
    run = cs.train(data, out=tmp_path / "run", model="lenet5", epochs=1, set=["data.size=16"])
    page = Path(run["report"]).read_text(encoding="utf-8")
    assert "d\\udcf1g" in page
    assert "$a_{b$" in page
    assert "[male]" in page
    assert len(cs.evaluate(run).classes) == 3
    cs.inspect(run)
