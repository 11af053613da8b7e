"""The door of every net: what it writes, what it refuses, and what it makes of damaged or hostile files."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

import convsmith as cs
from convsmith import catalog
from convsmith.data.signature import Signature
from convsmith.inference import model_file
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer

FILES = Path(__file__).parent / "files"
SIZE = 8


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ).eval()


def predictor(module: nn.Module, classes: str = "abc", size: int = SIZE) -> Predictor:
    normalizer = Normalizer(torch.tensor([120.0, 110, 100]), torch.tensor([60.0, 61, 62]))
    return Predictor.of(module, normalizer, Signature(tuple(classes), size, 3))


def pixels(n: int = 3, size: int = SIZE, channels: int = 3) -> Tensor:
    draws = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, size, size, channels), dtype=torch.uint8, generator=draws)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    predictor(net()).save(tmp_path / "net")
    return tmp_path / "net"


def refused(place: Path, message: str | None = None) -> str:
    """One sentence of one line, and nothing else than a UserError."""
    with pytest.raises(cs.UserError, match=message) as caught:
        cs.load(place)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value) or "missing" in str(caught.value) or "did you mean" in str(caught.value)
    return str(caught.value)


# ---- what it writes


def test_the_weight_file_opens_alone_and_under_another_name(written: Path, tmp_path: Path) -> None:
    expected = cs.load(written).outputs(pixels())
    assert (
        cs.load(shutil.copy(written / "model.safetensors", tmp_path / "best"))
        .outputs(pixels())
        .equal(expected)
    )
    assert expected.allclose(predictor(net()).outputs(pixels()), atol=1e-6)


def test_both_files_hold_data_only(written: Path) -> None:
    described = json.loads((written / "model.json").read_text())
    assert list(described) == ["format", "net", "classes", "size", "channels"]
    assert described["format"] == 2
    assert set(load_file(written / "model.safetensors")) == {
        "normalizer.mean",
        "normalizer.std",
        "model.0.weight",
        "model.0.bias",
        "model.4.weight",
        "model.4.bias",
    }
    assert sorted(file.name for file in written.iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("make", [net, lambda: catalog.build("model", "resnet20", num_classes=3, width=4)])
def test_other_types_stay_what_they_are(
    make: Callable[[], nn.Module], dtype: torch.dtype, tmp_path: Path
) -> None:
    own = predictor(make().eval().to(dtype))
    own.save(tmp_path)
    opened = cs.load(tmp_path)
    assert {p.dtype for p in opened.module.parameters()} == {dtype}
    assert opened.outputs(pixels()).allclose(
        own.outputs(pixels()), rtol=1e-3, atol=1e-2 if dtype.itemsize == 2 else 1e-9
    )


@pytest.mark.parametrize("before", [torch.channels_last, torch.contiguous_format])
def test_memory_formats(before: torch.memory_format, tmp_path: Path) -> None:
    own = predictor(net().to(memory_format=before))
    own.save(tmp_path)
    assert cs.load(tmp_path).outputs(pixels()).allclose(own.outputs(pixels()), atol=1e-6)


def test_a_draft_writes_later_weights(tmp_path: Path) -> None:
    """Decided once; in a training only the weights change."""
    own = predictor(net())
    draft = model_file.draft(own)
    tmp_path.mkdir(exist_ok=True)
    with torch.no_grad():
        for parameter in own.module.parameters():
            parameter.mul_(1.5)
    draft.write(tmp_path, own)
    assert cs.load(tmp_path).outputs(pixels()).allclose(own.outputs(pixels()), atol=1e-5)
    assert not cs.load(tmp_path).outputs(pixels()).allclose(predictor(net()).outputs(pixels()), atol=1e-3)


@pytest.mark.parametrize("name", ["classes", "numbers"])
def test_files_of_the_first_format_open_for_ever(name: str) -> None:
    """Written by convsmith 0.1; their outputs were noted by it."""
    opened = cs.load(FILES / name)
    expected = json.loads((FILES / name / "expected.json").read_text())["outputs"]
    draws = np.random.default_rng(0)
    shape = (4, opened.size, opened.size, opened.channels)
    raw = torch.from_numpy(draws.integers(0, 256, shape, dtype=np.uint8))
    assert opened.outputs(raw).allclose(torch.tensor(expected, dtype=torch.double), atol=1e-5)
    if name == "classes":
        assert opened.costs is not None
        assert opened.costs.tolist() == [[0, 1, 2], [3, 0, 1], [5, 1, 0]]
    else:
        assert (opened.columns, opened.size, opened.stored) == (["width", "height"], 12, 16)
        assert opened.encoding is not None
        assert opened.encoding.state()["mean"] == pytest.approx([10.307, 10.083], abs=1e-3)


def test_a_file_of_the_first_format_is_written_again_in_the_second(tmp_path: Path) -> None:
    opened = cs.load(FILES / "numbers")
    opened.save(tmp_path)
    again = cs.load(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["format"] == 2
    assert again.signature == opened.signature
    assert again.outputs(pixels(2, 12)).allclose(opened.outputs(pixels(2, 12)), atol=1e-6)


@pytest.mark.parametrize("section", ["nin", {"nin": {"norm": "batch"}}, {"nin": {"pooling": "average"}}])
def test_nin_of_the_first_format_keeps_the_poolings_of_its_time(section: Any, tmp_path: Path) -> None:
    """Both were the one named, max where none was; later a bare nin has the paper's, max then average."""
    torch.manual_seed(0)
    ((name, given),) = section.items() if isinstance(section, dict) else [(section, {})]
    own = catalog.build("model", {name: {"pooling": "max", **given}}, num_classes=3, in_channels=3, size=8)
    tensors = {f"model.{key}": value for key, value in own.eval().state_dict().items()}
    tensors |= {"normalizer.mean": torch.full((3,), 128.0), "normalizer.std": torch.full((3,), 64.0)}
    save_file(tensors, tmp_path / "model.safetensors")
    described = {"format": 1, "model": section, "classes": list("abc"), "size": 8, "channels": 3}
    (tmp_path / "model.json").write_text(json.dumps(described))
    opened = cs.load(tmp_path)
    images = (pixels().permute(0, 3, 1, 2).float() - 128) / 64
    assert opened.outputs(pixels()).allclose(own(images).double(), atol=1e-5)
    opened.save(tmp_path / "again")
    assert cs.load(tmp_path / "again").outputs(pixels()).allclose(own(images).double(), atol=1e-5)


