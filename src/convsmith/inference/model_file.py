"""The one door of every net: ``model.safetensors`` with ``model.json`` beside it, written and read here.

``model.json`` says what the net is: a name of the catalogue with its arguments (``spec``), a program, or
members that answer together. The weight file carries the same description and a digest of both, so that it
opens alone, and so that a description beside other weights is noticed. Both hold data only, no code.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from convsmith import catalog
from convsmith.data.atomic import write as write_file
from convsmith.data.signature import Signature
from convsmith.errors import UserError, expect, shown
from convsmith.findings import Finding
from convsmith.inference.answers import refuse_nonfinite
from convsmith.inference.ensemble import Ensemble
from convsmith.inference.pipeline import Pipeline
from convsmith.inference.predictor import Predictor
from convsmith.inference.structure import Structure, check, inside, net_of, normalizer_of, structure_of

# Format 3 says how pictures are made square, or which values are black and white: a reader of format 2 would
# pass that over, so that what needs it is written as 3, and all else as 2.
FORMAT = 3
# Format 1 left out an argument at its default; these defaults have changed since. Format 2 names them all.
DEFAULTS_THEN: Mapping[str, Mapping[str, Any]] = {"nin": {"pooling": "max"}}
DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"


# ---- writing


@dataclass(frozen=True)
class Draft:
    """What a predictor's file will say, decided once: in a training only the weights change afterwards."""

    description: Mapping[str, Any]
    structure: Structure

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the net does in training and its file doesn't carry, with the layers' names."""
        return self.structure.findings

    def write(self, folder: str | Path, predictor: Predictor) -> Path:
        """Write ``predictor``, a net of this structure, to a folder.

        Raises:
            OSError: if it can't be written; what was there before is whole then.
        """
        place = Path(folder).expanduser()
        text = json.dumps(self.description, indent=1) + "\n"
        content = _packed(self.structure.tensors(predictor.net), text)
        beside = place / DESCRIPTION
        # The weights first: they open alone, whatever is beside them.
        write_file(place / WEIGHTS, content)
        if not beside.exists() or beside.read_text(encoding="utf-8", errors="replace") != text:
            write_file(beside, text)
        return place / WEIGHTS


def draft(predictor: Predictor) -> Draft:
    """Find out how a predictor's net can be written, and prove it: what is read back gives equal outputs.

    Raises:
        UserError: if the net can't be written, with the layer's name.
    """
    structure = _structure(predictor)
    description = {"format": predictor.signature.since, "net": structure.net, **predictor.signature.to_json()}
    found = Draft(description, structure)
    text = json.dumps(description)
    tensors, _ = _unpacked(_packed(structure.tensors(predictor.net), text), Path(WEIGHTS))
    again = _opened(json.loads(text), tensors, Path(WEIGHTS))
    check(predictor.net, again.net, predictor.size, predictor.channels, len(predictor.classes))
    return found


def _structure(predictor: Predictor) -> Structure:
    try:
        return structure_of(predictor.net)
    except UserError:
        raise
    except (RuntimeError, ValueError) as error:  # torch's, of a net that answers no image of this size
        first = str(error).splitlines()[0]
        raise UserError(
            f"the net can't answer an image of {predictor.size}x{predictor.size} pixels: {first}; take "
            f"larger images with `data.size={2 * predictor.size}`, or another net"
        ) from None


def write(folder: str | Path, predictor: Predictor) -> Path:
    """Write a net with its preprocessing and classes; an older one in its place stays until all is well.

    A net that the catalogue builds is written as its name; any other (pruned, factorized, masked, your own)
    as a program, if it can be exported: :func:`convsmith.nn.trace.trace` says what can't. What of its
    training a program can't carry (random depth, a backward pass of its own) is a warning with the layers'
    names.

    Args:
        folder: made if it isn't there; a net of convsmith's in it is replaced, another file never.
        predictor: stays as it is.

    Returns:
        the weight file, which opens alone.

    Raises:
        UserError: if the net can't be written, or the place can't, or holds such files of another's.
    """
    place = Path(folder).expanduser()
    for file in (place / DESCRIPTION, place / WEIGHTS):
        if os.path.lexists(file) and not _ours(file):
            raise UserError(
                f"{shown(file)} is there already, and isn't convsmith's; choose another folder, or move it"
            )
    made = draft(predictor)
    for finding in made.findings:
        warnings.warn(str(finding), stacklevel=2)
    try:
        place.mkdir(parents=True, exist_ok=True)
        return made.write(place, predictor)
    except OSError as error:
        raise UserError(f"cannot write {shown(place)} ({error.strerror}); choose another folder") from None


def _ours(file: Path) -> bool:
    """Whether one of a model's two files is what convsmith wrote, of any format."""
    try:
        if file.name == WEIGHTS and "convsmith" in _notes(file):
            return True
        # Weights of the first format say nothing of themselves.
        text = file.with_name(DESCRIPTION).read_text(encoding="utf-8")
        return _parsed(text, file)["format"] == 1 or file.name == DESCRIPTION
    except (OSError, ValueError, RecursionError):
        return False


