"""Which device a command runs on."""

from __future__ import annotations

import torch

from convsmith.errors import UserError


def pick_device(name: str) -> str:
    """``"cuda"`` or ``"cpu"`` for ``auto|cpu|cuda``.

    Raises:
        UserError: on another name, or if CUDA is asked for and there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"`device` takes auto, cpu or cuda; got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device that torch can use; take `device=auto` or cpu")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"
