"""The recipe: everything a run does, as typed YAML with the reasons kept as comments."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from convsmith import catalog
from convsmith.errors import UserError, nearest

Section = str | dict[str, Any]
Keys = tuple[str, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Normalize(_Strict):
    """By the training split's mean pixel or mean image, or as the net that is started from was trained."""

    mean: Literal["pixel", "image", "source"] = "pixel"
    std: bool = True


class Imbalance(_Strict):
    """A long tail made of the training split: the first class has ``ratio`` times the images of the last."""

    type: Literal["exp", "step"] = "exp"
    ratio: Annotated[float, Ge(1)] = 100.0


class LabelNoise(_Strict):
    """A share of wrong labels in the training split: any other class alike, or the next one."""

    type: Literal["symmetric", "pair"] = "symmetric"
    rate: Annotated[float, Ge(0), Le(1)] = 0.2


class Data(_Strict):
    """Where the images are and how they reach the net."""

    path: str | None = None
    size: Annotated[int, Ge(4), Le(4096)] | None = None
    stored: Annotated[int, Ge(4), Le(4096)] | None = None
    val: Annotated[float, Gt(0), Lt(1)] = 0.2
    batch_size: Annotated[int, Ge(1)] | None = None
    target: Section | None = None
    sampler: Section = "shuffle"
    augment: dict[str, Any] | None = None
    crops: Annotated[int, Ge(1)] = 1
    normalize: Normalize = Normalize()
    exclude: list[str] = []
    costs: Section | None = None
    imbalance: Imbalance | None = None
    label_noise: LabelNoise | None = None
    memory: Annotated[float, Ge(0), Le(1)] = 0.5
    disk: Annotated[float, Ge(0), Le(1)] = 0.5
    workers: Annotated[int, Ge(0)] | None = None


class EarlyStopping(_Strict):
    patience: Annotated[int, Ge(1)] = 10


class Ema(_Strict):
    decay: Annotated[float, Gt(0), Lt(1)] = 0.999


class Train(_Strict):
    """How long, how precisely and on what the net is trained."""

    epochs: Annotated[int, Ge(1)] = 30
    start_from: str | None = None
    finetune: Section | None = None
    refit: Literal["interpolate", "new", "fully_convolutional"] = "interpolate"
    seed: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Annotated[int, Ge(1)] = 1
    nodes: Annotated[int, Ge(1)] = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"] | None = None
    channels_last: bool = True
    compile: bool = False
    accumulate: Annotated[int, Ge(1)] = 1
    clip: Annotated[float, Gt(0)] | None = None
    ema: Ema | None = None
    early_stopping: EarlyStopping | None = None
    auto: bool = False
    checkpoint_minutes: Annotated[float, Ge(0)] = 10.0
    tensorboard: bool = False


class Recipe(_Strict):
    """All sections. A technique is written ``{name: {argument: value}}``, or its bare name."""

    data: Data = Data()
    model: Section | None = None
    objective: dict[str, Any] = {"cross_entropy": {}, "l2": {"weight": 5e-4}}
    optimizer: Section | None = None
    schedule: Section = {"cosine": {"warmup": 1}}
    train: Train = Train()


# Which sections name techniques: one choice, or a set of them.
_CHOICE: dict[Keys, str] = {
    ("model",): "model",
    ("optimizer",): "optimizer",
    ("schedule",): "schedule",
    ("data", "sampler"): "sampler",
    ("data", "target"): "target",
    ("data", "costs"): "cost",
    ("train", "finetune"): "finetuning",
}
_SET: dict[Keys, tuple[str, ...]] = {
    ("objective",): ("term", "regularizer"),
    ("data", "augment"): ("augmentation",),
}


def load(file: str | Path | None = None, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and apply overrides ``a.b=c`` to it.

    Args:
        file: a YAML file, or None for the defaults.
        overrides: as after ``--set`` on the command line, applied in order. Naming another choice in
            ``model``, ``optimizer`` or ``schedule`` replaces the choice; ``objective`` and
            ``data.augment`` are sets, into which a name is merged and from which ``name=null`` takes it.

    Raises:
        UserError: on anything unknown or out of range, with the file's line and the nearest right word.

    >>> load(overrides=["optimizer.adam.lr=0.001"]).optimizer
    {'adam': {'lr': 0.001}}
    """
    tree: dict[str, Any] = {}
    where: dict[Keys, str] = {}
    if file is not None:
        tree, where = _read(Path(file))
    for override in overrides:
        _override(tree, override, where)
    return _validated(tree, where)


def _read(file: Path) -> tuple[dict[str, Any], dict[Keys, str]]:
    """The file's content, and for each key the place ``file:line`` where it stands."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the recipe {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"the recipe {file} is not UTF-8 text") from None
    try:
        content = YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or "broken YAML").splitlines()[0]
        raise UserError(f"{file}{line}: not valid YAML: {problem}") from None
    if content is None:
        content = CommentedMap()
    if not isinstance(content, CommentedMap):
        raise UserError(f"{file}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}")
    where: dict[Keys, str] = {}
    return _plain(content, (), str(file), where), where


def _plain(node: Any, keys: Keys, file: str, where: dict[Keys, str]) -> Any:
    if isinstance(node, CommentedMap):
        for key in node:
            where[*keys, str(key)] = f"{file}:{node.lc.key(key)[0] + 1}"
        return {str(key): _plain(value, (*keys, str(key)), file, where) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value, keys, file, where) for value in node]
    # ruamel's numbers remember their spelling; a recipe wants the numbers.
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node


