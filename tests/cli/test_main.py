"""The command line as a user meets it: exit codes, JSON, sentences."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import make_images

Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ["--model", "lenet5", "--epochs", 4, "--device", "cpu", "--set", "optimizer.sgd.lr=0.02"]


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    command = [sys.executable, "-m", "convsmith.cli.main", "train", images, "--out", out, *QUICK]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch   4/4" in done.stderr
    assert f"report: {out}/report.html" in done.stdout
    return out


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("convsmith: "), done.stderr
    for part in parts:
        assert part in last, last


def test_help_is_quick_and_imports_no_torch() -> None:
    code = textwrap.dedent("""
        import sys
        sys.argv = ["convsmith", "--help"]
        from convsmith.cli.main import main
        try:
            main()
        except SystemExit:
            pass
        assert not {"torch", "numpy", "pydantic", "PIL"} & set(sys.modules), "heavy imports"
    """)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in ("train", "evaluate", "predict", "report", "summary", "techniques"):
        assert command in done.stdout
    # CPU seconds, which other work on the machine hardly changes
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_version(tmp_path: Path) -> None:
    import convsmith

    done = _in_process(["--version"], tmp_path)
    assert (done.returncode, done.stdout) == (0, f"convsmith {convsmith.__version__}\n")


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    done = _in_process([], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: convsmith [OPTIONS] COMMAND")


def test_run_directory_holds_all_it_promises(trained: Path) -> None:
    names = {file.name for file in trained.iterdir() if not file.name.startswith(".")}
    assert names == {
        "recipe.yaml",
        "data.json",
        "files.csv",
        "metrics.csv",
        "steps.csv",
        "health.csv",
        "model.safetensors",
        "model.json",
        "last.ckpt",
        "report.html",
        "confusion.csv",
        "environment.json",
    }
    data = json.loads((trained / "data.json").read_text())
    assert data["classes"] == ["class0", "class1", "class2"]
    assert data["counts"]["val"] == {"class0": 4, "class1": 4, "class2": 4}
    header, *rows = (trained / "metrics.csv").read_text().splitlines()
    assert header.startswith("epoch,lr,train_loss")
    assert {"train_cross_entropy", "train_l2", "train_accuracy", "val_loss", "val_accuracy"} <= set(
        header.split(",")
    )
    assert len(rows) == 4


def test_json_is_the_last_line(trained: Path, images: Path, tmp_path: Path, convsmith: Run) -> None:
    def last(*words: object) -> dict:
        done = convsmith(*words, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    own = last("evaluate", trained)
    assert own["split"] == "val"
    assert own["n"] == 12
    assert set(own["per_class"]) == {"class0", "class1", "class2"}
    everything = last("evaluate", trained, images)
    assert everything["n"] == 60
    best = max(float(row.split(",")[-3]) for row in (trained / "metrics.csv").read_text().splitlines()[1:])
    assert own["accuracy"] == pytest.approx(best)
    picture = images / "class1/000.png"
    (prediction,) = last("predict", trained, picture, "--top", 2)["predictions"]
    assert prediction["file"] == str(picture)
    assert len(prediction["top"]) == 2
    assert last("report", trained)["report"] == str(trained / "report.html")
    assert last("summary", "lenet5", "--input", "1x28x28")["parameters"] == 431_080
    assert any(card["name"] == "sgd" for card in last("techniques")["techniques"])
    again = last("train", images, "--out", tmp_path / "run", *QUICK)
    assert again["epochs"] == 4
    assert again["accuracy"] == pytest.approx(own["accuracy"]), "the same seed gives the same net"


def test_a_run_reproduces_from_its_recipe(trained: Path, tmp_path: Path, convsmith: Run) -> None:
    done = convsmith("train", "--out", tmp_path / "again", "--recipe", trained / "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again/model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_people_read_tables(trained: Path, convsmith: Run) -> None:
    assert "of 12 val images right" in convsmith("evaluate", trained).stdout
    assert "431,080 parameters" in convsmith("summary", "lenet5", "--input", "1x28x28").stdout
    by_chapter = convsmith("techniques", "--by", "chapter").stdout
    chapters = [line for line in by_chapter.splitlines() if not line.startswith(" ")]
    assert chapters == sorted(chapters, key=lambda line: int(line.split()[0]))
    assert "10 网络训练 training" in chapters
    card = convsmith("techniques", "cosine").stdout
    assert "schedule cosine(warmup, final)" in card
    assert "Loshchilov" in card


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "nowhere", "--out", "{tmp}/r"], ["there is no nowhere; DATA is a folder"]),
        (["train", "--out", "{tmp}/r"], ["no DATA"]),
        (["train", "{images}"], ["--out"]),
        (["train", "{images}", "--out", "/proc/r"], ["cannot write to /proc/r"]),
        (["train", "{images}", "--out", "{images}/run"], ["lies inside DATA", "choose a folder outside"]),
        (["train", "{images}", "--out", "{tmp}/r", "--model", "resnt20"], ["did you mean 'resnet20'"]),
        (["train", "{images}", "--out", "{tmp}/r", "--set", "trian.epochs=1"], ["did you mean 'train'"]),
        (["train", "{images}", "--out", "{tmp}/r", "--epochs", "0"], ["--epochs"]),
        (["train", "{images}", "--out", "{tmp}/r", "--epochs", "many"], ["--epochs"]),
        (["train", "{images}", "--out", "{tmp}/r", "--device", "tpu"], ["train.device='tpu' is not valid"]),
        (["train", "{images}", "--out", "{tmp}/r", "--from", "nowhere"], ["--from nowhere"]),
        (["train", "--out", "{tmp}/r", "--resume"], ["holds no run to resume"]),
        (
            ["train", "{images}", "--out", "{tmp}/r", "--recipe", "no.yaml"],
            ["cannot read the recipe no.yaml"],
        ),
        (["evaluate", "nowhere"], ["there is no run or model file nowhere"]),
        (["evaluate", "{images}"], ["holds no trained model"]),
        (["predict", "{run}", "nothing.png"], ["there is no image nothing.png"]),
        (["predict", "{run}", "{tmp}"], ["there is no picture in the folder"]),
        (["predict", "{run}", "{tmp}/*.png"], ["nothing matches"]),
        (["predict", "{run}", "https://example.com/cat.jpg"], ["is an address; download the picture first"]),
        (["predict", "{run}", "x.png", "--side", "300"], ["--side is of score maps"]),
        (["predict", "{run}", "x.png", "--score-map", "{tmp}/m", "--top", "3"], ["--top lists classes"]),
        (["predict", "{run}"], ["IMAGE"]),
        (["report", "{images}"], ["is no run; a report is of the folder that train wrote"]),
        (["summary", "lenet7"], ["did you mean 'lenet5'"]),
        (["summary", "lenet5", "--input", "3x32"], ["--input takes CHANNELSxHEIGHTxWIDTH"]),
        (["summary", "lenet5", "--input", "3x8x8"], ["at least 16 pixels"]),
        (["techniques", "dropot"], ["there is no technique 'dropot'"]),
        (["trian"], ["trian"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence(
    trained: Path, images: Path, tmp_path: Path, words: list[str], parts: list[str]
) -> None:
    places = {"tmp": tmp_path, "images": images, "run": trained}
    refused(_in_process([word.format(**places) for word in words], tmp_path), *parts)
    assert not (tmp_path / "r" / "recipe.yaml").exists()


def _in_process(words: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What the entry point writes and exits with; in this process, since torch takes seconds to import."""
    import contextlib
    import io

    from convsmith.cli import main

    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["convsmith", *words]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def test_a_cache_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", "/dev/null/cache")
    refused(_in_process(["train", "digits", "--out", str(tmp_path / "r")], tmp_path), "/dev/null/cache")


