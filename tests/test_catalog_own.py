"""Techniques of a user's own: in a notebook, a script, or an installed package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Gt
from torch import Tensor, nn

import convsmith as cs
from conftest import make_images
from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.catalog import Kind, Spec, register, technique
from convsmith.errors import UserError


def focal(version: int = 1) -> type[nn.Module]:
    """A notebook's cell, executed."""

    @technique("term", "focal", source="Lin et al. 2017", use="many easy images")
    class Focal(nn.Module):
        """Cross-entropy that looks away from easy images.

        More about it.
        """

        number = version

        def __init__(self, gamma: Annotated[float, Gt(0)] = 2.0, activation: Act = "relu") -> None:
            super().__init__()
            self.gamma = gamma

        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            return input.sum() * self.gamma

    return Focal


Act = Annotated[Spec, Kind("activation")]


def test_it_has_a_card_and_works_by_name_in_a_recipe() -> None:
    made = focal()
    card = catalog.card("term", "focal")
    assert (card.summary, card.source) == (
        "Cross-entropy that looks away from easy images.",
        "Lin et al. 2017",
    )
    assert card.arguments == ("gamma", "activation")
    assert card.chapter == "your own"
    recipe = recipes.load(overrides=["objective.cross_entropy=null", "objective.focal.gamma=3"])
    term = catalog.build("term", {"focal": recipe.objective["focal"]})
    assert isinstance(term, made)
    assert term.gamma == 3.0
    assert catalog.describe(term) == {"focal": {"gamma": 3.0}}
    assert ("term", "focal") in catalog.listed()[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective.focl={}"], "did you mean 'focal'"),
        (["objective.focal.gama=1"], "term focal has no argument 'gama'; did you mean 'gamma'"),
        (["objective.focal.gamma=-1"], r"focal: gamma=-1 is not valid, input should be greater than 0"),
        (["objective.focal.activation=rleu"], "there is no activation 'rleu'; did you mean 'relu'"),
    ],
)
def test_it_is_checked_like_ours(words: list[str], message: str) -> None:
    focal()
    with pytest.raises(UserError, match=message):
        recipes.load(overrides=words)


def test_a_cell_may_run_again_and_another_definition_may_not() -> None:
    focal()
    focal(version=2)
    assert catalog.load("term", "focal").number == 2

    def other() -> Any:
        """Something else."""

    with pytest.raises(UserError, match=r"there is a term 'focal' already, focal.<locals>.Focal in .*; give"):
        technique("term", "focal")(other)
    with pytest.raises(
        UserError, match=r"there is a term 'l2' already, L2 in convsmith.objectives.penalties"
    ):
        technique("term", "l2")(other)
    assert catalog.load("term", "focal").number == 2


def test_unknown_kinds_are_refused_with_the_nearest() -> None:
    with pytest.raises(
        UserError, match="there is no kind of technique 'optimiser'; did you mean 'optimizer'"
    ):
        technique("optimiser", "mine")
    with pytest.raises(UserError, match="there is no kind of technique 'norms'; did you mean 'norm'"):
        catalog.card("norms", "batch")
    with pytest.raises(UserError, match="'activations'; did you mean 'activation'"):
        Kind("activations")


def test_a_family_of_ones_own() -> None:
    @technique("schedule", "drop{times}", times=(2, 3), renamed=("fall{times}",))
    def drop(times: int, factor: float = 0.1) -> Any:
        """Falls so many times."""
        return lambda epoch, epochs: factor**times

    assert {"drop2", "drop3"} <= set(catalog.names("schedule"))
    assert catalog.build("schedule", {"drop3": {"factor": 0.5}})(0, 1) == 0.125
    assert catalog.build("schedule", {"fall2": {"factor": 0.5}})(0, 1) == 0.25
    with pytest.raises(UserError, match="there is no schedule drop4; there are drop2, drop3"):
        drop(4)


