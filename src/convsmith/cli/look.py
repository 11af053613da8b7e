"""Commands that show a net or the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from convsmith.cli.options import Device, Json, Seed, app
from convsmith.errors import UserError


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="Run, model folder, or weight file.", metavar="RUN|FILE")],
    images: Annotated[
        Optional[list[str]], typer.Argument(help="Image files; default: the run's own.", metavar="IMAGE...")  # noqa: UP045
    ] = None,
    layer: Annotated[Optional[list[str]], typer.Option(help="Layer to show; repeatable.")] = None,  # noqa: UP045
    sample: Annotated[int, typer.Option(min=1, help="Images run through the net.")] = 500,
    features: Annotated[Optional[str], typer.Option(help="Write what this layer gives to --out.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="New file for --features, .npz.")] = None,  # noqa: UP045
    response_maps: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write where each training image shows its class, a new .npz, for guided_crop."),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """What a trained net responds to, into its report; or a layer's features, into a file."""
    import convsmith as cs
    from convsmith.cli import output

    if response_maps is not None:
        made = cs.response_maps(model, response_maps, device=device)
        output.as_json(made) if json else output.say(f"{'x'.join(map(str, made['shape']))} in {made['out']}")
        return
    if (features is None) != (out is None):
        raise UserError("--features LAYER and --out F.npz go together")
    if features is not None and out is not None:
        kept = cs.features(model, features, out, images or (), device=device)
        output.as_json(kept) if json else output.say(f"{'x'.join(map(str, kept['shape']))} in {kept['out']}")
        return
    found = cs.inspect(model, images or (), layers=layer or (), sample=sample, device=device)
    if json:
        output.as_json(found)
        return
    output.inspected(found)
    output.say(f"report: {found['report']}")


@app.command()
def summary(
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Net by name, run, or weight file; or --recipe.", metavar="MODEL|RUN|FILE"),
    ] = None,
    recipe: Annotated[Optional[Path], typer.Option(help="YAML file that names the net.")] = None,  # noqa: UP045
    set: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", help="Option of the net, model.NAME.OPTION=VALUE; repeatable."),
    ] = None,
    input: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--input", help="Channels x height x width; default: the run's, else 3x32x32."),
    ] = None,
    classes: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Number of classes of a net by name; default: 10."),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Layers of a net: output shapes, receptive fields, parameters, multiply-accumulates."""
    import convsmith as cs
    from convsmith.cli import output

    shape = None if input is None else _shape(input)
    found = cs.summary(model, shape, classes, recipe=recipe, set=set or [])
    if json:
        rows = [vars(row) for row in found.rows]
        output.as_json({"parameters": found.parameters, "macs": found.macs, "layers": rows})
        return
    output.table(
        "",
        ["layer", "output", "sees", "stride", "parameters", "MACs"],
        [row.cells for row in found.rows],
    )
    output.say(f"{found.parameters:,} parameters, {found.macs:,} multiply-accumulates an image")


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise UserError(f"--input takes CHANNELSxHEIGHTxWIDTH, e.g. 3x32x32; got {text!r}") from None
    if min(channels, height, width) < 1:
        raise UserError(f"--input {text}: every side must be at least 1")
    return channels, height, width


@app.command()
def techniques(
    name: Annotated[Optional[str], typer.Argument(help="One technique's card.", metavar="NAME")] = None,  # noqa: UP045
    by: Annotated[str, typer.Option(help="Group by kind or chapter.")] = "kind",
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """All techniques that a recipe can name."""
    from dataclasses import asdict

    from convsmith import catalog
    from convsmith.catalog.measured import measured
    from convsmith.cli import output
    from convsmith.errors import nearest

    found, problems = catalog.listed()
    cards = [card for _, card in sorted(found.items())]
    for problem in problems:
        output.note(f"note: {problem}")
    if by not in ("kind", "chapter"):
        raise UserError(f"--by takes kind or chapter; got {by!r}")
    if name is not None:
        known = [card.name for card in cards]
        cards = [card for card in cards if card.name == catalog.base_name(name)]
        if not cards:
            raise UserError(f"there is no technique {name!r}{nearest(name, known)}")
    if json:
        effects = {card: [asdict(one) for one in measured(card.kind, card.name)] for card in cards}
        output.as_json({"techniques": [{**asdict(card), "measured": effects[card]} for card in cards]})
    elif name is not None:
        for card in cards:
            output.say(f"{card.kind} {card.name}({', '.join(card.arguments)})\n  {card.summary}")
            output.say(f"  use:     {card.use}\n  source:  {card.source}\n  chapter: {card.chapter}")
            for effect in measured(card.kind, card.name):
                output.say(f"  measured: {effect}")
    else:
        for group in sorted({getattr(card, by) for card in cards}, key=_in_order):
            rows = [[card.name, card.use] for card in cards if getattr(card, by) == group]
            width = max(len(row[0]) for row in rows)
            output.say(group)
            for row in rows:
                output.say(f"  {row[0]:<{width}}  {row[1]}")


def _in_order(group: str) -> tuple[int, str]:
    """Sort key that puts chapter 10 after chapter 9."""
    number = group.partition(" ")[0]
    return int(number) if number.isdigit() else 0, group
