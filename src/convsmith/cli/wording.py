"""The library's sentences in the command line's words: arguments become options, recipe keys become --set."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

# Options that have the name of their argument.
_SAME = (
    "apply",
    "auto",
    "by",
    "classes",
    "costs",
    "device",
    "devices",
    "draws",
    "epochs",
    "features",
    "high",
    "images",
    "input",
    "json",
    "low",
    "minutes",
    "model",
    "nodes",
    "out",
    "precision",
    "recipe",
    "resume",
    "sample",
    "seed",
    "side",
    "set",
    "split",
    "steps",
    "strategy",
    "top",
    "write",
)
# The option of each argument.
FLAGS = {
    **{name: f"--{name}" for name in _SAME},
    "data": "DATA",
    "layer": "--layer",
    "layers": "--layer",
    "response_maps": "--response-maps",
    "run": "RUN",
    "score_map": "--score-map",
    "shape": "--input",
    "start_from": "--from",
}
# A recipe's sections; a choice may stand after one of them without a dot.
SECTIONS = ("compress", "data", "ensemble", "model", "objective", "optimizer", "schedule", "train")
# Verbs of the library that are an option of another command.
COMMANDS = {
    "response_maps": "inspect {} --response-maps {}",
    "features": "inspect {} --features {} --out {}",
    "score_map": "predict {} {} --score-map {}",
}
_KEY = re.compile(r"[A-Za-z_][\w:-]*(\.[\w:-]+)*")
_CODE = re.compile(r"(\b[Ss]et )?`([^`\n]+)`")
# What a finding says in sentences; its `set` are words for --set already.
_SENTENCES = ("seen", "means", "change", "why")


def as_flags(sentence: str) -> str:
    """Translate what stands in backticks: arguments, recipe keys with a value, and calls of verbs.

    >>> as_flags("choose another `out`, or set `train.clip=1`")
    'choose another --out, or --set train.clip=1'
    >>> as_flags("drop it with `data.exclude=[3]`; or `start_from=runs/my run`")
    "drop it with --set 'data.exclude=[3]'; or --from 'runs/my run'"
    >>> as_flags('go on with `cs.train(out="runs/a", resume=True)`')
    'go on with convsmith train --out runs/a --resume'
    >>> as_flags("`softmax` stays")
    '`softmax` stays'
    """
    return _CODE.sub(_translated, sentence)


def in_flags(content: Any) -> Any:
    """A result for JSON, with the sentences of its findings translated at any depth.

    >>> in_flags({"findings": [{"seen": "`out`", "set": ["train.clip=1"]}]})
    {'findings': [{'seen': '--out', 'set': ['train.clip=1']}]}
    """
    if isinstance(content, dict):
        sentences = _SENTENCES if "seen" in content else ("stopped",)
        return {
            key: as_flags(value) if key in sentences and isinstance(value, str) else in_flags(value)
            for key, value in content.items()
        }
    return [in_flags(value) for value in content] if isinstance(content, list | tuple) else content


def _translated(found: re.Match[str]) -> str:
    before, word = found[1] or "", found[2]
    if word.startswith("cs."):
        command = _command(word)
        return found[0] if command is None else before + command
    name, equals, value = word.partition("=")
    whole_model = name == "model" and value.startswith("{")
    if name in FLAGS and not whole_model:
        worth = "" if not equals or value == "True" else f" {shlex.quote(value)}"
        return f"{before}{FLAGS[name]}{worth}"
    if equals and _KEY.fullmatch(name) and name.partition(".")[0] in SECTIONS:
        return f"--set {shlex.quote(word)}"  # "set" itself is in the option
    return found[0]


def _command(text: str) -> str | None:
    """Turn a call such as ``cs.train(out="runs/a")`` into a command; None if the text is no call."""
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    verb, given = call.func.attr, [_shell(value) for value in call.args]
    if verb in COMMANDS:
        return f"convsmith {COMMANDS[verb].format(*given)}"
    for keyword in call.keywords:
        value = _shell(keyword.value)
        given.append(FLAGS.get(keyword.arg or "", "") + ("" if value == "True" else f" {value}"))
    return " ".join(["convsmith", verb.replace("_", "-"), *given])


def _shell(value: ast.expr) -> str:
    """A constant quoted for the shell; a name such as RUN as it stands."""
    return shlex.quote(str(value.value)) if isinstance(value, ast.Constant) else ast.unparse(value)
