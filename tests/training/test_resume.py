"""A run killed at any moment and resumed ends as one that was never killed, bit for bit."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from convsmith.run.directory import RunDirectory

# Everything that has state or randomness: dropout, momentum, norms' statistics, an average, accumulation.
WORDS = shlex.split("""
    --set "model={'timm:resnet10t': {drop_rate: 0.3}}" --set train.ema.decay=0.9 --set data.size=16
    --set data.batch_size=12 --set train.accumulate=2 --set train.clip=1 --set train.checkpoint_minutes=0
    --set train.early_stopping.patience=9 --epochs 3 --device cpu
""")

# Kills this process the n-th time that `place` is reached.
KILLER = textwrap.dedent("""
    import os, signal, sys
    place, count = sys.argv[1], int(sys.argv[2])
    sys.argv = ["convsmith", *sys.argv[3:]]
    import convsmith.run.directory as directory, convsmith.run.checkpoint as checkpoint
    import convsmith.training.loop as loop, pathlib
    def die_at(function, matches=lambda *a, **k: True):
        seen = [0]
        def wrapper(*args, **kwargs):
            if matches(*args, **kwargs):
                seen[0] += 1
                if seen[0] == count:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return wrapper
    if place == "batch":
        loop.total = die_at(loop.total)
    elif place == "validation":
        loop.validate = die_at(loop.validate)
    elif place == "sync":  # the checkpoint's bytes are in a partial file, not yet under its name
        os.fsync = die_at(os.fsync)
    elif place == "rename":
        pathlib.Path.replace = die_at(pathlib.Path.replace)
    from convsmith.cli.main import main
    main()
""")


def run(script: list[str], *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *script, *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


CLI = ["-m", "convsmith.cli.main"]


def result(out: Path) -> tuple[dict[str, bytes], list[dict[str, float]]]:
    weights = {key: value.numpy().tobytes() for key, value in load_file(out / "model.safetensors").items()}
    timeless = [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
        for row in RunDirectory(out).read_metrics()
    ]
    return weights, timeless


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(CLI, "train", images, "--out", out, *WORDS)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "count"),
    [("batch", 1), ("batch", 8), ("validation", 2), ("sync", 9), ("sync", 14), ("rename", 12)],
)
def test_killed_and_resumed(images: Path, tmp_path: Path, undisturbed: Path, place: str, count: int) -> None:
    out = tmp_path / "run"
    killed = run(["-c", KILLER, place, str(count)], "train", images, "--out", out, *WORDS)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run(CLI, "train", "--out", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert result(out) == result(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_saves_and_says_how_to_go_on(
    images: Path, tmp_path: Path, undisturbed: Path, name: str
) -> None:
    """Ctrl-C, or a scheduler's SIGTERM, after the second update; then resumed."""
    interrupter = textwrap.dedent("""
        import os, signal, sys
        sys.argv = ["convsmith", *sys.argv[1:]]
        import convsmith.training.loop as loop
        whole, seen = loop.total, [0]
        def total(*args):
            seen[0] += 1
            if seen[0] == 3:
                os.kill(os.getpid(), signal.NAME)
            return whole(*args)
        loop.total = total
        from convsmith.cli.main import main
        main()
    """).replace("NAME", name)
    out = tmp_path / "run"
    words = [word.replace("checkpoint_minutes=0", "checkpoint_minutes=60") for word in WORDS]
    stopped = run(["-c", interrupter], "train", images, "--out", out, *words)
    assert stopped.returncode == 130
    last = stopped.stderr.strip().splitlines()[-1]
    assert "interrupted in epoch 1 after batch 4; all is saved" in last
    assert f"convsmith train --out {out} --resume" in last
    assert run(CLI, "train", "--out", out, "--resume").returncode == 0
    assert result(out) == result(undisturbed)


@pytest.mark.slow
def test_resume_refusals(
    images: Path, tmp_path: Path, undisturbed: Path, convsmith: Callable[..., object]
) -> None:
    def refuse(message: str, *words: object) -> None:
        answer = run(CLI, "train", *words)
        assert answer.returncode == 2, answer.stderr
        assert message in answer.stderr
        assert "Traceback" not in answer.stderr

    refuse("already holds a run; go on with --resume", images, "--out", undisturbed)
    refuse("holds no run to resume", "--out", tmp_path / "none", "--resume")
    refuse("is another training", "--out", undisturbed, "--resume", "--set", "model=lenet5")
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed, copy)
    (copy / "last.ckpt").write_bytes((copy / "last.ckpt").read_bytes()[:1000])
    refuse("last.ckpt is damaged", "--out", copy, "--resume")
    changed = tmp_path / "changed"
    shutil.copytree(images, changed)
    next(changed.rglob("*.png")).unlink()
    refuse("have changed since", changed, "--out", undisturbed, "--resume")
    assert run(CLI, "train", "--out", undisturbed, "--resume").returncode == 0
