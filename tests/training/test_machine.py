"""Several trainings in one script, by one process and by two."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from convsmith.run.directory import RunDirectory

SCRIPT = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    import convsmith as cs

    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    words = {"model": "lenet5", "device": "cpu", "set": ["data.batch_size=12"]}
    first = cs.train(data, out=out / "first", epochs=2, devices=2, **words)
    second = cs.train(data, out=out / "second", epochs=1, devices=2, start_from=first, **words)
    alone = cs.train(data, out=out / "alone", epochs=1, **words)
    third = cs.train(data, out=out / "third", epochs=1, devices=2, **words)
    try:
        cs.train(data, out=out / "alone", epochs=1, **words)
    except cs.UserError as error:
        refused = "already holds a run" in str(error)
    # One write a line, so that two processes' lines stay whole.
    os.write(1, f"done {[run['accuracy'] for run in (first, second, alone, third)]} {refused}\\n".encode())
""")


@pytest.mark.slow
def test_trainings_follow_each_other_with_two_processes(images: Path, tmp_path: Path) -> None:
    """Two, then one alone, then two again: every process gets the same figures, nobody hangs or dies."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(script), str(images), str(out)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("done")]
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0].endswith("True")
    for name, epochs in (("first", 2), ("second", 1), ("alone", 1), ("third", 1)):
        assert len(RunDirectory(out / name).read_metrics()) == epochs, "written by one process"


@pytest.mark.slow
def test_processes_need_a_script(images: Path, tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys, convsmith as cs
        try:
            cs.train(sys.argv[1], out=sys.argv[2], model="lenet5", epochs=1, devices=2, device="cpu")
        except cs.UserError as error:
            print("refused:", error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, str(images), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "refused: several processes each run the script from its start" in done.stdout
    assert not (tmp_path / "run/recipe.yaml").exists()