def test_nin_of_an_older_file_of_the_second_format_names_its_pooling(tmp_path: Path) -> None:
    """``"pooling": "max"``, written then at its default, is one net; ``null`` is the paper's."""
    answers = []
    for pooling, stored in (("max", "max"), (None, None)):
        torch.manual_seed(0)
        own = catalog.build("model", {"nin": {"pooling": pooling}}, num_classes=3, size=SIZE).eval()
        predictor(own).save(tmp_path / str(pooling))
        described = json.loads((tmp_path / str(pooling) / "model.json").read_text())
        assert described["net"]["spec"]["nin"]["pooling"] == stored
        answers.append(cs.load(tmp_path / str(pooling)).outputs(pixels()))
    assert not answers[0].allclose(answers[1], atol=1e-3)


# ---- what it refuses to write


class If(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "values decide": (
        lambda: nn.Sequential(net()[:4], If(), nn.Linear(16, 3)),
        r"layer 1 \(If\).*depends on the values",
    ),  # type: ignore[index]
    "outputs": (lambda: nn.Sequential(net(), nn.Linear(3, 4)), r"gives \(1, 4\) for one image"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), r"layer 1 \(LazyLinear\) has no weights"),
    "wrapped": (lambda: nn.DataParallel(net()), "attribute module"),
    "script": (lambda: torch.jit.script(net()), "torch.jit"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_what_cant_be_written_is_named_and_the_old_file_stays(name: str, written: Path) -> None:
    before = contents(written)
    make, message = REFUSED[name]
    with pytest.raises(cs.UserError, match=message):
        predictor(make().eval()).save(written)
    assert contents(written) == before


def test_places_that_cant_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path) -> None:
    own = predictor(net())
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(cs.UserError, match="cannot write .*file.*; choose another folder"):
            own.save(place)
    assert (tmp_path / "file").read_text() == "mine"

    before = contents(written)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cs.UserError, match=r"cannot write .*No space left on device"):
        predictor(nn.Sequential(nn.Flatten(), nn.Linear(192, 3))).save(written)
    assert contents(written) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", save({"fc.weight": torch.ones(2, 3)}, {"format": "pt"})),
        ("model.safetensors", b"cut"),
        ("model.safetensors", (2**60).to_bytes(8, "little") + b"{}"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]and more"),
        ("model.json", b'{"format": "layers-model", "weightsManifest": []}'),
        ("model.json", b"[]"),
    ],
    ids=["others' weights", "cut", "endless", "no header", "others' description", "no description"],
)
def test_files_of_these_names_that_others_wrote_stay(name: str, content: bytes, tmp_path: Path) -> None:
    """Other libraries call their files so, too; what convsmith wrote is replaced."""
    own = predictor(net())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        cs.UserError, match=rf"{name} is there already, and isn't convsmith's; choose another"
    ):
        own.save(tmp_path)
    assert contents(tmp_path) == {name: content}
    (tmp_path / name).unlink()
    for again in (own, predictor(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval())):
        again.save(tmp_path)
        assert cs.load(tmp_path).outputs(pixels()).allclose(again.outputs(pixels()), atol=1e-6)
    shutil.copytree(FILES / "numbers", tmp_path / "first")
    own.save(tmp_path / "first")
    assert cs.load(tmp_path / "first").outputs(pixels()).allclose(own.outputs(pixels()), atol=1e-6)


