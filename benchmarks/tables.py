"""Write the figures of results/*.json into the READMEs; a test checks that they are those of the files.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
START, END = "<!-- figures -->", "<!-- /figures -->"
WORDS: dict[str, dict[str, Any]] = {
    "README.md": {
        "accuracy": ("data", "net", "parameters", "epochs", "minutes", "val", "**test**"),
        "speed": ("contender", "first epoch", "later epochs", "share of the limit, later"),
        "limit": "the bare step on one fixed batch (the limit)",
        "conditions": "`benchmarks/training.py` on {processor}, {cores} cores, torch {torch}, seed {seed}; "
        "test was looked at once.",
        "speed_conditions": "`benchmarks/throughput.py`: CIFAR-10 as JPEGs, ResNet-20, batch {batch}, "
        "pad-crop and flip, float32, images/s, medians of {rounds} rounds of {epochs} epochs with {images:,} "
        "images, all in one run on {processor}, {cores} cores, torch {torch}. First epoch included, "
        "convsmith is {ratio:.2f} times as fast as the best peer ({peer}), and {plain:.2f} times as fast as "
        "the plain loop in channels_last.",
    },
    "README.zh-CN.md": {
        "accuracy": ("数据", "网络", "参数量", "轮数", "分钟", "验证", "**测试**"),
        "speed": ("对象", "第一轮", "之后各轮", "之后占上限之比"),
        "limit": "固定一个批次、只做一步更新（上限）",
        "conditions": "`benchmarks/training.py`，{processor}，{cores} 核，torch {torch}，种子 {seed}；"
        "测试集只看一次。",
        "speed_conditions": "`benchmarks/throughput.py`：CIFAR-10 的 JPEG 文件夹，ResNet-20，批大小 {batch}，"
        "补边裁剪加翻转，float32，单位为图像/秒，{rounds} 次、每次 {epochs} 轮、{images:,} 张图像的中位数，"
        "同一次运行，{processor}，{cores} 核，torch {torch}。计入第一轮，convsmith 为最快同类（{peer}）的 "
        "{ratio:.2f} 倍，为 channels_last 普通循环的 {plain:.2f} 倍。",
    },
}


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [" | ".join(head), "|".join(["---"] + ["---:"] * (len(head) - 1))]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def accuracy(words: dict[str, Any]) -> str:
    rows = []
    plans = ("digits", "mnist", "cifar10", "cifar10_long")
    for plan in (plan for plan in plans if (RESULTS / f"{plan}.json").exists()):
        for run in results(plan)["runs"].values():
            net = run["recipe"]["model"]
            net = net if isinstance(net, str) else next(iter(net))
            options = run["recipe"]["model"][net] if isinstance(run["recipe"]["model"], dict) else {}
            if "width" in options:
                net += f", width {options['width']}"
            rows.append(
                [
                    plan.removesuffix("_long"),
                    net,
                    f"{run['parameters']:,}",
                    str(run["epochs"]),
                    f"{run['wall_seconds'] / 60:.1f}",
                    f"{100 * run['val_accuracy']:.2f}%",
                    f"**{100 * run['accuracy']:.2f}%**",
                ]
            )
            seed = run["recipe"]["train"]["seed"]
    machine = results("cifar10")["conditions"]
    return (
        table(words["accuracy"], rows)
        + "\n\n"
        + words["conditions"].format(
            script="`benchmarks/training.py`",
            processor=machine["processor"],
            cores=machine["cores"],
            torch=machine["packages"]["torch"],
            seed=seed,
        )
    )


def speed(words: dict[str, Any]) -> str:
    found = results("throughput")
    rows = []
    for name, row in sorted(
        found["contenders"].items(), key=lambda item: -item[1]["share_of_limit_later_epochs"]
    ):
        runs = row["images_per_second"]
        first = statistics.median(run[0] for run in runs)
        later = statistics.median(statistics.mean(run[1:]) for run in runs)
        share = f"{100 * row['share_of_limit_later_epochs']:.0f}%"
        rows.append([name, f"{first:.0f}", f"{later:.0f}", share])
    rows.append([words["limit"], "", f"{found['limit_channels_last']:.0f}", "100%"])
    machine = found["conditions"]
    return (
        table(words["speed"], rows)
        + "\n\n"
        + words["speed_conditions"].format(
            script="`benchmarks/throughput.py`",
            batch=found["batch_size"],
            rounds=found["rounds"],
            epochs=found["epochs"],
            images=found["images"],
            processor=machine["processor"],
            cores=machine["cores"],
            torch=machine["packages"]["torch"],
            ratio=found["ratio_to_best_peer_first_epoch_included"],
            plain=found["ratio_to_channels_last_loop_first_epoch_included"],
            peer=found["best_peer"],
        )
    )


def rendered(name: str) -> str:
    """The README with the figures of the committed results."""
    text = (ROOT / name).read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    words = WORDS[name]
    return f"{before}{START}\n{accuracy(words)}\n\n{speed(words)}\n{END}{after}"


if __name__ == "__main__":
    for readme in WORDS:
        (ROOT / readme).write_text(rendered(readme), encoding="utf-8")
