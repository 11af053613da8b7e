"""The command line: no logic, only words; torch is imported by the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from convsmith.cli.mistakes import guarded
from convsmith.errors import UserError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Seed = Annotated[Optional[int], typer.Option(min=0, help="Of everything random.")]  # noqa: UP045
Costs = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="CSV, true class by row: decide for the least expected cost."),
]
DATA = "Folder CLASS/*.jpg, folder with train/ and val/, CSV (path, label), or a name such as digits."


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
    model: Annotated[Optional[str], typer.Option(help="Net by name: resnet20, timm:resnet18, ...")] = None,  # noqa: UP045
    start_from: Annotated[
        Optional[str], typer.Option("--from", help="Weights to start from: RUN, FILE or timm:NAME.")  # noqa: UP045
    ] = None,
    recipe: Annotated[Optional[Path], typer.Option(help="YAML file.")] = None,  # noqa: UP045
    set: Annotated[Optional[list[str]], typer.Option("--set", help="Override a.b=c; repeatable.")] = None,  # noqa: UP045
    epochs: Annotated[Optional[int], typer.Option(min=1, help="Passes over the images.")] = None,  # noqa: UP045
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
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

    words = {
        "epochs": epochs,
        "devices": devices,
        "nodes": nodes,
        "strategy": strategy,
        "precision": precision,
        "seed": seed,
        "device": device,
    }
    overrides = [*(set or []), *(f"train.{k}={v}" for k, v in words.items() if v is not None)]
    progress = output.TrainingProgress()
    try:
        result = cs.train(
            data,
            out=out,
            model=model,
            start_from=start_from,
            recipe=recipe,
            set=overrides,
            resume=resume,
            callbacks=[progress],
            track=output.track,
        )
    finally:
        progress.close()
    if not result:  # not the first process
        return
    for finding in result["findings"]:
        output.note(f"note: {finding['seen']}")
    if json:
        output.as_json(result)
        return
    figures = (
        f"{100 * result['accuracy']:.2f}% of the {result['split']} images right"
        if "val_accuracy" in result
        else ", ".join(f"{key} {result[key]:.4g}" for key in ("mae", "rmse", "kl") if key in result)
    )
    output.say(
        f"{figures} (best epoch "
        f"{result['best_epoch']} of {result['epochs']}; {result['parameters']:,} parameters; "
        f"{result['seconds']:.0f} s of training)"
    )
    output.say(f"report: {result['report']}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Run, or model.safetensors.", metavar="RUN|FILE")],
    data: Annotated[str | None, typer.Argument(help="Default: the run's own test split, else val.")] = None,
    costs: Costs = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Accuracy, loss and per-class figures on images with known labels."""
    import convsmith as cs
    from convsmith.cli import output

    found = cs.evaluate(model, data, costs=costs, device=device, track=output.track)
    for finding in found.findings:
        output.note(f"note: {finding.seen}")
    if json:
        output.as_json(found.summary())
        return
    output.evaluation(found)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Run, or model.safetensors.", metavar="RUN|FILE")],
    images: Annotated[list[str], typer.Argument(help="Image files.", metavar="IMAGE...")],
    top: Annotated[int, typer.Option(min=1, help="Classes listed for each image.")] = 5,
    costs: Costs = None,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Classes of image files, with their probabilities."""
    import convsmith as cs
    from convsmith.cli import output

    found = cs.predict(model, images, top=top, costs=costs, device=device)
    if json:
        output.as_json({"predictions": found})
        return
    for row in found:
        if "values" in row:
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in row["values"].items())
            output.say(f"{row['file']}: {numbers}")
            continue
        rest = ", ".join(f"{other['label']} {100 * other['probability']:.1f}%" for other in row["top"][1:3])
        output.say(
            f"{row['file']}: {row['label']} {100 * row['probability']:.1f}%" + (f"  ({rest})" if rest else "")
        )


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run's folder.", metavar="RUN")],
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write a run's report.html again."""
    from convsmith.cli import output
    from convsmith.verbs.evaluate import report as report_again

    place = str(report_again(run, device=device))
    output.as_json({"report": place}) if json else output.say(f"report: {place}")


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="Run, or model.safetensors.", metavar="RUN|FILE")],
    images: Annotated[
        Optional[list[str]], typer.Argument(help="Image files; default: the run's own.", metavar="IMAGE...")  # noqa: UP045
    ] = None,
    layer: Annotated[Optional[list[str]], typer.Option(help="Layer to show; repeatable.")] = None,  # noqa: UP045
    sample: Annotated[int, typer.Option(min=1, help="Images run through the net.")] = 500,
    features: Annotated[Optional[str], typer.Option(help="Write what this layer gives to --out.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="File for --features, .npz.")] = None,  # noqa: UP045
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """What a trained net responds to, into its report; or a layer's features, into a file."""
    import convsmith as cs
    from convsmith.cli import output

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
    rows = [
        [name, f"{100 * share:.1f}%", str(found["dead"][name])] for name, share in found["zero_share"].items()
    ]
    output.table("", ["layer", "responses <= 0", "dead channels"], rows)
    output.say(f"report: {found['report']}")


@app.command()
def summary(
    model: Annotated[str, typer.Argument(help="Net by name.", metavar="MODEL")],
    input: Annotated[str, typer.Option("--input", help="Channels x height x width.")] = "3x32x32",
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 10,
    seed: Seed = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Layers of a net: output shapes, receptive fields, parameters, multiply-accumulates."""
    import convsmith as cs
    from convsmith.cli import output

    found = cs.summary(model, _shape(input), classes)
    if json:
        rows = [vars(row) for row in found.rows]
        output.as_json({"parameters": found.parameters, "macs": found.macs, "layers": rows})
        return
    rows_shown = [
        [
            f"{row.name} ({row.kind})",
            "x".join(map(str, row.shape)),
            "all" if row.receptive_field is None else "x".join(map(str, row.receptive_field)),
            "" if row.stride is None else "x".join(map(str, row.stride)),
            f"{row.parameters:,}",
            f"{row.macs:,}",
        ]
        for row in found.rows
    ]
    output.table("", ["layer", "output", "sees", "stride", "parameters", "MACs"], rows_shown)
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
    from convsmith.cli import output
    from convsmith.errors import nearest

    cards = [card for _, card in sorted(catalog.index().items())]
    if by not in ("kind", "chapter"):
        raise UserError(f"--by takes kind or chapter; got {by!r}")
    if name is not None:
        known = [card.name for card in cards]
        cards = [card for card in cards if card.name == catalog.base_name(name)]
        if not cards:
            raise UserError(f"there is no technique {name!r}{nearest(name, known)}")
    if json:
        output.as_json({"techniques": [asdict(card) for card in cards]})
    elif name is not None:
        for card in cards:
            output.say(f"{card.kind} {card.name}({', '.join(card.arguments)})\n  {card.summary}")
            output.say(f"  use:     {card.use}\n  source:  {card.source}\n  chapter: {card.chapter}")
    else:
        for group in sorted({getattr(card, by) for card in cards}, key=_in_order):
            rows = [[card.name, card.use] for card in cards if getattr(card, by) == group]
            width = max(len(row[0]) for row in rows)
            output.say(group)
            for row in rows:
                output.say(f"  {row[0]:<{width}}  {row[1]}")


def _in_order(group: str) -> tuple[int, str]:
    """Chapter 10 after chapter 9."""
    number = group.partition(" ")[0]
    return int(number) if number.isdigit() else 0, group


def main() -> None:
    """Entry point."""
    guarded(app)


if __name__ == "__main__":
    main()