def _notes(file: Path) -> Mapping[str, str]:
    """The notes in the header of a safetensors file; none in another file."""
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length)) if length < file.stat().st_size else {}
    return dict(header.get("__metadata__") or {}) if isinstance(header, dict) else {}


def _packed(tensors: Mapping[str, Tensor], text: str) -> bytes:
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One note: several come in any order, and the same net would not give the same bytes.
    content: bytes = to_bytes(own, {"convsmith": f"{_digest(own, text)}\n{text}"})
    return content


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """XXH3-128 of the description, and of the tensors' names, types, shapes and bytes."""
    digest = xxhash.xxh3_128(text.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return str(digest.hexdigest())


# ---- reading


def load(path: str | os.PathLike[str]) -> Predictor:
    """Open a run, a model folder, or a weight file of convsmith.

    Raises:
        UserError: if it isn't there, is damaged, or is no file of convsmith.
    """
    expect("model", path, (str, os.PathLike), "the place of a run, a model folder or a weight file")
    place = Path(path).expanduser()
    try:
        there, folder = place.exists(), place.is_dir()
    except OSError as error:
        raise UserError(f"{shown(place)} can't be read ({error.strerror}); name a run or a file") from None
    if not there:
        raise UserError(f"there is no run or model file {shown(place)}")
    weights = place / WEIGHTS if folder else place
    beside = weights.parent / DESCRIPTION
    if folder and not weights.exists():
        raise UserError(f"{shown(place)} holds no trained model: {WEIGHTS} is missing")
    tensors, text = tensors_of(weights)
    predictor = _opened(_description(text, beside, place), tensors, place)
    _tried(predictor, place)
    return predictor


def _tried(predictor: Predictor, place: Path) -> None:
    """Let a net from a file answer once: a description may call layers and operations with anything."""
    try:
        shape = (1, predictor.size, predictor.size, predictor.channels)
        outputs = predictor.outputs(torch.zeros(shape, dtype=torch.uint8))
        if tuple(outputs.shape) != (1, len(predictor.classes)):
            raise ValueError(f"the net gives {tuple(outputs.shape)} for {len(predictor.classes)} classes")
        refuse_nonfinite(outputs.numpy())
        predictor.answers(outputs, top=1)
    except UserError as error:
        raise UserError(f"{shown(place)}: {error}") from None
    except Exception as error:  # whatever a foreign description makes torch raise
        raise _unfit(place, error) from None


def _unfit(place: Path, reason: Exception) -> UserError:
    first = (str(reason).splitlines() or [type(reason).__name__])[0][:200]
    return UserError(
        f"{shown(place)}: model.json and the weights don't fit together ({first}); restore both from a copy, "
        f"or train again"
    )


def describes(path: str | Path) -> bool:
    """Whether a place holds a net that says what it is: a run, a model folder, or a weight file of ours."""
    place = Path(path).expanduser()
    weights = place / WEIGHTS if place.is_dir() else place
    if not weights.is_file():
        return False
    try:
        return (weights.parent / DESCRIPTION).exists() or tensors_of(weights)[1] is not None
    except UserError:
        return False


def _description(text: str | None, beside: Path, place: Path) -> Mapping[str, Any]:
    """What the file beside the weights says, which must be the one that they were written with."""
    if not beside.exists():
        if text is None:
            raise UserError(f"{shown(place)} holds no trained model: {beside.name} is missing")
        return _parsed(text, place)
    try:
        own = beside.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(beside)} is damaged ({error}); delete it, or restore it") from None
    found = _parsed(own, beside)
    if text is not None and _parsed(text, place) != found:
        raise UserError(
            f"{shown(beside)} is not the description that these weights were written with; restore it, or "
            f"delete it: {place.name if place != beside.parent else WEIGHTS} carries its own"
        )
    if text is None and found.get("format") != 1:
        raise UserError(
            f"{shown(place)} is not the weight file that {beside.name} was written with; restore it from a "
            f"copy"
        )
    return found