def test_data_of_unknown_classes_is_refused(trained: Path, tmp_path: Path, convsmith: Run) -> None:
    make_images(tmp_path / "class9", classes=1, images=2)
    (tmp_path / "class9/class0").rename(tmp_path / "class9/zebra")
    refused(
        convsmith("evaluate", trained, tmp_path / "class9"),
        "is of class 'zebra', which the model doesn't know",
    )


def test_evaluate_names_what_it_leaves_out(trained: Path, tmp_path: Path, convsmith: Run) -> None:
    make_images(tmp_path, images=2, seed=1)
    (tmp_path / "class0/empty.png").write_bytes(b"")
    picture = tmp_path / "class1/001.png"
    picture.write_bytes(picture.read_bytes()[:100])
    done = convsmith("evaluate", trained, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["n"] == 5
    (finding,) = found["findings"]
    assert finding["seen"].startswith("2 files left out: ")
    assert "empty file" in done.stderr
    assert "001.png" in done.stderr


def test_a_full_disk_loses_nothing(trained: Path, images: Path, tmp_path: Path, convsmith: Run) -> None:
    """With room for the first files but not for a checkpoint; then with room, it goes on."""
    script = textwrap.dedent("""
        import resource, sys
        sys.argv = ["convsmith", *sys.argv[1:]]
        import convsmith.verbs.train, convsmith.training.session
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        from convsmith.cli.main import main
        main()
    """)
    out = tmp_path / "run"
    words = [sys.executable, "-c", script, "train", images, "--out", out, *QUICK]
    full = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    refused(full, "make room, then go on with", f"--out {out} --resume")
    resumed = convsmith("train", "--out", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (out / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_a_run_in_use_is_refused(trained: Path, images: Path, tmp_path: Path) -> None:
    from convsmith.run.directory import RunDirectory

    run = RunDirectory(tmp_path / "run")
    run.open_new()
    try:
        refused(
            _in_process(["train", str(images), "--out", str(run.path)], tmp_path),
            "is in use by another process",
        )
    finally:
        run.unlock()


def test_weights_of_another_run_start_a_run(trained: Path, tmp_path: Path, convsmith: Run) -> None:
    """On other classes: all but the head are taken over, which the log and the data's findings say."""
    make_images(tmp_path / "data", classes=2, images=10, seed=5)
    done = convsmith(
        "train",
        tmp_path / "data",
        "--out",
        tmp_path / "run",
        "--from",
        trained,
        "--epochs",
        1,
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    assert "the head (fc.weight, fc.bias) is new" in done.stderr
    refused(
        convsmith(
            "train", tmp_path / "data", "--out", tmp_path / "r2", "--from", trained, "--model", "resnet20"
        ),
        "doesn't fit this net",
    )


def test_tensorboard_events_are_an_option(images: Path, tmp_path: Path, convsmith: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = convsmith("train", images, "--out", tmp_path / "run", *QUICK, "--set", "train.tensorboard=true")
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    values = [event.value for event in events.Scalars("val_accuracy")]
    lines = (tmp_path / "run/metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_accuracy")
    assert values == pytest.approx([float(line.split(",")[column]) for line in lines[1:]])
