"""Two processes on CPU (gloo) do what one does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from convsmith.run.directory import RunDirectory

WORDS = shlex.split(
    "--model lenet5 --epochs 3 --device cpu --set data.batch_size=11 --set optimizer.sgd.lr=0.02"
)


def run(
    *words: object, script: tuple[str, ...] = ("-m", "convsmith.cli.main")
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
        check=False,
    )


@pytest.mark.slow
def test_two_processes_give_one_processes_curve(images: Path, tmp_path: Path) -> None:
    """Batches of 48 / 5 images: uneven over batches and over processes; centers move together, weights are
    shortened alike."""
    words = [*WORDS, "--set", "objective.center.weight=0.01", "--set", "objective.max_norm.limit=1"]
    one = run("train", images, "--out", tmp_path / "one", *words)
    two = run("train", images, "--out", tmp_path / "two", *words, "--devices", 2)
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    curves = [RunDirectory(tmp_path / name).read_metrics() for name in ("one", "two")]
    for a, b in zip(*curves, strict=True):
        for key in a:
            if key not in ("seconds", "images_per_second"):
                assert b[key] == pytest.approx(a[key], rel=1e-4, abs=1e-5), key
    assert two.stdout.count("report:") == 1, "only the first process speaks"
    resumed = run("train", "--out", tmp_path / "two", "--resume", "--epochs", 4, "--devices", 2)
    assert resumed.returncode == 0, resumed.stderr
    assert len(RunDirectory(tmp_path / "two").read_metrics()) == 4


@pytest.mark.slow
def test_auto_restarts_in_all_processes_together(tmp_path: Path) -> None:
    """A rate that explodes is lowered until it doesn't, and a run whose loss becomes NaN in one process
    only too.
    """
    words = [
        "digits",
        "--model",
        "lenet5",
        "--epochs",
        3,
        "--device",
        "cpu",
        "--auto",
        "--set",
        "data.size=16",
    ]
    out = tmp_path / "run"
    done = run("train", *words, "--out", out, "--devices", 2, "--set", "optimizer.sgd.lr=2")
    assert done.returncode == 0, done.stderr
    assert "started again with 0.2" in done.stderr
    rows = RunDirectory(out).read_metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["val_accuracy"] > 0.6
    script = textwrap.dedent("""
        import os, sys
        sys.argv[0] = __file__
        import convsmith.training.loop as loop
        whole, seen = loop.total, [0]
        def total(state, terms, share):
            seen[0] += 1
            bad = seen[0] == 5 and state.fabric.global_rank == 1
            return whole(state, terms, share) * (float("nan") if bad else 1)
        loop.total = total
        from convsmith.cli.main import main
        main()
    """)
    file = tmp_path / "poisoned.py"
    file.write_text(script)
    out = tmp_path / "poisoned"
    done = run(
        "train", *words, "--out", out, "--devices", 2, "--set", "optimizer.sgd.lr=0.02", script=(str(file),)
    )
    assert done.returncode == 0, done.stderr
    assert "became nan in epoch 1" in done.stderr
    assert len(RunDirectory(out).read_metrics()) == 3


@pytest.mark.slow
def test_batch_norm_over_processes_is_said(images: Path, tmp_path: Path) -> None:
    words = ["--model", "resnet20", "--epochs", 1, "--device", "cpu", "--devices", 2]
    done = run("train", images, "--out", tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    assert "2 processes train a net with 19 batch normalizations" in done.stderr
    report = (tmp_path / "run/report.html").read_text()
    assert "each normalizes by its own 16 images of a batch" in report
    assert "first process&#39;s running statistics are kept" in report


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_workers_death_ends_the_run_with_its_message(images: Path, tmp_path: Path, rank: int) -> None:
    script = textwrap.dedent("""
        import os, sys
        sys.argv[0] = __file__
        import convsmith.training.loop as loop
        whole = loop.validate
        def validate(state):
            if state.fabric.global_rank == RANK and state.epoch == 1:
                raise MemoryError("worker RANK has no memory left")
            return whole(state)
        loop.validate = validate
        from convsmith.cli.main import main
        main()
    """).replace("RANK", str(rank))
    file = tmp_path / "dying.py"
    file.write_text(script)
    done = run("train", images, "--out", tmp_path / "run", *WORDS, "--devices", 2, script=(str(file),))
    assert done.returncode != 0
    assert f"worker {rank} has no memory left" in done.stderr
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 1


@pytest.mark.slow
def test_a_users_mistake_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "data/a").mkdir(parents=True)
    done = run("train", tmp_path / "data", "--out", tmp_path / "run", "--devices", 2, "--device", "cpu")
    assert done.returncode == 2
    assert done.stderr.count("no images under") == 1
    assert "Traceback" not in done.stderr


def _torchrun(port: int) -> list[dict[str, str]]:
    """What torchrun tells its two processes."""
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    elastic = {"TORCHELASTIC_RUN_ID": "1", "GROUP_RANK": "0"}
    return [{**common, **elastic, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]


def _nodes(port: int) -> list[dict[str, str]]:
    """One command on each of two machines."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**common, "NODE_RANK": str(rank)} for rank in (0, 1)]