def _parsed(text: str, place: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shown(place)} is damaged ({error}); train again, or restore it") from None
    number = found.get("format") if isinstance(found, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(
            f"{shown(place)} is no description of a net: it has no format; restore it from a copy"
        )
    if number > FORMAT:
        raise UserError(
            f"{shown(place)} was written by a newer convsmith (format {number}, this one reads up to "
            f"{FORMAT}); upgrade with: pip install -U convsmith"
        )
    return dict(found)


def _opened(description: Mapping[str, Any], tensors: Mapping[str, Tensor], place: Path) -> Predictor:
    try:
        signature = Signature.from_json(description)
        if description["format"] == 1:
            net: Pipeline | Ensemble = _first_format(description, signature, tensors)
        else:
            net = net_of(description["net"], tensors)
        predictor = Predictor(net.eval(), signature)
        _ = predictor.encoding
        return predictor
    except UserError:
        raise
    except Exception as error:  # whatever a foreign description makes torch raise
        raise _unfit(place, error) from None


def _first_format(
    description: Mapping[str, Any], signature: Signature, tensors: Mapping[str, Tensor]
) -> Pipeline:
    """A net of the catalogue by its recipe's section: all that convsmith 0.1 wrote."""
    name, arguments = catalog.split("model", description["model"])
    spec = {name: {**DEFAULTS_THEN.get(name, {}), **arguments}}
    given = {"in_channels": signature.channels, "size": signature.size}
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = catalog.build("model", spec, num_classes=len(signature.classes), **given)
    model.load_state_dict(inside(tensors, "model."))
    return Pipeline(model.to(memory_format=torch.channels_last), normalizer_of(tensors), signature.size)


def tensors_of(file: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a safetensors file, and the description that it carries, if it is one of convsmith's.

    Raises:
        UserError: if it is missing, damaged, or of another format (a pickle is never opened).
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no weight file {shown(file)}") from None
    except OSError as error:
        raise UserError(f"{shown(file)} can't be read ({error.strerror}); name a weight file") from None
    return _unpacked(content, file)


def _unpacked(content: bytes, file: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        tensors: dict[str, Tensor] = from_bytes(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:100]
        if file.suffix != ".safetensors":
            raise UserError(
                f"{shown(file)} is no model of convsmith; name a run, a model folder, or its {WEIGHTS}. "
                f"Weights of another trainer are a start: `start_from={shown(file)}` with `model=NAME`"
            ) from None
        raise UserError(
            f"{shown(file)} is not a whole safetensors file ({first}); restore it from a copy"
        ) from None
    notes = header.get("__metadata__") or {}
    if "convsmith" not in notes:
        return tensors, None
    digest, _, text = notes["convsmith"].partition("\n")
    if digest != _digest(tensors, text):
        raise UserError(
            f"{shown(file)} is damaged: its tensors or its description aren't those that were written; "
            f"restore it from a copy"
        )
    return tensors, text