def test_killed_between_the_two_writes(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new weights lie beside the old description: the sentence says what to do, and that works."""
    from convsmith.inference import model_file as door

    other = predictor(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval())
    real = door.write_file

    def killed(path: Path, content: Any) -> None:
        if path.name == "model.json":
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(door, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        other.save(written)
    refused(written, "model.json is not the description.*or delete it: model.safetensors carries its own")
    (written / "model.json").unlink()
    assert cs.load(written).outputs(pixels()).allclose(other.outputs(pixels()), atol=1e-6)


# ---- damaged and foreign files


def rewrite(folder: Path, description: Any, tensors: dict[str, Tensor] | None = None) -> Path:
    """A weight file alone, whose description and digest agree: what anyone who knows the format may write."""
    tensors = load_file(folder / "model.safetensors") if tensors is None else tensors
    text = json.dumps(description)
    forged = folder / "forged.safetensors"
    forged.write_bytes(model_file._packed(tensors, text))
    (folder / "model.json").unlink(missing_ok=True)
    return forged


def test_bytes_that_are_damaged(written: Path) -> None:
    weights = written / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (
        b"",
        whole[:7],
        whole[:200],
        whole[:-7],
        whole + b"x",
        b"\xff" * 8 + whole[8:],
        pickle.dumps([1]),
    ):
        weights.write_bytes(damaged)
        refused(written, "is not a whole safetensors file")
    flipped = bytearray(whole)
    flipped[-9] ^= 16
    weights.write_bytes(flipped)
    refused(written, "is damaged: its tensors")
    place = whole.index(b'"classes') if b'"classes' in whole else whole.index(b"classes")
    flipped = bytearray(whole)
    flipped[place + 2] ^= 1
    weights.write_bytes(flipped)
    refused(written)
    weights.unlink()
    weights.mkdir()
    refused(written, "can't be read")
    weights.rmdir()
    refused(written, "model.safetensors is missing")
    refused(written / ("x" * 300))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "no format"),
        ('"text"', "no format"),
        ("{}", "no format"),
        ('{"format": true}', "no format"),
        ('{"format": "2"}', "no format"),
        ('{"format": 0}', "no format"),
        ('{"format": 99}', "newer convsmith"),
        ('{"format": 1}', "not the description"),
    ],
)
def test_descriptions_that_are_damaged(written: Path, text: str, message: str) -> None:
    (written / "model.json").write_text(text)
    refused(written, message)
    (written / "model.json").write_bytes(b"\xff\xfe{")
    refused(written, "is damaged")


def test_a_description_of_other_weights(written: Path, tmp_path: Path) -> None:
    predictor(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.json", written)
    refused(written, "is not the description that these weights were written with")
    shutil.copy(FILES / "classes" / "model.safetensors", written)
    refused(written, "is not the weight file that model.json was written with")


def edits() -> dict[str, Callable[[dict[str, Any]], None]]:
    """Ways to make a valid description a hostile one."""

    def put(*path: Any) -> Callable[[dict[str, Any]], None]:
        *way, last, value = path

        def edit(description: dict[str, Any]) -> None:
            here: Any = description
            for key in way:
                here = here[key]
            here[last] = value

        return edit

    program = ("net", "program")
    relu = (*program, "ops", 1)

    def renamed(new: str) -> Callable[[dict[str, Any]], None]:
        def edit(description: dict[str, Any]) -> None:
            own = description["net"]["program"]
            own["layers"][new] = own["layers"].pop("1")
            own["ops"][1]["in"][0] = new

        return edit

    found = {
        **{
            f"renamed to {new!r}": renamed(new)
            for new in (
                "..",
                "",
                "a..b",
                "forward",
                "__class__",
                "a.__dict__",
                "_modules",
                "training",
                "forward_head",
            )
        },
        **{
            f"op {kind}": put(*relu, {"op": kind, "in": [{"ref": 1}]})
            for kind in (
                "aten.from_file.default",
                "aten.set_.source_Tensor",
                "aten.resize_.default",
                "aten._foobar.default",
                "aten.nothing.default",
                "aten.relu.nothing",
                "aten.__class__.default",
                "os.system",
                "aten",
                "",
                "size.getattr",
                "size.__import__",
                "prim.device.default",
                "aten._fused_adam_.default",
                "aten._cdist_forward.default",
                "torch.load",
                "builtins.eval",
                "aten.op.default",
                "aten.relu.__class__",
                "aten.conv2d.default",
            )
        },
        **{
            f"layer {kind}": put(*program, "layers", "1", {"kind": kind})
            for kind in (
                "Module",
                "Sequential",
                "modules",
                "Parameter",
                "functional",
                "ModuleList",
                "__class__",
                "",
                "DataParallel",
                "optimizer:sgd",
                "model:resnet20",
                "nothing:here",
                "norm:batch",
                "Conv2d",
                "Transformer",
                "init",
                "CrossEntropyLoss",
                "Linear",
                ":",
                "os:system",
                "parallel",
            )
        },
        "huge": put(*program, "layers", "0", "with", "out_channels", 10**9),
        "absurd": put(*program, "layers", "0", "with", "out_channels", 10**40),
        "no channels": put(*program, "layers", "0", "with", "in_channels", 0),
        "wrong arguments": put(*program, "layers", "0", "with", {"nothing": 1}),
        "stride of text": put(*program, "layers", "0", "with", "stride", "__import__('os')"),
        "cycle": put(*relu, "in", ["1", {"ref": 2}]),
        "forward": put(*relu, "in", ["1", {"ref": 4}]),
        "negative": put(*relu, "in", ["1", {"ref": -1}]),
        "true": put(*relu, "in", ["1", {"ref": True}]),
        "layer without input": put(*relu, "in", ["1"]),
        "layer with two": put(*relu, "in", ["1", {"ref": 1}, {"ref": 1}]),
        "layer with a number": put(*relu, "in", ["1", 7]),
        "layer with words": put(*relu, "with", {"inplace": True}),
        "layer unknown": put(*relu, "in", ["9", {"ref": 1}]),
        "layer as a list": put(*relu, "in", [["1"], {"ref": 1}]),
        "output": put(*program, "output", 99),
        "output before the end": put(*program, "output", 1),
        "output is the input": put(*program, "output", 0),
        "output true": put(*program, "output", True),
        "no array": put(*program, "layers", "0", "arrays", "weight", "nothing"),
        "array of a slot that isn't there": put(*program, "layers", "0", "arrays", "__class__", "0.weight"),
        "swapped arrays": put(*program, "layers", "0", "arrays", "weight", "4.weight"),
        "sort of array": put(*program, "arrays", "0.weight", "code"),
        "tie": put(*program, "ties", {"5.weight": "nothing"}),
        "tie to itself": put(*program, "ties", {"0.weight": "0.weight"}),
        "argument of two sorts": put(
            *relu, {"op": "aten.relu.default", "in": [{"ref": 1, "array": "0.weight"}]}
        ),
        "argument of no sort": put(*relu, {"op": "aten.relu.default", "in": [{}]}),
        "word": put(*relu, {"op": "aten.to.dtype", "in": [{"ref": 1}, {"dtype": "load"}]}),
        "deep": put(*relu, {"op": "aten.relu.default", "in": deep(400)}),
        "memory": put(*relu, {"op": "aten.ones.default", "in": [[10**13]]}),
        "layers list": put(*program, "layers", []),
        "ops object": put(*program, "ops", {}),
        "ops of numbers": put(*program, "ops", [1, 2]),
        "no program": put("net", {}),
        "net list": put("net", []),
        "net text": put("net", "resnet20"),
        "spec list": put("net", {"spec": [], "size": 8}),
        "spec two": put("net", {"spec": {"lenet5": {}, "resnet20": {}}, "size": 8}),
        "spec unknown": put("net", {"spec": {"lenet6": {}}, "size": 8}),
        "spec of other weights": put("net", {"spec": {"resnet20": {}}, "size": 8}),
        "spec huge": put("net", {"spec": {"resnet20": {"width": 10**7}}, "size": 8}),
        "spec of timm": put("net", {"spec": {"timm:hf-hub:someone/evil": {}}, "size": 8}),
        "spec of a file": put("net", {"spec": {"source": {}}, "size": 8}),
        "members none": put("net", {"members": [], "combine": "average", "numeric": False}),
        "members combine": put("net", {"members": [], "combine": "exec", "numeric": False}),
        "members text": put("net", {"members": "abc", "combine": "average", "numeric": False}),
        "size text": put("size", "8"),
        "size zero": put("size", 0),
        "size huge": put("size", 10**12),
        "size true": put("size", True),
        "net size": put("net", "size", -3),
        "channels": put("channels", 4),
        "classes text": put("classes", "abc"),
        "classes numbers": put("classes", [1, 2, 3]),
        "classes few": put("classes", ["a", "b"]),
        "classes none": put("classes", []),
        "costs": put("costs", [[1]]),
        "costs text": put("costs", "x"),
        "target": put("target", {"encoding": {"numbers": {}}, "columns": ["x"], "state": {"__class__": 1}}),
        "target columns": put("target", {"encoding": {"numbers": {}}, "columns": ["x"], "state": {}}),
        "target unknown": put("target", {"encoding": {"os": {}}, "columns": ["x"], "state": {}}),
    }
    return found


def deep(times: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(times):
        found = [found]
    return found


@pytest.mark.parametrize("name", edits())
def test_descriptions_that_are_hostile(written: Path, name: str) -> None:
    description = json.loads((written / "model.json").read_text())
    edits()[name](description)
    refused(rewrite(written, description))


def test_missing_and_misshapen_tensors(written: Path) -> None:
    description = json.loads((written / "model.json").read_text())
    tensors = load_file(written / "model.safetensors")
    for name in tensors:
        refused(rewrite(written, description, {key: value for key, value in tensors.items() if key != name}))
    for name, value in (
        ("model.0.weight", torch.zeros(4, 2, 3, 3)),
        ("model.4.bias", torch.zeros(2)),
        ("normalizer.mean", torch.zeros(2)),
        ("normalizer.std", torch.zeros(())),
        ("model.4.weight", torch.zeros(3, 16, dtype=torch.int64)),
    ):
        refused(rewrite(written, description, {**tensors, name: value}))


@pytest.mark.slow
def test_a_hundred_thousand_operations(written: Path) -> None:
    """Many are no fault: they are carried out, without recursion."""
    description = json.loads((written / "model.json").read_text())
    own = description["net"]["program"]
    last = own["output"]
    own["ops"] += [{"op": "aten.relu.default", "in": [{"ref": last + n}]} for n in range(100_000)]
    own["output"] = last + 100_000
    found = cs.load(rewrite(written, description)).outputs(pixels())
    assert found.allclose(predictor(net()).outputs(pixels()).relu(), atol=1e-6)


def test_nothing_is_executed_or_opened(written: Path, tmp_path: Path) -> None:
    """Opening a hostile file opens no other file, starts no process and no connection."""
    description = json.loads((written / "model.json").read_text())
    victim = tmp_path / "victim"
    victim.write_bytes(b"\0" * 64)
    operation = {"op": "aten.from_file.default", "in": [str(victim), True, 16]}
    description["net"]["program"]["ops"][1] = operation
    hostile = rewrite(written, description)
    code = (
        "import sys, convsmith as cs\nfrom convsmith.inference import model_file\n"
        "seen = []\nsys.addaudithook(lambda event, given: seen.append((event, given)))\n"
        "try: cs.load(sys.argv[1])\nexcept cs.UserError as error: print(error)\n"
        "bad = [e for e in seen if e[0] in ('exec', 'os.system', 'subprocess.Popen', 'socket.connect')"
        " and not str(e[1]).startswith('(<code object <')]\n"
        "opened = [str(e[1][0]) for e in seen if e[0] == 'open' and 'victim' in str(e[1][0])]\n"
        "assert not opened, opened\n"
        "assert not [e for e in bad if e[0] != 'exec'], bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(hostile)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "aten.from_file" in done.stdout


# ---- mutations


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**12, "", "0", "weight", "..", [], {}, 1.5]),
)


def paths(here: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way] if way else []
    if isinstance(here, dict):
        return found + [path for key in here for path in paths(here[key], (*way, key))]
    if isinstance(here, list):
        return found + [path for key, part in enumerate(here) for path in paths(part, (*way, key))]
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("mutated")
    predictor(net()).save(folder)
    described = json.loads((folder / "model.json").read_text())
    return folder, described, load_file(folder / "model.safetensors")


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_mutation_opens_or_is_a_sentence(
    base: tuple[Path, dict[str, Any], dict[str, Tensor]], data: st.DataObject
) -> None:
    folder, described, tensors = base
    mutated = copy.deepcopy(described)
    for _ in range(data.draw(st.integers(1, 2))):
        every = paths(mutated)
        *way, last = data.draw(st.sampled_from(every))
        here = mutated
        for key in way:
            here = here[key]
        if data.draw(st.booleans()) and isinstance(here, dict):
            del here[last]
        else:
            here[last] = data.draw(VALUES)
        if not paths(mutated):
            break
    forged = rewrite(folder, mutated, tensors)
    message, opened = "", None
    try:
        opened = cs.load(forged)
    except cs.UserError as error:
        message = str(error)
    assert "\n" not in message
    if opened is not None:
        assert opened.net.outputs(pixels(2)).shape == (2, len(opened.classes))
        opened.predict(pixels(1)[0].numpy())
