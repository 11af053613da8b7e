"""Device, processes and process group of a training.

Several processes are started once, at the first training that asks for them, and stay for those that follow:
every process runs the same script, so a second training uses the processes of the first.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from convsmith import recipe as recipes
from convsmith.errors import UserError

T = TypeVar("T")
# How long processes wait while the first one works alone.
PATIENCE = timedelta(days=30)


class _Standing(LightningEnvironment):  # type: ignore[misc]
    """Processes that an earlier training of this script has started."""

    @property
    def creates_processes_externally(self) -> bool:
        return True


class _Group:
    """This process's view of the process group, until it exits."""

    def __init__(self) -> None:
        self.size = 1
        self.waiting: Any = None


_GROUP = _Group()


def launch(options: recipes.Train, accelerator: str) -> Fabric:
    """Start the devices and processes that a recipe asks for, or reuse those that run already.

    Args:
        options: the recipe's ``train``.
        accelerator: ``"cpu"`` or ``"cuda"``.

    Raises:
        UserError: if there aren't so many devices, or processes can't be started from where this runs.
    """
    wanted = options.devices * options.nodes
    if accelerator == "cuda" and options.devices > torch.cuda.device_count():
        raise UserError(
            f"there are {torch.cuda.device_count()} CUDA devices, not {options.devices}; lower devices"
        )
    if wanted > 1 and _GROUP.size not in (1, wanted):
        raise UserError(
            f"this script has trained with {_GROUP.size} processes already; train with as many, or with "
            f"{wanted} in a script of its own"
        )
    standing = wanted > 1 and _GROUP.size == wanted
    if wanted > 1 and not standing:
        _refuse_interactive()
    fabric = Fabric(
        accelerator=accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy="ddp" if wanted > 1 or options.strategy == "ddp" else "auto",
        precision=options.precision,
        plugins=[_Standing()] if standing and not _started_outside() else None,
    )
    fabric.launch()
    if wanted > 1 and not standing:
        _GROUP.size = wanted
        _GROUP.waiting = torch.distributed.new_group(timeout=PATIENCE, backend="gloo")
        # A process that exits with an open group sometimes aborts in the group's threads.
        atexit.register(close)
    return fabric


def close() -> None:
    """End the group of processes, if there is one; this process trains alone afterwards."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    _GROUP.size, _GROUP.waiting = 1, None


def is_first() -> bool:
    """Whether this process writes files and prints; known before the others are launched."""
    if _GROUP.size > 1:
        return int(torch.distributed.get_rank()) == 0
    return rank() == 0


def first_alone(work: Callable[[], T]) -> T:
    """Run ``work`` on the first process while the others wait; give its result on all.

    Raises:
        UserError: on every process, if the first one's work raises it.
    """
    if _GROUP.size == 1:
        return work()
    answer: list[Any] = [None]
    if is_first():
        try:
            answer = [("done", work())]
        except UserError as error:
            answer = [("refused", error)]
            raise
        except BaseException as error:
            answer = [("failed", f"{type(error).__name__}: {error}")]
            raise
        finally:
            torch.distributed.broadcast_object_list(answer, src=0, group=_GROUP.waiting)
        found: T = answer[0][1]
        return found
    torch.distributed.broadcast_object_list(answer, src=0, group=_GROUP.waiting)
    word, content = answer[0]
    if word == "refused":
        raise content
    if word == "failed":
        raise SystemExit(f"the first process failed: {content}")
    result: T = content
    return result


def rank() -> int:
    """Rank of this process, before a process group exists."""
    variables = os.environ
    if "RANK" in variables:  # torchrun
        return int(variables["RANK"])
    if SLURMEnvironment.detect():
        return int(variables["SLURM_PROCID"])
    return int(variables.get("NODE_RANK", 0)) + int(variables.get("LOCAL_RANK", 0))


def _started_outside() -> bool:
    """Whether torchrun or SLURM has started the processes."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "RANK" in os.environ or SLURMEnvironment.detect()


def _refuse_interactive() -> None:
    """Refuse several processes in a notebook or at a prompt: each of them would run the script again."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    if _started_outside() or "LOCAL_RANK" in os.environ or module is not None:
        return
    if hasattr(sys, "ps1") or script is None or not script.is_file() or "ipykernel" in sys.modules:
        raise UserError(
            "several processes each run the script from its start, and there is no script here; put the "
            "training into a file, use the command line (convsmith train), or train with one process"
        )
