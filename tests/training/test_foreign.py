"""Weight files of other trainers: seen through their wrappers, named, and never run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.training import foreign
from convsmith.training.foreign import opened, unsaid
from convsmith.training.foreign_names import _prefixes, named


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return {
        key: value.clone() for key, value in torchvision.models.resnet18(num_classes=7).state_dict().items()
    }


def ours(name: str = "resnet18", **given: Any) -> nn.Module:
    model: nn.Module = catalog.build("model", name, num_classes=3, **given)
    return model


def taken(file: Path, model: nn.Module | None = None) -> tuple[dict[str, Tensor], list[str]]:
    tensors, findings = named(opened(file), model or ours(), file.name)
    return tensors, [finding.seen for finding in findings]


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: s, []),
        (lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {}, "lr": [0.1]}}, []),
        (lambda s: {"model": {f"module.{k}": v for k, v in s.items()}}, ["begin with 'module.'"]),
        (lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()}, ["begin with '_orig_mod.module.'"]),
        (lambda s: {"state_dict": {f"model.net.{k}": v for k, v in s.items()} | {"loss.w": torch.ones(7)}},
         ["begin with 'model.net.'"]),
        (lambda s: {"state_dict": {k: torch.zeros_like(v) for k, v in s.items()}, "state_dict_ema": s},
         ["the average of the weights is taken (state_dict_ema)"]),
        (lambda s: {f"net.{k}": 0 * v for k, v in s.items()} | {f"ema.{k}": v for k, v in s.items()},
         ["begin with 'ema.'"]),
        (lambda s: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()}, []),
    ],
)  # fmt: skip
def test_wrappers_are_seen_through(
    state: dict[str, Tensor], tmp_path: Path, wrap: Any, said: list[str]
) -> None:
    torch.save(wrap(state), tmp_path / "w.pth")
    tensors, sentences = taken(tmp_path / "w.pth")
    for name, _ in ours().named_parameters():
        assert tensors[name].equal(state[name]), name
    assert len(sentences) == len(said)
    assert all(part in sentence for part, sentence in zip(said, sentences))


@pytest.mark.parametrize("suffix", ["pt", "bin", "ckpt", "tar", "safetensors"])
def test_the_content_counts_not_the_name(state: dict[str, Tensor], tmp_path: Path, suffix: str) -> None:
    torch.save(state, tmp_path / f"w.{suffix}", _use_new_zipfile_serialization=suffix != "tar")
    if suffix == "safetensors":
        save_file(state, tmp_path / f"w.{suffix}")
    assert taken(tmp_path / f"w.{suffix}")[0]["conv1.weight"].equal(state["conv1.weight"])


def test_torchvisions_names_and_timms_order(tmp_path: Path) -> None:
    theirs = torchvision.models.squeezenet1_1(num_classes=4).state_dict()
    torch.save(theirs, tmp_path / "s.pth")
    tensors, said = taken(tmp_path / "s.pth", ours("squeezenet1_1"))
    assert tensors["fc.weight"].equal(theirs["classifier.1.weight"])
    assert not said
    # torchvision's and timm's MobileNetV2 have other names and the same layers in the same order.
    theirs = torchvision.models.mobilenet_v2().state_dict()
    torch.save(theirs, tmp_path / "m.pth")
    net = timm.create_model("mobilenetv2_100", num_classes=3)
    tensors, said = taken(tmp_path / "m.pth", net)
    assert "taken in order" in said[0]
    fits = {key: value for key, value in tensors.items() if not key.startswith("classifier")}
    net.load_state_dict(fits, strict=False)
    whole = torchvision.models.mobilenet_v2()
    whole.load_state_dict(theirs)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        mine = net.eval().forward_head(net.forward_features(images), pre_logits=True)
        torch.testing.assert_close(mine, whole.eval().features(images).mean((2, 3)), rtol=1e-4, atol=1e-4)


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (nn.Linear(2, 2), "holds more than tensors .*modules.linear.Linear.*save its state_dict"),
        ({"state_dict": {"a": torch.ones(1)}, "extra": Hostile()}, "more than tensors .*save its state_dict"),
        ({"epoch": 3, "history": [1, 2]}, "holds no tensors by name, but the keys epoch, history"),
        ([1, 2], "holds no tensors by name, but a list"),
        (torch.ones(2, 3), r"holds one tensor, of shape \(2, 3\)"),
        ({"conv.weight": torch.ones(4, 3, 3, 3)}, r"holds another net: 1 tensors \(conv.weight 4x3x3x3"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_what_it_holds(tmp_path: Path, content: Any, sentence: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=sentence):
        taken(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"PK\x03\x04 not a zip", "is damaged"),
        (b"\x80\x04 not a pickle", "is damaged|more than tensors|newer protocol"),
        (b"\x89HDF\r\n\x1a\n" + b"0" * 100, "is neither a safetensors file nor what torch.save writes"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        opened(tmp_path / "w.pth")


def test_a_cut_file_is_damaged(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "w.pth").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match="is damaged"):
            opened(tmp_path / "w.pth")


def test_a_script_is_a_program(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "w.pt")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(UserError, match="TorchScript program"):
            opened(tmp_path / "w.pt")
    assert heard == []


@pytest.mark.parametrize(
    "tensor",
    [lambda: torch.eye(3).to_sparse(), lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)],
)
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
def test_tensors_that_are_no_floats_are_refused_in_one_sentence(tensor: Any, tmp_path: Path) -> None:
    torch.save({"a": tensor()}, tmp_path / "w.pt")
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(UserError, match="quantized or sparse tensors"),
    ):
        opened(tmp_path / "w.pt")


def test_a_protocol_that_torch_reads_is_nothing_to_speak_of(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt", pickle_protocol=3)
    with warnings.catch_warnings(action="error"):
        assert opened(tmp_path / "w.pt").tensors["a"].equal(torch.ones(2))
        with unsaid(), pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)


def test_a_newer_pickle_is_said_to_be_one(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt", pickle_protocol=4)
    with warnings.catch_warnings(action="error"), pytest.raises(UserError, match="newer protocol than torch"):
        opened(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: {"ema": {"decay": 0.9, "shadow": s}, "model": {k: 0 * v for k, v in s.items()}},
         "(ema.shadow)"),
        (lambda s: {"ema": {"decay": 0.9, "shadow_params": list(s.values())}, "model": s}, ""),
        (lambda s: {"ema": {"decay": torch.tensor(0.9), "updates": 7}, "state_dict": s}, ""),
        (lambda s: {"checkpoint": 1, "model": {"net": {"epoch": 3}, "state_dict": s}}, ""),
    ],
)  # fmt: skip
def test_a_wrapper_without_weights_is_no_dead_end(
    state: dict[str, Tensor], tmp_path: Path, wrap: Any, said: str
) -> None:
    torch.save(wrap(state), tmp_path / "w.pth")
    tensors, sentences = taken(tmp_path / "w.pth")
    assert all(tensors[name].equal(state[name]) for name, _ in ours().named_parameters())
    assert said in "".join(sentences)
    assert bool(said) == bool(sentences)


def test_an_average_of_parameters_takes_the_statistics_from_beside_it(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    shadow = {key: 2 * v for key, v in state.items() if "running" not in key and "num_batches" not in key}
    torch.save({"ema": {"shadow": shadow}, "model": state}, tmp_path / "w.pth")
    tensors, _ = taken(tmp_path / "w.pth")
    assert tensors["conv1.weight"].equal(2 * state["conv1.weight"])
    assert tensors["bn1.running_var"].equal(state["bn1.running_var"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"conv.weight": torch.ones(2, 2, dtype=torch.complex64)}, "holds complex numbers"),
        ({"conv.weight": torch.ones(2, 2, dtype=torch.int8)}, "holds whole numbers as weights"),
        ({"conv.weight": torch.ones(2, 2, device="meta")}, "holds shapes without numbers"),
    ],
)
def test_tensors_that_are_no_weights(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(UserError, match=message):
        foreign.opened(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("beside", "classes"),
    [
        ({"classes": ["dog", "cat"]}, ("dog", "cat")),
        ({"class_to_idx": {"cat": 1, "dog": 0}}, ("dog", "cat")),
        ({"id2label": {"0": "dog", "1": "cat"}}, ("dog", "cat")),
        ({"names": {0: "dog", 1: "cat"}}, ("dog", "cat")),
        ({"labels": [1, 2]}, None),
        ({}, None),
    ],
)
def test_classes_beside_the_weights(tmp_path: Path, beside: dict[str, object], classes: object) -> None:
    torch.save({"state_dict": {"a.weight": torch.ones(1, 1)}, **beside}, tmp_path / "w.pth")
    assert foreign.opened(tmp_path / "w.pth").classes == classes


def test_an_average_is_a_whole_word_of_a_name() -> None:
    own = {"fc.weight": torch.ones(1)}
    both = {"main.fc.weight": torch.ones(1), "semantic.fc.weight": torch.ones(1)}
    assert _prefixes(both, own) == ["main.", "semantic."]
    averaged = {"net.fc.weight": torch.ones(1), "model_ema.fc.weight": torch.ones(1)}
    assert _prefixes(averaged, own)[0] == "model_ema."


def test_fully_connected_layers_that_are_convolutions_elsewhere() -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 8 * 8, 5), nn.Linear(5, 2)
    )
    ours = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 8), nn.Flatten(), nn.Linear(5, 2))
    ours.get_classifier = lambda: ours[3]  # type: ignore[attr-defined]
    names = {"0": "a", "2": "b", "3": "c"}
    state = {f"{names[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in theirs.state_dict().items()}
    found, _ = named(foreign.Foreign(state), ours, "file")
    ours.load_state_dict(found)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours(images), theirs(images))
