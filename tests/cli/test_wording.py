"""Arguments in the library's sentences, options in the command line's."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import typer

import convsmith
from convsmith.cli import output
from convsmith.cli.main import app
from convsmith.cli.wording import FLAGS, SECTIONS, as_flags, in_flags
from convsmith.recipe import Recipe
from convsmith.reports.fill import code

SRC = Path(convsmith.__file__).parent


def literals(file: Path) -> list[str]:
    """Texts of a module that aren't docstrings, with X for what is filled in."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    left = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    left |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(v.value if isinstance(v, ast.Constant) else "X" for v in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left:
            texts.append(node.value)
    return texts


def test_the_library_names_arguments_not_options() -> None:
    files = [file for file in SRC.rglob("*.py") if file.parent.name != "cli"]
    texts = {(file.name, text) for file in files for text in literals(file)}
    assert len(texts) > 1000
    assert [found for found in texts if re.search(r"(?<![\w-])--[a-z]", found[1])] == []
    pages = [file for file in SRC.rglob("*.html") if re.search(r"(?<![\w(-])--[a-z]", file.read_text())]
    assert pages == []


def test_no_sentence_doubles_a_word() -> None:
    """Every text with backticks, translated: no "set --set", no key that stays behind."""
    texts = {text for file in SRC.rglob("*.py") if file.parent.name != "cli" for text in literals(file)}
    # The rest are regular expressions, and overrides of any key.
    said = {text for text in texts if re.search(r"`[\w.]+`|`[^`]+[=(][^`]+`", text) and "`X`" not in text}
    sentences = [as_flags(text) for text in said if not text.startswith("`([^`")]
    assert len(sentences) > 30
    for sentence in sentences:
        assert not re.search(r"\b(set|with|use) --set --|\bset --set", sentence), sentence
        assert "`" not in sentence, sentence


def test_every_option_has_its_argument() -> None:
    command = typer.main.get_command(app)
    for name, sub in command.commands.items():  # type: ignore[attr-defined]
        for option in sub.params:
            flags = [flag for flag in option.opts if flag.startswith("--")]
            if flags and option.name not in ("help", "version"):
                assert FLAGS.get(option.name) in flags, (name, option.name)
    assert set(Recipe.model_fields) <= set(SECTIONS)


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("go on with `resume`, or choose another `out`", "go on with --resume, or choose another --out"),
        ("`apply` and `out=NEWRUN` go together", "--apply and --out NEWRUN go together"),
        ("`start_from=timm:resnet18` begins", "--from timm:resnet18 begins"),
        ("train with `start_from=my runs/a`", "train with --from 'my runs/a'"),
        ("`resume=True`", "--resume"),
        ("drop it with `data.exclude=[3]`", "drop it with --set 'data.exclude=[3]'"),
        ("drop it with `data.exclude=[it's]`", "drop it with --set " + shlex.quote("data.exclude=[it's]")),
        ("let the rate fall: `schedule=cosine`", "let the rate fall: --set schedule=cosine"),
        ("Set `train.clip=1` or wait", "--set train.clip=1 or wait"),
        ("set `out`", "set --out"),
        ("`model=resnet20`", "--model resnet20"),
        ("`model={resnet20: {widt: 1}}`: no", "--set 'model={resnet20: {widt: 1}}': no"),
        ("`objective.timm:a.b=null`", "--set objective.timm:a.b=null"),
        ("with: `cs.train(out='a b', resume=True)`", "with: convsmith train --out 'a b' --resume"),
        (
            "with: `cs.response_maps(RUN, 'maps.npz')`",
            "with: convsmith inspect RUN --response-maps maps.npz",
        ),
        ("`cs.train(` is left", "`cs.train(` is left"),
        ("`cs.version` is left", "`cs.version` is left"),
        ("a `softmax`, `x=3` and `a.b` are left", "a `softmax`, `x=3` and `a.b` are left"),
        ("one ` alone", "one ` alone"),
    ],
)
def test_translations(sentence: str, said: str) -> None:
    assert as_flags(sentence) == said


def test_json_has_options_in_sentences_and_words_in_set(capsys: pytest.CaptureFixture[str]) -> None:
    finding = dict.fromkeys(("seen", "means", "change", "why", "source"), "`train.clip=1`")
    given = {"next": {"findings": [finding | {"set": ["train.clip=1"], "epochs": (1, 2)}]}, "out": "`out`"}
    before = json.dumps(given)
    output.as_json(given)
    (found,) = json.loads(capsys.readouterr().out)["next"]["findings"]
    assert {found[key] for key in ("seen", "means", "change", "why")} == {"--set train.clip=1"}
    assert found["set"] == ["train.clip=1"]
    assert in_flags(given)["out"] == "`out`"
    assert json.dumps(given) == before


def test_pages_show_code_and_escape_it() -> None:
    assert code("<b> `a=<i>` & `") == "&lt;b&gt; <code>a=&lt;i&gt;</code> &amp; `"
