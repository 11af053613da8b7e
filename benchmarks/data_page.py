"""Write docs/data.md from the committed results: python benchmarks/data_page.py"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "data.md"
HEAD = """# The data chapter, measured

Augmentation, photographs, uneven classes and guided crops: what each does and how fast. Negative results are
results; what is worse stays in the tables. How to use it all: the [README](../README.md).
"""


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def conditions(found: dict[str, Any], script: str) -> str:
    machine = found["conditions"]
    return (
        f"`benchmarks/{script}.py` on {machine['processor']}, {machine['cores']} cores, "
        f"torch {machine['packages']['torch']}."
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def augment() -> str:
    found = results("augment")
    rates = {
        side: {name: statistics.median(own) for name, own in found[side]["images_per_second"].items()}
        for side in ("32", "224")
    }
    rows = [
        [name, *(f"{rates[side][name]:,.0f}" for side in rates)]
        for name in sorted(rates["32"], key=lambda name: -rates["32"][name])
    ]
    ratios = {side: found[side]["ratio_to_best_peer"] for side in rates}
    text = f"""
## Augmentation

Pad-crop, flip, rotation, scale, brightness, contrast, saturation, hue and Fancy PCA, the same ranges for
all, from uint8 in memory to normalized float32; images a second, medians of {found["rounds"]} rounds.

{table(["", f"32 px, batch {found['32']['batch']}", f"224 px, batch {found['224']['batch']}"], rows)}

convsmith makes {ratios["32"]:.1f} times as many pictures as the best other one at 32 pixels
({found["32"]["best_peer"]}), {ratios["224"]:.1f} times at 224 ({found["224"]["best_peer"]}). At 32 pixels
the whole list takes {100 * found["32"]["share_of_a_step"]:.1f}% of a ResNet-20 step. kornia and convsmith
draw for every image, the batched torchvision once for the batch. Colors are clipped once, after all of
them, in convsmith; after each in the others. kornia and torchvision turn hue in HSV, convsmith's `hue`
around the grey axis (`hsv` turns it as they do, and is slower).

{conditions(found, "augment")}
"""
    return text


def photos() -> str:
    found = results("photos")
    sets = found["sets"]
    rows = []
    for name in next(iter(sets.values()))["images_per_second"]:
        cells = []
        for own in sets.values():
            runs = own["images_per_second"][name]
            cells += [statistics.median(run[0] for run in runs)]
            cells += [statistics.median(statistics.mean(run[1:]) for run in runs)]
        rows.append([name, *(f"{cell:,.0f}" for cell in cells)])
    head = ["", *(f"{name}, {epochs}" for name in sets for epochs in ("first epoch", "later"))]
    ratios = "\n".join(
        f"- {name}: first epoch {own['first_epoch_ratio_to_best']:.2f} times as fast as the best other "
        f"({own['best_in_the_first_epoch']}), later ones {own['later_epochs_ratio_to_best']:.1f} times."
        for name, own in sets.items()
    )
    return f"""
## A folder of photographs

JPEGs to normalized batches of {found["batch"]} at {found["side"]} pixels, area crop and flip, images a
second from nothing (scanning and starting workers included), medians of {found["rounds"]} rounds; the
photographs are made of scikit-learn's samples.

{table(head, rows)}

{ratios}

The others decode again in every epoch; convsmith crops from the square that it decoded once. That is also
what it costs: without `data.stored`, its crops have the square's resolution, theirs the file's. Where files
are twice as large as needed or more, they are decoded at half their size or less.

{conditions(found, "photos")}
"""


def figure(row: dict[str, float]) -> str:
    return f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}"


def imbalance() -> str:
    found = results("imbalance")
    rows = [
        [
            name,
            figure(row["accuracy"]),
            f"{row['macro_f1']['mean']:.3f}",
            figure(row["worst_class"]),
            f"{100 * statistics.mean(row['recalls'][:3]):.0f}",
            f"{100 * statistics.mean(row['recalls'][-3:]):.0f}",
        ]
        for name, row in found["methods"].items()
    ]
    published = "\n\n".join(
        f"{source}:\n\n{table(['method', 'error %'], [[name, f'{e:.2f}'] for name, e in own.items()])}"
        for source, own in found["published"].items()
    )
    head = ["method", "accuracy %", "macro F1", "worst class %", "3 largest %", "3 smallest %"]
    return f"""
## Uneven classes

CIFAR-10 (JPEGs of quality 75) with an exponential imbalance of 100: {found["train_images"][0]:,} training
images of the first class, {found["train_images"][-1]} of the last. VGG-11 of width 16 with batch
normalization, {found["updates"]:,} updates for every method, the same rates, nothing tuned for any; the
test images are even, so accuracy is balanced accuracy. Mean and deviation over {len(found["seeds"])} seeds.

{table(head, rows)}

The net is small and the schedule short: compare the rows with each other, not with papers. For these,
ResNet-32, 200 epochs, the original pixels (figures known from the papers, not copied from their pages again):

{published}

{conditions(found, "imbalance")}
"""


def guided() -> str:
    found = results("guided_crop")
    rows = []
    for name, own in found["ways"].items():
        values = [row["accuracy"] for row in own]
        rows.append([name, f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"])
    return f"""
## Label-guided crops

Scenes of 64 x 64 pixels in which a digit of 28 pixels among pieces of other digits makes the class;
{found["images"]["train"]:,} to train on, {found["images"]["test"]:,} to test, {len(found["seeds"])} seeds.
Crops show 25% to 80% of the area. The response maps come from the net without crops.

{table(["", "test accuracy %"], rows)}

Guided crops gain {100 * found["gain_over_random_crops"]:.1f} points over random ones of the same sizes,
with less spread. No crops at all are better than both here: a crop enlarges the digit, and the test images
are not cropped. Use guided crops where crops help; they take back a part of what random ones spoil.

{conditions(found, "guided_crop")}
"""


def rendered() -> str:
    return HEAD + augment() + photos() + imbalance() + guided()


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
