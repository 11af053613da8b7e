"""The net's own names for the tensors of a weight file of another trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.models.fully_convolutional import FullyConvolutional
from convsmith.models.torchvision_names import renamed
from convsmith.nn import manners
from convsmith.training.foreign import AVERAGES, COUNTER, Foreign


def named(found: Foreign, model: nn.Module, name: str) -> tuple[dict[str, Tensor], list[Finding]]:
    """The tensors under the names of ``model``: as they are, without a prefix, of torchvision, or by order.

    Args:
        found: tensors of a file.
        model: the net that they are for; its classifier may be of another size.
        name: of the file, for messages.

    Raises:
        UserError: if they are another net's, with what the file holds and what was expected.
    """
    findings = []
    if any(key in AVERAGES for key in found.within):
        findings.append(_finding(name, f"the average of the weights is taken ({'.'.join(found.within)})"))
    own = model.state_dict()
    if isinstance(model, FullyConvolutional):
        return renamed(found.tensors, model), findings  # reshaped from its own net's names afterwards
    prefixes = _prefixes(found.tensors, own)
    prefix = prefixes[0]
    held = {key[len(prefix) :]: value for key, value in found.tensors.items() if key.startswith(prefix)}
    held = renamed(held, model)
    if _fits(held, model, own):
        if prefix:
            beside = f"; another net, under {prefixes[1]!r}, isn't taken" if len(prefixes) > 1 else ""
            findings.append(_finding(name, f"the names begin with {prefix!r}, which is left out{beside}"))
        return held, findings
    ordered = _by_order(found.tensors, model, own)
    if ordered is None:
        raise UserError(_strange(found, own, name))
    first = next(iter(found.tensors)), next(iter(ordered))
    findings.append(
        _finding(
            name,
            f"its {len(ordered)} tensors have other names and are taken in order, in which kinds and shapes "
            f"agree one by one: {first[0]} is {first[1]}, ...",
        )
    )
    return ordered, findings


def _prefixes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What names of the file have before a name of the net: the commonest, and others as common."""
    before: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in own:
                before[key[: len(key) - len(".".join(parts[cut:]))]] += 1
                break
    # Of equally many, an average's: it is what its trainer evaluates.
    order = sorted(before, key=lambda p: (-before[p], not _is_average(p), len(p)))
    return [prefix for prefix in order if before[prefix] == before[order[0]]] or [""]


def _is_average(prefix: str) -> bool:
    return any("ema" in part.split("_") for part in prefix.split("."))


def _head(model: nn.Module, own: Mapping[str, Tensor]) -> set[str]:
    """Names of the classifier's tensors."""
    head = {id(p) for p in manners.classifier(model).parameters()}
    return {name for name, p in model.named_parameters() if id(p) in head and name in own}


def _fits(held: Mapping[str, Tensor], model: nn.Module, own: Mapping[str, Tensor]) -> bool:
    """Whether all parameters but the classifier's are there by name."""
    head = _head(model, own)
    return all(name in held for name, _ in model.named_parameters() if name not in head)


def _by_order(
    tensors: Mapping[str, Tensor], model: nn.Module, own: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """The tensors in the net's order, if kinds and shapes agree one by one but for the classifier's."""
    head = _head(model, own)
    theirs = [(key, value) for key, value in tensors.items() if not key.endswith(COUNTER)]
    ours = [(key, value) for key, value in own.items() if not key.endswith(COUNTER)]
    if len(theirs) != len(ours):
        return None
    found = {}
    for (key, value), (name, wanted) in zip(theirs, ours):
        same = key.rpartition(".")[2] == name.rpartition(".")[2]
        if same and value.shape != wanted.shape and {value.ndim, wanted.ndim} == {2, 4}:
            # A fully connected layer that is a convolution over the whole map: the same numbers in a row.
            alike = len(value) == len(wanted) and value.numel() == wanted.numel()
            value = value.reshape(wanted.shape) if alike else value
        if not same or (value.shape != wanted.shape and name not in head):
            return None
        found[name] = value
    return found


def _strange(found: Foreign, own: Mapping[str, Tensor], name: str) -> str:
    return (
        f"`start_from={name}` holds another net: {_listed(found.tensors)}; expected are {_listed(own)}. "
        f"Name the file's own net with `model`"
    )


def _listed(tensors: Mapping[str, Tensor]) -> str:
    shapes = [f"{key} {'x'.join(map(str, value.shape))}" for key, value in list(tensors.items())[:2]]
    last = list(tensors)[-1]
    shapes.append(f"{last} {'x'.join(map(str, tensors[last].shape))}")
    return f"{len(tensors)} tensors ({shapes[0]}, ..., {shapes[-1]})"


def _finding(name: str, seen: str) -> Finding:
    return Finding(seen=f"{name}: {seen}", name="weight_names")