def _override(tree: dict[str, Any], override: str, where: dict[Keys, str]) -> None:
    path, equals, text = override.partition("=")
    keys = tuple(key.strip() for key in path.split("."))
    if not equals or not all(keys):
        raise UserError(f"--set takes key.key=value, e.g. --set optimizer.sgd.lr=0.05; got {override!r}")
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError:
        raise UserError(f"--set {override}: {text!r} is not a YAML value") from None
    here = tree
    for depth, key in enumerate(keys[:-1], start=1):
        inner = here.get(key)
        if inner is None:
            # Only what names techniques is merged with its default: the rest stays open, to be chosen.
            named = any(keys[:length] in _CHOICE or keys[:length] in _SET for length in range(1, depth + 1))
            inner = _default(keys[:depth]) if named else {}
        if isinstance(inner, str):
            inner = {inner: {}}
        if keys[:depth] in _CHOICE and set(inner) != {keys[depth]}:
            inner = {}
        if not isinstance(inner, dict):
            raise UserError(f"--set {override}: {'.'.join(keys[:depth])} is a value, not a section")
        here[key] = inner
        here = inner
    if value is None and keys[:-1] in _SET:
        here.pop(keys[-1], None)
    else:
        here[keys[-1]] = value
    for depth in range(1, len(keys) + 1):
        where.setdefault(keys[:depth], f"--set {override}")


def _default(keys: Keys) -> Any:
    node: Any = Recipe().model_dump()
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return {} if node is None else node


def _validated(tree: dict[str, Any], where: dict[Keys, str]) -> Recipe:
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise UserError(_sentence(error, where)) from None
    for keys, kind in _CHOICE.items():
        spec = _at(recipe, keys)
        if spec is not None:
            _check((kind,), spec, keys, where)
    for keys, kinds in _SET.items():
        for name, arguments in (_at(recipe, keys) or {}).items():
            _check(kinds, {name: arguments}, keys, where)
    if not recipe.objective:
        raise UserError(
            _place(("objective",), where) + "objective needs at least one term, e.g. cross_entropy"
        )
    return recipe


def _at(recipe: Recipe, keys: Keys) -> Any:
    node: Any = recipe
    for key in keys:
        node = getattr(node, key)
    return node


def _check(kinds: tuple[str, ...], spec: Section, keys: Keys, where: dict[Keys, str]) -> None:
    try:
        catalog.validate(kinds[0] if len(kinds) == 1 else catalog.kind_of(next(iter(spec)), kinds), spec)
    except UserError as error:
        # The deepest key that the message names carries the line.
        text = str(error)
        named = [k for k in where if k[: len(keys)] == keys and (repr(k[-1]) in text or f" {k[-1]}=" in text)]
        place = max(named, key=len) if named else keys
        raise UserError(_place(place, where) + str(error)) from None


def _sentence(error: ValidationError, where: dict[Keys, str]) -> str:
    problem = error.errors()[0]
    fields = _fields_along(problem["loc"])
    keys = tuple(str(part) for part in problem["loc"][: len(fields)])
    dotted = ".".join(keys)
    place = _place(keys, where)
    if problem["type"] == "extra_forbidden":
        parent = ".".join(keys[:-1]) or "the recipe"
        return f"{place}unknown key {keys[-1]!r} in {parent}{nearest(keys[-1], fields[-1])}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{place}{dotted}={problem['input']!r} is not valid: {message}"


def _fields_along(loc: tuple[int | str, ...]) -> list[list[str]]:
    """For each part of a pydantic location that is a recipe key, the keys allowed at its place."""
    model: Any = Recipe
    allowed = []
    for part in loc:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            break
        allowed.append(list(model.model_fields))
        field = model.model_fields.get(str(part))
        inner = [a for a in getattr(field and field.annotation, "__args__", ()) if isinstance(a, type)]
        model = next((a for a in inner if issubclass(a, BaseModel)), field and field.annotation)
    return allowed


def _place(keys: Keys, where: dict[Keys, str]) -> str:
    while keys and keys not in where:
        keys = keys[:-1]
    return f"{where[keys]}: " if keys else ""


def dump(recipe: Recipe, reasons: Mapping[str, str] | None = None) -> str:
    """The recipe as YAML; ``reasons`` are written as comments behind their dotted keys.

    >>> print(dump(Recipe(model="lenet5"), {"model": "small grey images"}).splitlines()[0:1])
    ['data:']
    """
    tree = _commented(recipe.model_dump(exclude_none=True))
    for dotted, reason in (reasons or {}).items():
        *parents, last = dotted.split(".")
        node: Any = tree
        for key in parents:
            node = node.get(key, {})
        if isinstance(node, CommentedMap) and last in node:
            lines = node[last] if isinstance(node[last], CommentedMap) else None
            if lines:
                node.yaml_set_comment_before_after_key(last, before=reason, indent=2 * len(parents))
            else:
                node.yaml_add_eol_comment(reason, last)
    text = io.StringIO()
    writer = YAML(typ="rt")
    writer.width = 100
    writer.dump(tree, text)
    return text.getvalue()


def _commented(node: Any) -> Any:
    if isinstance(node, Mapping):
        return CommentedMap((key, _commented(value)) for key, value in node.items())
    return node
