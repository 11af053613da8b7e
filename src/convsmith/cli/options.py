"""The app, and the options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from convsmith.errors import UserError


class Stopped(Exception):
    """Ctrl-C, for :func:`convsmith.cli.mistakes.guarded`."""


class Commands(TyperGroup):
    """Raise Stopped for a KeyboardInterrupt, which some versions of typer drop with its message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Stopped(str(error)) from None


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]


def _device(value: str | None) -> str | None:
    if value not in (None, "auto", "cpu", "cuda"):
        raise UserError(f"`device` takes auto, cpu or cuda; got {value!r}")
    return value


Device = Annotated[str, typer.Option(help="auto, cpu or cuda.", callback=_device)]
NextDevice = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="auto, cpu or cuda.", callback=_device),
]
Seed = Annotated[Optional[int], typer.Option(min=0, help="Of everything random.")]  # noqa: UP045
Costs = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="CSV, true class by row: decide for the least expected cost."),
]
Set = Annotated[Optional[list[str]], typer.Option("--set", help="Override a.b=c; repeatable.")]  # noqa: UP045
Model = Annotated[Optional[str], typer.Option(help="Net by name: resnet20, timm:resnet18, ...")]  # noqa: UP045
From = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--from", help="Weights to start from: RUN, FILE, timm:NAME, or none."),
]
Recipe = Annotated[Optional[Path], typer.Option(help="YAML file, whose choices stay.")]  # noqa: UP045
DATA = "Folder CLASS/*.jpg, folder with train/ and val/, CSV (path, label), or a name such as digits."