def test_a_hint_that_is_nowhere_is_named() -> None:
    @technique("schedule", "lost")
    def lost(share: Nowhere = 1) -> None:  # type: ignore[name-defined] # noqa: F821
        """Whose annotation can't be resolved."""

    with pytest.raises(UserError, match="annotation 'Nowhere' can't be found; import or define it"):
        catalog.build("schedule", {"lost": {"share": 2}})


PACKAGE = '''
from convsmith.catalog import technique

@technique("schedule", "half", use="half of the rate", renamed=("halved",))
def half(share: float = 0.5):
    """A share of the rate."""
    return lambda epoch, epochs: share
'''


def installed(folder: Path, name: str, module: str, text: str) -> None:
    """A package as pip leaves it."""
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[convsmith.techniques]\nall = {module}\n")


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_an_installed_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    installed(tmp_path, "half-schedules", "half_schedules", PACKAGE)
    listed = python(tmp_path, "-m", "convsmith.cli.main", "techniques", "half")
    assert listed.stdout.startswith("schedule half(share)\n  A share of the rate."), listed.stderr
    code = (
        "import sys; from convsmith import catalog, recipe\n"
        "assert catalog.build('schedule', 'cosine') and 'half_schedules' not in sys.modules\n"
        "found = recipe.load(overrides=['schedule.halved.share=0.25'])\n"
        "assert found.schedule == {'half': {'share': 0.25}}, found.schedule\n"
        "assert catalog.build('schedule', found.schedule)(1, 2) == 0.25\n"
    )
    used = python(tmp_path, "-c", code)
    assert used.returncode == 0, used.stderr


def test_a_broken_package_is_one_sentence(tmp_path: Path) -> None:
    installed(tmp_path, "half-schedules", "half_schedules", PACKAGE)
    installed(tmp_path, "rubble", "rubble", "import nothing_of_this_name\n")
    installed(tmp_path, "thief", "thief", PACKAGE.replace('"half"', '"cosine"'))
    assert python(tmp_path, "-m", "convsmith.cli.main", "--help").returncode == 0
    listed = python(tmp_path, "-m", "convsmith.cli.main", "techniques")
    assert listed.returncode == 0
    assert "half of the rate" in listed.stdout
    said = " ".join(listed.stderr.split())
    assert (
        "the techniques of the installed package rubble are left out, since rubble can't be imported "
        "(No module named 'nothing_of_this_name'); mend or uninstall it" in said
    )
    assert "there is a schedule 'cosine' already" in said
    assert "Traceback" not in said
    missing = python(
        tmp_path, "-c", "from convsmith import catalog; catalog.card('schedule', 'nothing')"
    ).stderr
    assert "UserError: there is no schedule 'nothing'" in missing
    assert "installed package rubble" in missing


def test_the_page_about_own_techniques_runs(tmp_path: Path) -> None:
    """Its Python blocks, one after another, as a script."""
    page = (Path(__file__).parents[1] / "docs/own_techniques.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) == 2
    (tmp_path / "script.py").write_text("\n".join(blocks))
    answer = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "focal" in (tmp_path / "run/recipe.yaml").read_text()
    assert "train_focal" in (tmp_path / "run/metrics.csv").read_text().splitlines()[0]


def test_a_net_of_an_own_technique_opens_where_its_definition_has_not_run(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", classes=2, images=8)
    known = dict(register._REGISTER.cards), dict(register._REGISTER.targets)

    @technique("activation", "twice", source="a test", use="never")
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (2 * x).relu()

    run = cs.train(
        images,
        out=tmp_path / "run",
        set=["model={lenet300_100: {activation: twice}}", "train.epochs=1", "train.device=cpu"],
    )
    image = images / "class0/000.png"
    before = cs.load(run.path).predict(image)
    register._REGISTER.cards, register._REGISTER.targets = known
    assert cs.load(run.path).predict(image) == before
    with pytest.raises(UserError, match="activation 'twice'.*its definition has run"):
        cs.train(out=run.path, resume=True)
