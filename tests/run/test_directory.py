from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import convsmith as cs
from convsmith.data.atomic import write
from convsmith.data.item import Item
from convsmith.errors import UserError
from convsmith.run.directory import RunDirectory, environment


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write(file, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(file, "new")
    assert file.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["f"]


def test_a_run_is_locked_while_its_process_lives(tmp_path: Path) -> None:
    holder = textwrap.dedent("""
        import sys, time
        from convsmith.run.directory import RunDirectory
        run = RunDirectory(sys.argv[1]); run.open_new(); print("held", flush=True); time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(UserError, match="is in use by another process"):
        RunDirectory(tmp_path / "run").open_new()
    process.kill()
    process.wait()
    process.stdout.close()
    run = RunDirectory(tmp_path / "run")
    run.open_new()
    run.unlock()


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files; choose a new or an empty folder"):
        RunDirectory(tmp_path / "full").open_new()
    assert (tmp_path / "full/thesis.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write to .*file .*; choose another folder for `out`"):
        RunDirectory(tmp_path / "file").open_new()
    with pytest.raises(UserError, match="cannot write to /proc/run"):
        RunDirectory("/proc/run").open_new()
    with pytest.raises(UserError, match="holds no run to resume"):
        RunDirectory(tmp_path / "none").open_existing()


def test_a_recipe_of_the_users_is_no_run(tmp_path: Path) -> None:
    """What `advise` wrote may lie among other work, over which no training goes on."""
    (tmp_path / "recipe.yaml").write_text("train: {epochs: 3}")
    with pytest.raises(UserError, match="holds other files; choose a new or an empty folder"):
        RunDirectory(tmp_path).open_new()
    with pytest.raises(UserError, match="holds no run to resume"):
        RunDirectory(tmp_path).open_existing()
    with pytest.raises(UserError, match="holds no run to resume"):
        cs.train(out=tmp_path, resume=True)
    assert (tmp_path / "recipe.yaml").read_text() == "train: {epochs: 3}"


def test_hidden_files_stay(tmp_path: Path) -> None:
    (tmp_path / ".writable").write_text("mine")
    run = RunDirectory(tmp_path)
    run.open_new()
    run.unlock()
    assert (tmp_path / ".writable").read_text() == "mine"


def test_metrics_and_files_come_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.open_new()
    rows = [{"epoch": 1, "val_loss": 0.1 + 0.2}, {"epoch": 2, "val_loss": 1e-300}]
    run.write_metrics(rows)
    assert run.read_metrics() == rows
    odd = os.fsdecode(b'/data/\xff, "x"\n.png')
    items = [
        Item(Path(odd), "猫", "train"),
        Item(Path("/b.png"), "dog", "val"),
        Item(Path("/c.png"), "dog", None),
    ]
    run.write_files(items)
    assert run.read_files() == items[:2]
    run.unlock()


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(UserError, match="is .* a run"):
        run.read_json(run.model)
    run.model.write_text("{")
    with pytest.raises(UserError, match=r"model\.json is damaged"):
        run.read_json(run.model)
    with pytest.raises(UserError, match=r"files\.csv is missing or damaged .*; restore it"):
        run.read_files()


def test_a_runs_file_names_the_run(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert RunDirectory.of(tmp_path).path == RunDirectory.of(tmp_path / "model.safetensors").path == tmp_path


def test_environment_has_the_versions() -> None:
    import torch

    found = environment()
    assert found["packages"]["torch"] == torch.__version__.split("+")[0]
    assert found["cores"] == os.cpu_count()


def test_limits_are_restored() -> None:
    """The limit that the full-disk test of the command line sets is its own process's."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
