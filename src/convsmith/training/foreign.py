"""Weight files as people have them: of torch, torchvision, timm, Lightning; opened as data."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convsmith.errors import UserError, shown
from convsmith.inference import model_file

# Keys under which trainers keep the weights, an average of them first: it is what they evaluate.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "params_ema",
    "ema",
    "shadow",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
AVERAGES = WRAPPERS[:6]
# Keys under which trainers keep the names of the classes: a list, or numbers by name, or names by number.
CLASSES = (
    "classes",
    "class_names",
    "names",
    "labels",
    "class_to_idx",
    "idx_to_class",
    "id2label",
    "label2id",
)
# Wrappers within wrappers that are looked into.
DEEP = 4
COUNTER = "num_batches_tracked"
# What an average of the parameters lacks, where it is one of parameters alone.
RUNNING = ("running_mean", "running_var")


# How torch's warnings of other protocols, programs, sparse and quantized tensors begin.
TORCHS = (
    "Detected pickle protocol",
    ".*looks like a TorchScript archive",
    "Validating sparse tensor invariants",
    "TypedStorage is deprecated",
)


@dataclass(frozen=True)
class Foreign:
    """Tensors of a file by its own names, the keys that they lay under, and its classes, if it says them."""

    tensors: dict[str, Tensor]
    within: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None


def opened(file: Path) -> Foreign:
    """The tensors of a safetensors file or of a torch file, which is opened with ``weights_only=True``.

    Raises:
        UserError: if it is missing, damaged, or holds anything but tensors and plain values.
    """
    if not file.is_file():
        raise UserError(f"{shown(file)} is a folder without a model; name the weight file in it")
    with open(file, "rb") as stream:
        start = stream.read(64)
    if file.suffix == ".safetensors" or not _is_torchs(start):
        _refuse_text(file, start)
        try:
            return Foreign(model_file.tensors_of(file)[0])
        except UserError:
            if file.suffix == ".safetensors":
                raise
            raise UserError(
                f"{shown(file)} is no weight file: it is neither a safetensors file nor what torch.save "
                f"writes"
            ) from None
    return _inside(_read(file), file)


def _is_torchs(start: bytes) -> bool:
    """Whether a file begins as torch.save writes it: a zip archive, or a pickle."""
    return start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"


def _refuse_text(file: Path, start: bytes) -> None:
    """Refuse what downloads leave in a file's place: a page, or a pointer of git-lfs."""
    text = start.lstrip().lower()
    if not start:
        raise UserError(f"{shown(file)} is empty; download it again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(f"{shown(file)} is a web page, not the weights; download the file itself")
    if text.startswith(b"version https://git-lfs"):
        raise UserError(f"{shown(file)} is a pointer of git-lfs; fetch the file with: git lfs pull")


@contextmanager
def unsaid() -> Iterator[None]:
    """Within it torch doesn't warn of what is refused in a sentence here, or opens all the same."""
    with warnings.catch_warnings():
        for message in TORCHS:
            warnings.filterwarnings("ignore", message)
        yield


def _read(file: Path) -> Any:
    try:
        with unsaid():
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):
            raise UserError(
                f"{shown(file)} was pickled in a newer protocol than torch reads without running code; save "
                f"it again with torch's own: torch.save(model.state_dict(), FILE)"
            ) from None
        raise UserError(
            f"{shown(file)} holds more than tensors ({_named(str(error))}), and opening such a file may run "
            f"code; save its state_dict alone: torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:  # zip, pickle and torch raise a dozen kinds on damaged files
        if "TorchScript" in str(error) or _is_script(file):
            raise UserError(
                f"{shown(file)} is a TorchScript program, not weights; save the model's state_dict in the "
                f"place of it"
            ) from None
        first = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise UserError(f"{shown(file)} is damaged ({first}); restore it from a copy") from None


def _is_script(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _named(error: str) -> str:
    """What torch says it would have to unpickle, without its advice to do so."""
    for word in ("GLOBAL ", "Unsupported class ", "type "):
        _, found, rest = error.partition(word)
        if found:
            return rest.split()[0].rstrip(".,")
    return "Python objects"


def _inside(content: Any, file: Path) -> Foreign:
    """The dictionary of tensors that a trainer evaluates, by the keys under which trainers keep it.

    An average that holds no tensors by name, or parameters alone, is completed from the weights beside it.
    """
    if isinstance(content, Tensor):
        raise UserError(f"{shown(file)} holds one tensor, of shape {tuple(content.shape)}, not a whole net")
    places = list(_places(content))
    if not places:
        held = (
            f"the keys {', '.join(map(str, list(content)[:5]))}"
            if isinstance(content, Mapping)
            else f"a {type(content).__name__}"
        )
        raise UserError(f"{shown(file)} holds no tensors by name, but {held}; give a state_dict")
    first = places[0]
    for other in places[1:]:
        running = {key: v for key, v in other.tensors.items() if key.rpartition(".")[2] in RUNNING}
        first = Foreign({**running, **first.tensors}, first.within)
    for key, value in first.tensors.items():
        _refuse_unusable(key, value, file)
    return replace(first, classes=_classes(content))


def _refuse_unusable(key: str, value: Tensor, file: Path) -> None:
    """Refuse tensors that hold no weights a net could compute with."""
    if value.is_quantized or value.is_sparse:
        raise UserError(f"{shown(file)} holds quantized or sparse tensors; give the weights as floats")
    if value.is_meta:
        raise UserError(
            f"{shown(file)} holds shapes without numbers (meta tensors, as {key}); save the net after its "
            f"weights were loaded"
        )
    if value.is_complex():
        raise UserError(f"{shown(file)} holds complex numbers ({key}); nets here compute with real ones")
    counts = key.endswith(COUNTER) or value.ndim == 0
    if (
        not value.is_floating_point()
        and not counts
        and key.rpartition(".")[2] in ("weight", "bias", *RUNNING)
    ):
        raise UserError(
            f"{shown(file)} holds whole numbers as weights ({key}, {value.dtype}); give them as floats"
        )


def _classes(content: Any) -> tuple[str, ...] | None:
    """Names of the outputs, as trainers keep them beside the weights; None if there are none."""
    for key in CLASSES:
        found = content.get(key) if isinstance(content, Mapping) else None
        if isinstance(found, Mapping):
            pairs = [(v, k) if isinstance(v, int) else (_number(k), v) for k, v in found.items()]
            if pairs and all(isinstance(n, int) and isinstance(name, str) for n, name in pairs):
                return tuple(name for _, name in sorted(pairs))
        elif isinstance(found, list | tuple) and found and all(isinstance(name, str) for name in found):
            return tuple(found)
    return None


def _number(key: Any) -> Any:
    """A number that is written as a text, as JSON writes keys."""
    return int(key) if isinstance(key, str) and key.isdigit() else key


def _places(content: Any, within: tuple[str, ...] = ()) -> Iterator[Foreign]:
    """Dictionaries of tensors, those first that :data:`WRAPPERS` names first; the outermost one last."""
    if not isinstance(content, Mapping):
        return
    if len(within) < DEEP:
        for key in WRAPPERS:
            yield from _places(content.get(key), (*within, key))
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if any(value.ndim for value in tensors.values()):
        yield Foreign(tensors, within)
