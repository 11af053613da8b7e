"""Commands about trainings: how to begin one, which rate to take, what was wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from convsmith.cli.options import DATA, Device, From, Json, Model, NextDevice, Recipe, Seed, Set, app


def findings(found: list[dict[str, Any]]) -> None:
    """Print findings with their sentences, in the command line's words."""
    from convsmith.cli import output
    from convsmith.cli.wording import as_flags

    for finding in found:
        name = finding.get("name", "")
        seen = as_flags(finding["seen"])
        output.say(f"{name.replace('_', ' ')}: {seen}" if name else seen)
        for word, key in (("means", "means"), ("change", "change"), ("why", "why")):
            if finding[key]:
                source = f" ({finding['source']})" if key == "why" and finding["source"] else ""
                output.say(f"  {word}: {as_flags(finding[key])}{source}")


def ways(found: list[dict[str, Any]]) -> None:
    """Print the ways to train as a table."""
    from convsmith.cli import output

    rows = []
    for way in found:
        accuracy = "-" if way["accuracy"] is None else f"{100 * way['accuracy']:.1f}%"
        if way["interval"] is not None:
            accuracy += " ({:.1f}-{:.1f})".format(*(100 * end for end in way["interval"]))
        minutes = "-" if way["minutes"] is None else f"{way['minutes']:.1f}"
        rows.append([way["name"], accuracy, way["how"], minutes, "<- chosen" if way["chosen"] else ""])
    output.table("", ["way to train", "accuracy (95%)", "", "minutes here", ""], rows)


@app.command()
def advise(
    data: Annotated[Optional[str], typer.Argument(help=DATA)] = None,  # noqa: UP045
    write: Annotated[Optional[Path], typer.Option(help="New YAML file for the recipe.")] = None,  # noqa: UP045
    model: Model = None,
    start_from: From = None,
    recipe: Recipe = None,
    set: Set = None,
    minutes: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.01, help="Time for the training; more of it buys more epochs."),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Look at DATA, say what is amiss, and choose a recipe, each choice with its reason."""
    import convsmith as cs
    from convsmith.cli import output

    words = [*(set or []), f"train.device={device}"]
    words += [f"train.seed={seed}"] if seed is not None else []
    found = cs.advise(
        data,
        model=model,
        start_from=start_from,
        recipe=recipe,
        set=words,
        minutes=minutes,
        write=write,
        track=output.track,
    )
    if json:
        output.as_json(found)
        return
    findings(found["findings"])
    output.say("")
    ways(found["ways"])
    output.say("")
    output.say(found["recipe"].rstrip())
    if write is not None:
        output.say(f"\nwritten: {write}; train with: convsmith train --recipe {write} --out RUN")


@app.command()
def diagnose(
    run: Annotated[str, typer.Argument(help="A run's folder, also of a failed training.", metavar="RUN")],
    apply: Annotated[bool, typer.Option("--apply", help="Train again with the changes, in --out.")] = False,
    out: Annotated[Optional[Path], typer.Option(help="New folder for the next run.")] = None,  # noqa: UP045
    seed: Seed = None,
    device: NextDevice = None,
    json: Json = False,
) -> None:
    """What a run's curves say: what is wrong, why, and what to change."""
    import convsmith as cs
    from convsmith.cli import output

    found = cs.diagnose(
        run, apply=apply, out=out, seed=seed, device=device, track=output.track, progress=True
    )
    if json:
        output.as_json(found)
        return
    findings(found["findings"])
    if found["healthy"]:
        output.say("nothing amiss: the curves are those of a healthy training")
    if "next" in found:
        output.say(f"changed: {' '.join(found['changes'])}")
        output.trained(found["next"])


@app.command("lr-range")
def lr_range(
    data: Annotated[Optional[str], typer.Argument(help=DATA)] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="New HTML page with the curve.")] = None,  # noqa: UP045
    model: Model = None,
    start_from: From = None,
    recipe: Recipe = None,
    set: Set = None,
    low: Annotated[float, typer.Option(help="First rate of the sweep.")] = 1e-6,
    high: Annotated[float, typer.Option(help="Last rate of the sweep.")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, help="Batches of the sweep.")] = 100,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Sweep the learning rate over one short training, and propose one."""
    import convsmith as cs
    from convsmith.cli import output

    words = [*(set or []), f"train.device={device}"]
    words += [f"train.seed={seed}"] if seed is not None else []
    found = cs.lr_range(
        data,
        out=out,
        model=model,
        start_from=start_from,
        recipe=recipe,
        set=words,
        low=low,
        high=high,
        steps=steps,
        track=output.track,
    )
    if json:
        output.as_json(found)
        return
    output.say(
        f"take a rate of {found['proposal']:g}: --set {found['word']} (the loss falls fastest at "
        f"{found['steepest']:.2g} and turns at {found['minimum']:.2g})"
    )
    if out is not None:
        output.say(f"page: {found['out']}")
