"""Checkpoints, from which a killed run continues."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from convsmith.data.atomic import write
from convsmith.errors import UserError, shown


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts, atomically.

    Raises:
        OSError: if the disk is full; the previous checkpoint is still there then.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only plain data comes out of it, never code.

    Raises:
        UserError: if it is missing or damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {shown(path)}; start again without `resume`") from None
    except Exception as error:  # torch raises anything on damaged bytes
        raise UserError(
            f"the checkpoint {shown(path)} is damaged ({type(error).__name__}); start again in a new folder, "
            f"e.g. with `start_from={shown(path.parent)}`"
        ) from None
    return state
