"""What a training starts from: weights are taken over where they fit, and refused where they don't."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convsmith import catalog
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.data.signature import Signature
from convsmith.errors import UserError
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer
from convsmith.recipe import Data, Recipe, load
from convsmith.run.directory import RunDirectory
from convsmith.training import source as sources

SAME = ["class0", "class1", "class2"]


@pytest.fixture
def dataset(images: Path) -> Dataset:
    return open_data(Data(path=str(images)))


def source(folder: Path, names: list[str]) -> tuple[RunDirectory, dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    net = catalog.build("model", "lenet5", num_classes=len(names), in_channels=3, size=16)
    run = RunDirectory(folder / "source")
    run.path.mkdir()
    predictor = Predictor.of(net, Normalizer(torch.zeros(3), torch.ones(3)), Signature(tuple(names), 16, 3))
    predictor.save(run.path)
    return run, {key: value.clone() for key, value in net.state_dict().items()}


def planned(path: object, *words: str) -> Recipe:
    recipe = load(overrides=list(words))
    recipe = recipe.changed({"train.start_from": str(path)})
    return recipe.changed({"model": sources.architecture(recipe, 16)})


def test_a_run_of_as_many_classes_is_taken_whole(dataset: Dataset, tmp_path: Path) -> None:
    run, weights = source(tmp_path, SAME)
    recipe = planned(run.path)
    assert recipe.model == "lenet5", "the run knows its net"
    for place in (run.path, run.weights):
        begin = sources.initial(planned(place), dataset)
        assert (begin.findings, begin.new_head) == ((), False)
        assert all(value.equal(weights[key]) for key, value in begin.model.state_dict().items())


def test_other_classes_get_a_new_head_alone(dataset: Dataset, tmp_path: Path) -> None:
    run, weights = source(tmp_path, list("abcdefg"))
    begin = sources.initial(planned(run.path), dataset)
    model, findings = begin.model, begin.findings
    assert begin.new_head
    assert "the head (fc.weight, fc.bias) is new" in findings[0].seen
    for key, value in model.state_dict().items():
        assert value.equal(weights[key]) == (not key.startswith("fc.")), key
    assert model.fc.weight.shape == (3, 500)


def test_a_bare_weight_file_needs_the_nets_name(dataset: Dataset, tmp_path: Path) -> None:
    _, weights = source(tmp_path, SAME)
    file = tmp_path / "bare.safetensors"
    save_file({key: value.contiguous() for key, value in weights.items()}, file)
    with pytest.raises(UserError, match=r"holds weights alone; name the net that they are for with `model`"):
        planned(file)
    begin = sources.initial(planned(file, "model=lenet5"), dataset)
    # As many outputs as there are classes here; which they are, the file doesn't say.
    assert begin.new_head
    head = "the file doesn't say which classes its outputs are"
    assert [finding.means for finding in begin.findings if "the head" in finding.seen] == [head]
    state = begin.model.state_dict()
    assert all(
        state[key].equal(weights[key]) == (not key.startswith("fc.")) or not weights[key].any()
        for key in state
    )


def test_refusals(dataset: Dataset, tmp_path: Path) -> None:
    run, _ = source(tmp_path, SAME)
    with pytest.raises(UserError, match=r"doesn't fit this net: .* is missing or of another shape"):
        sources.initial(planned(run.path, "model=resnet20"), dataset)
    with pytest.raises(UserError, match="there is no such run or file"):
        sources.initial(planned(tmp_path / "nowhere", "model=lenet5"), dataset)
    run.weights.write_bytes(b"rubbish")
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        sources.initial(planned(run.path), dataset)
    with pytest.raises(UserError, match="has the weights of another net than `model=lenet5`; name one"):
        sources.initial(planned("timm:resnet10t", "model=lenet5"), dataset)


def test_timms_name_is_the_nets_name() -> None:
    assert planned("timm:resnet10t").model == "timm:resnet10t"


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("resnet18", "resnet34"),
        ("timm:vgg11", "timm:vgg13"),
        ("timm:efficientnet_lite0", "timm:efficientnet_lite1"),
    ],
)  # fmt: skip
def test_a_deeper_net_is_another_net(dataset: Dataset, tmp_path: Path, kind: str, other: str) -> None:
    """All names of the shallower one are in the deeper one's file: its first layers must not pass for it."""
    deeper = catalog.build("model", other, num_classes=3, in_channels=3, size=64)
    save_file({k: v.contiguous() for k, v in deeper.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"another net|doesn't fit this net"):
        sources.initial(planned(tmp_path / "w.safetensors", f"model={kind}"), dataset)


def weights(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    torch.manual_seed(2)
    state = catalog.build("model", "resnet20", num_classes=3, in_channels=3, size=16).state_dict()
    state = {key: value.clone() for key, value in state.items()}
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_layers_in_a_row_with_the_nets_own_are_a_deeper_nets(dataset: Dataset, tmp_path: Path) -> None:
    last = list(catalog.build("model", "resnet20", num_classes=3, in_channels=3, size=16)._modules)[-2]

    def more(state: dict[str, torch.Tensor]) -> None:
        state[f"{last.rstrip('0123456789')}9.weight"] = torch.ones(8, 8, 3, 3)

    with pytest.raises(UserError, match="another net, with layers that this one lacks"):
        sources.initial(planned(weights(tmp_path, more), "model=resnet20"), dataset)


def test_layers_beside_the_nets_own_are_left_out_and_said(dataset: Dataset, tmp_path: Path) -> None:
    def beside(state: dict[str, torch.Tensor]) -> None:
        state["projector.weight"] = torch.ones(8, 64)
        state.update({f"{key.rpartition('.')[0]}.total_ops": torch.zeros(1) for key in list(state)[:4]})

    begin = sources.initial(planned(weights(tmp_path, beside), "model=resnet20"), dataset)
    assert [f.name for f in begin.findings] == ["weights_left_out", ""]
    assert "1 tensors are left out, of layers that this net lacks: projector.weight" in begin.findings[0].seen


def test_missing_statistics_are_said(dataset: Dataset, tmp_path: Path) -> None:
    def without(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if "running_" in key]:
            del state[key]

    begin = sources.initial(planned(weights(tmp_path, without), "model=resnet20"), dataset)
    assert [f.name for f in begin.findings] == ["statistics_missing", ""]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("end", ["running_var", "conv1.weight"])
def test_weights_that_are_not_finite_are_refused(
    dataset: Dataset, tmp_path: Path, value: float, end: str
) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        state[next(key for key in state if key.endswith(end))].flatten()[0] = value

    with pytest.raises(UserError, match=rf"{end} has 1 values of .* that are NaN or infinite"):
        sources.initial(planned(weights(tmp_path, spoil), "model=resnet20"), dataset)
