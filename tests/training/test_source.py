"""What a training starts from: weights are taken over where they fit, and refused where they don't."""

from __future__ import annotations

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
    model = sources.initial(planned(file, "model=lenet5"), dataset).model
    assert all(value.equal(weights[key]) for key, value in model.state_dict().items())


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
