"""One exported graph of a net, or a sentence that says why there is none."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convsmith.errors import UserError
from convsmith.nn.probe import Before, evaluating


def _example(model: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """Two images where the weights are. In channels_last, as the pipeline gives them, so that a conversion of
    the format isn't left out as if it did nothing."""
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    images = torch.zeros(2, *shape, device=first.device, dtype=first.dtype)
    return images.contiguous(memory_format=torch.channels_last)


def exported(
    model: nn.Module, shape: tuple[int, int, int], *, training: bool = False
) -> torch.export.ExportedProgram:
    """The operations of a net for batches of any size, in evaluation mode or in training mode.

    Args:
        model: not changed.
        shape: of an image, (C, H, W).
        training: export what it does in training.

    Raises:
        UserError: if it can't be exported, with the name of the layer.
    """
    _refuse_wrappers(model)
    images = _example(model, shape)
    reason: Exception | None = None
    with evaluating(model), _quiet(), _following(model) as inside:
        model.train(training)
        # A net that flattens by a view takes no channels_last.
        for example in (images, images.contiguous()):
            inside.clear()
            try:
                return _of_any_batch(model, example)
            except Exception as error:  # the exporter raises a dozen kinds
                reason = error
    assert reason is not None
    if "Constraints violated" not in str(reason):
        raise UserError(_why(model, inside, reason)) from None
    # len(images) is a number to Python, and a size to the exporter that reads the code.
    with evaluating(model), _quiet():
        model.train(training)
        for example in (images, images.contiguous()):
            try:
                return _of_any_batch(model, example, strict=True)
            except Exception as error:
                reason = error
    raise UserError(
        f"the net ({type(model).__name__}) can't be written to a model file: it works for one number of "
        f"images only; take images.shape[0] for their number, and no loop over images"
    ) from reason


def _of_any_batch(model: nn.Module, example: Tensor, *, strict: bool = False) -> torch.export.ExportedProgram:
    """The export whose batch isn't fixed. It may be bounded: a tensor has less than 2^31 elements for some
    operations of a GPU, and only the exporter finds the bound."""
    # Imported here: it brings sympy, which who only opens a net doesn't wait for.
    from torch.fx.experimental.symbolic_shapes import is_concrete_int

    batch = torch.export.Dim("batch", min=1)
    try:
        return torch.export.export(model, (example,), dynamic_shapes=({0: batch},), strict=strict)
    except Exception:
        free = torch.export.export(
            model, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=strict
        )
        (images,) = (
            node.meta["val"] for node in free.graph.nodes if node.name in free.graph_signature.user_inputs
        )
        if is_concrete_int(images.shape[0]):
            raise
        return free


# Classes that hold a net in an attribute, by their names: importing them takes long.
WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def _refuse_wrappers(model: nn.Module) -> None:
    for name, module in model.named_modules():
        where = f"layer {name}" if name else "the net"
        kind = type(module).__name__
        if kind in WRAPPERS:
            raise UserError(
                f"{where} is a wrapper ({kind}), which a model file can't hold; put the net itself in its "
                f"place: the wrapper's attribute {WRAPPERS[kind]}"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(
                f"{where} is compiled by torch.jit, which a model file can't hold; put the module that was "
                f"compiled in its place"
            )
        if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
            raise UserError(
                f"{where} ({kind}) has no weights yet; run the net once on a batch of images, then write it"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's reports off the screen: what is wrong is said in a sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _following(model: nn.Module) -> Iterator[list[str]]:
    """While open, the list holds the names of the modules that are being called, outermost first."""
    inside: list[str] = []
    handles = []

    def entering(name: str) -> Before:
        return lambda module, inputs: inside.append(name)

    def leaving(module: nn.Module, inputs: Any, output: Any) -> None:
        inside.pop()

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(entering(name), prepend=True))
        handles.append(module.register_forward_hook(leaving))
    try:
        yield inside
    finally:
        for handle in handles:
            handle.remove()


def _why(model: nn.Module, inside: Sequence[str], error: Exception) -> str:
    name = inside[-1] if inside else ""
    kind = type(model.get_submodule(name)).__name__
    where = f"layer {name} ({kind})" if name else f"the net ({kind})"
    text = str(error).strip()
    first = (text.splitlines() or [type(error).__name__])[0][:160]
    if "data-dependent" in text.lower() or "GuardOnDataDependent" in type(error).__name__:
        first = "what it does next depends on the values that it computes"
    return (
        f"{where} can't be written to a model file: {first}. Write it with tensor operations alone "
        f"(torch.where in the place of if), or keep the net in your own code"
    )