def _slurm(port: int) -> list[dict[str, str]]:
    """What srun tells two tasks on one machine."""
    common = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return [{**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "words"),
    [(_torchrun, ["--devices", "2"]), (_nodes, ["--nodes", "2"]), (_slurm, ["--devices", "2"])],
    ids=["torchrun", "nodes", "slurm"],
)
def test_processes_that_others_start(
    images: Path, tmp_path: Path, way: Callable[[int], list[dict[str, str]]], words: list[str]
) -> None:
    """As the README says it, with the second process first: both end well, and only the first one speaks."""
    from torch.distributed.elastic.utils.distributed import get_free_port

    command = [sys.executable, "-m", "convsmith", "train", str(images), "--out", str(tmp_path / "run")]
    processes = [
        subprocess.Popen(
            [*command, *map(str, WORDS), *words],
            env={**os.environ, **places, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for places in reversed(way(get_free_port()))
    ]
    answers = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert ["report:" in out for out, _ in answers] == [False, True]
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 3


@pytest.mark.slow
def test_two_processes_compute_half_of_the_features_each_and_get_all(images: Path, tmp_path: Path) -> None:
    """The same curve as one process's, each process having looked at half of every batch."""
    script = tmp_path / "head.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        sys.argv[0] = __file__
        import convsmith.training.features as features
        whole, seen = features.features, []
        def counted(net, images):
            seen.append(len(images))
            return whole(net, images)
        features.features = counted
        from convsmith.cli.main import main
        try:
            main()
        finally:
            print("LOOKED AT", sum(seen), file=sys.stderr)
    """)
    )
    run("train", images, "--out", tmp_path / "source", *WORDS)
    words = [images, "--from", tmp_path / "source", "--epochs", 3, "--device", "cpu"]
    words += ["--set", "data.batch_size=11", "--set", "train.finetune={head: {views: 3}}"]
    words += ["--set", "data.augment={crop: {pad: 2}}"]
    curves, looked = [], []
    for name, devices in (("one", 1), ("two", 2)):
        done = run("train", *words, "--out", tmp_path / name, "--devices", devices, script=(str(script),))
        assert done.returncode == 0, done.stderr
        curves.append(RunDirectory(tmp_path / name).read_metrics())
        looked.append(sorted(int(n) for n in re.findall(r"LOOKED AT (\d+)", done.stderr)))
    for a, b in zip(*curves, strict=True):
        for key in ("train_loss", "val_loss", "val_accuracy"):
            assert b[key] == pytest.approx(a[key], rel=1e-3, abs=1e-4), key
    (alone,) = looked[0]
    # beside the features, each looks at the first batch and at samples for its health
    assert max(looked[1]) < 0.75 * alone
    assert sum(looked[1]) >= alone
