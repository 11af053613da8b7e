"""The command line. It has no logic of its own; each command imports torch when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from convsmith.cli.mistakes import guarded
from convsmith.cli.options import DATA, Costs, Device, From, Json, Model, Recipe, Seed, Set, app
from convsmith.errors import UserError


def _version(asked: bool) -> None:
    if asked:
        from convsmith import __version__

        sys.stdout.write(f"convsmith {__version__}\n")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a folder of labelled images to a small, accurate, shipped ConvNet."""


@app.command()
def train(
    data: Annotated[Optional[str], typer.Argument(help=DATA)] = None,  # noqa: UP045
    out: Annotated[Path, typer.Option(help="New folder for the run.")] = ...,  # type: ignore[assignment]
    model: Model = None,
    start_from: From = None,
    recipe: Recipe = None,
    set: Set = None,
    epochs: Annotated[Optional[int], typer.Option(min=1, help="Passes over the images.")] = None,  # noqa: UP045
    minutes: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.01, help="Time for the training; more of it buys more epochs."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto", help="Start again slower if the loss explodes, decay if flat, stop if over-fitting."
        ),
    ] = False,
    devices: Annotated[Optional[int], typer.Option(min=1, help="Processes on this machine.")] = None,  # noqa: UP045
    nodes: Annotated[Optional[int], typer.Option(min=1, help="Machines.")] = None,  # noqa: UP045
    strategy: Annotated[Optional[str], typer.Option(help="auto or ddp.")] = None,  # noqa: UP045
    precision: Annotated[Optional[str], typer.Option(help="32-true, bf16-mixed, 16-mixed, ...")] = None,  # noqa: UP045
    seed: Seed = None,
    device: Annotated[Optional[str], typer.Option(help="auto, cpu or cuda.")] = None,  # noqa: UP045
    json: Json = False,
) -> None:
    """Train a net on labelled images."""
    import convsmith as cs
    from convsmith.cli import output
    from convsmith.training.machine import is_first

    result = cs.train(
        data,
        out=out,
        model=model,
        start_from=start_from,
        recipe=recipe,
        set=set or [],
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        device=device,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        precision=precision,
        auto=auto or None,
        resume=resume,
        track=output.track,
        progress=True,
    )
    if not is_first():
        return
    for finding in result["findings"]:
        output.note(f"note: {finding['seen']}")
    output.as_json(dict(result)) if json else output.trained(dict(result))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Run, model folder, or weight file.", metavar="RUN|FILE")],
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Default: the images that the run recorded."),
    ] = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="train, val, test or floor; default: test, else val."),
    ] = None,
    costs: Costs = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Accuracy, loss and per-class figures on images with known labels."""
    import convsmith as cs
    from convsmith.cli import output

    found = cs.evaluate(model, data, split=split, costs=costs, device=device, track=output.track)
    for finding in found.findings:
        output.note(f"note: {finding.seen}")
    if json:
        output.as_json(found.summary())
        return
    output.evaluation(found)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Run, model folder, or weight file.", metavar="RUN|FILE")],
    images: Annotated[list[str], typer.Argument(help="Image files.", metavar="IMAGE...")],
    top: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Classes listed for each image; default: 5."),
    ] = None,
    costs: Costs = None,
    score_map: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Show where in whole pictures which class is seen, into this new folder."),
    ] = None,
    side: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Pixels of the pictures' shorter side for --score-map."),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Classes of image files, with their probabilities; or where in them they are seen."""
    import convsmith as cs
    from convsmith.cli import output

    if score_map is not None:
        if top is not None:
            raise UserError("`top` lists classes, and a score map has all of them; leave it out")
        maps = cs.score_map(model, images, score_map, side=side, costs=costs, device=device, leave_out=True)
        if json and any("error" not in row for row in maps):
            output.as_json({"score_maps": maps})
        for row in [] if json else output.readable(maps):
            x, y = row["place"]
            output.say(
                f"{row['file']}: {row['label']} {100 * row['probability']:.1f}% around x {x:.0f}, y {y:.0f} "
                f"({'x'.join(map(str, row['shape']))} places): {row['png']}"
            )
        output.refuse_unread(maps)
        return
    if side is not None:
        raise UserError("`side` is of score maps; add `score_map=DIR`, or leave it out")
    found = cs.predict(model, images, top=top or 5, costs=costs, device=device, leave_out=True)
    if json and any("error" not in row for row in found):
        output.as_json({"predictions": found})
    for row in [] if json else output.readable(found):
        if "values" in row:
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in row["values"].items())
            output.say(f"{row['file']}: {numbers}")
            continue
        rest = ", ".join(f"{other['label']} {100 * other['probability']:.1f}%" for other in row["top"][1:3])
        output.say(
            f"{row['file']}: {row['label']} {100 * row['probability']:.1f}%" + (f"  ({rest})" if rest else "")
        )
    output.refuse_unread(found)


@app.command()
def augment(
    data: Annotated[Optional[str], typer.Argument(help=DATA)] = None,  # noqa: UP045
    out: Annotated[Path, typer.Option(help="The page, a new HTML file.")] = ...,  # type: ignore[assignment]
    recipe: Recipe = None,
    set: Set = None,
    images: Annotated[int, typer.Option(min=1, help="Images shown.")] = 8,
    draws: Annotated[int, typer.Option(min=1, help="Pictures of each.")] = 8,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """A page with what the net will see of training images."""
    import convsmith as cs
    from convsmith.cli import output

    overrides = [*(set or []), *([f"train.seed={seed}"] if seed is not None else [])]
    found = cs.augment(
        data, out=out, recipe=recipe, set=overrides, images=images, draws=draws, track=output.track
    )
    output.as_json(found) if json else output.say(f"page: {found['out']}")


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(help="Runs' folders.", metavar="RUN...")],
    out: Annotated[
        Optional[Path], typer.Option(help="New page that compares runs; default: comparison.html.")  # noqa: UP045
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write a run's report.html again; of several runs, one page that compares them."""
    from convsmith.cli import output

    if len(runs) == 1 and out is None:
        import convsmith as cs

        notes: list[Any] = []
        found: dict[str, Any] = {"report": str(cs.report(runs[0], device=device, noted=notes.append))}
        for finding in notes:
            output.note(f"note: {finding.seen}")
        found["findings"] = [finding.as_dict() for finding in notes]
    else:
        from convsmith.verbs.compare import compare

        found = compare(runs, out=out)
    output.as_json(found) if json else output.say(f"report: {found['report']}")


# Imported last, since the help lists commands in the order of their definition.
from convsmith.cli import learn, look  # noqa: E402, F401


def main() -> None:
    """Entry point."""
    guarded(app)


if __name__ == "__main__":
    main()
