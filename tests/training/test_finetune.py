"""Fine-tuning: rates by stage, frozen stages with their statistics, features computed once."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

import convsmith as cs
from conftest import make_images
from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data import builtin
from convsmith.inference.model_file import tensors_of
from convsmith.nn.stages import stages
from convsmith.run.directory import RunDirectory
from convsmith.training import features
from convsmith.training.assemble import assemble
from convsmith.training.loop import Fit, fit
from convsmith.training.planning import planned

NET = "model={resnet20: {width: 4}}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A net trained on four classes, and images of three others."""
    root = tmp_path_factory.mktemp("tuning")
    known = make_images(root / "known", classes=4, images=40, seed=1)
    cs.train(known, out=root / "run", set=[NET, "train.epochs=8"])
    return make_images(root / "new", classes=3, images=30, seed=2), root / "run"


def assembled(source: tuple[Path, Path], tuning: str, *words: str) -> Fit:
    data, run = source
    base = ["data.augment={}", "train.device=cpu", "train.epochs=4", "data.batch_size=24"]
    recipe = recipes.load(None, [*base, f"train.finetune={tuning}", *words])
    ready = planned(recipe.changed({"data.path": str(data), "train.start_from": str(run)}))
    assert ready.initial is not None
    return assemble(ready.plan, ready.dataset, ready.fabric, ready.initial.model)


def test_rates_fall_geometrically_from_the_head(source: tuple[Path, Path]) -> None:
    state = assembled(source, "{all_stages: {decay: 0.5}}", "optimizer.sgd.lr=0.08")
    rates = {group["stage"]: group["initial_lr"] for group in state.optimizer.param_groups}
    assert rates == {"stage 1": 0.01, "stage 2": 0.02, "stage 3": 0.04, "head": 0.08}
    found = stages(state.task.model, (3, 16, 16))
    for group, stage in zip(state.optimizer.param_groups, found):
        assert [id(p) for p in group["params"]] == [id(p) for p in stage.parameters(state.task.model)]


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_stages_stay_with_their_statistics(source: tuple[Path, Path], frozen: bool) -> None:
    """Those of stages that learn stay too, unless the recipe has them count on."""
    words = [] if frozen else ["train.frozen_statistics=false"]
    state = assembled(source, "{last_stages: {stages: 2}}", "optimizer.sgd.lr=0.05", *words)
    before = {key: value.clone() for key, value in state.task.model.state_dict().items()}
    fit(state)
    after = state.task.model.state_dict()
    moved = {key.partition(".")[0] for key, value in after.items() if not value.equal(before[key])}
    assert moved == {"layer3", "fc"}
    counted = [
        key
        for key in after
        if key.startswith("layer3") and "running_mean" in key and not after[key].equal(before[key])
    ]
    assert bool(counted) != frozen


def test_gradual_unfreezing_wakes_one_stage_after_the_other(source: tuple[Path, Path]) -> None:
    state = assembled(source, "{gradual: {until: 0.75, decay: 1.0}}", "optimizer.sgd.lr=0.05")
    seen = []
    before = {key: value.clone() for key, value in state.task.model.state_dict().items()}

    class Watch:
        def on_epoch_end(self, state: Fit) -> None:
            after = state.task.model.state_dict()
            seen.append({k.partition(".")[0] for k, v in after.items() if not v.equal(before[k])})
            before.update({key: value.clone() for key, value in after.items()})

    fit(state, [Watch()])
    first = {"conv1", "norm1", "bn1", "layer1"} & {key.partition(".")[0] for key in before}
    assert seen[:3] == [{"fc"}, {"fc", "layer3"}, {"fc", "layer3", "layer2"}]
    assert seen[3] == {"fc", "layer3", "layer2"} | first


def test_the_head_on_features_is_the_head_on_a_frozen_net(source: tuple[Path, Path]) -> None:
    """Without augmentation, computing the features once changes nothing but the time."""
    words = ("optimizer.sgd.lr=0.1", "objective={cross_entropy: {}}")
    quick = assembled(source, "{head: {views: 1}}", *words)
    assert isinstance(quick.task.model, features.OnFeatures)
    slow = assembled(source, "{last_stages: {stages: 1}}", *words)
    # The same fresh head: the source's has other classes.
    heads = [state.task.model.get_classifier() for state in (quick, slow)]
    heads[0].load_state_dict(heads[1].state_dict())
    fit(quick), fit(slow)
    torch.testing.assert_close(heads[0].weight, heads[1].weight, atol=1e-4, rtol=1e-3)
    for key in ("val_loss", "val_accuracy"):
        assert quick.history[-1][key] == pytest.approx(slow.history[-1][key], abs=1e-4)


def test_a_new_head_begins_where_all_classes_are_alike(source: tuple[Path, Path]) -> None:
    state = assembled(source, "all_stages")
    (batch,) = state.val.in_order().epoch(0)
    with torch.no_grad():
        logits = state.task.model.eval()(batch.images)
    assert logits.unique().tolist() == [0.0]


def test_the_last_features_and_those_before_the_last_stage(source: tuple[Path, Path]) -> None:
    net = assembled(source, "all_stages").task.model.eval()
    feed = assembled(source, "all_stages").train.in_order(plain=True)
    last, before = features.probes(net, feed)
    images = torch.cat([batch.images for batch in feed.epoch(0)])
    with torch.no_grad():
        maps = net.layer2(net.layer1(net.act1(net.bn1(net.conv1(images)))))
        wanted = net.forward_head(net.forward_features(images), pre_logits=True)
    torch.testing.assert_close(last, wanted, rtol=1e-4, atol=1e-5)
    halves = [maps[:, :, top : top + 4, left : left + 4].mean((2, 3)) for top in (0, 4) for left in (0, 4)]
    torch.testing.assert_close(before, torch.stack(halves, 2).flatten(1), rtol=1e-4, atol=1e-5)


def test_views_are_augmented_pictures_one_drawn_an_epoch(source: tuple[Path, Path]) -> None:
    data, run = source
    recipe = recipes.load(
        None, ["train.device=cpu", "train.finetune={head: {views: 3}}", "data.batch_size=24"]
    )
    ready = planned(recipe.changed({"data.path": str(data), "train.start_from": str(run)}))
    assert ready.initial is not None
    state = assemble(ready.plan, ready.dataset, ready.fabric, ready.initial.model)
    feed = state.train
    assert isinstance(feed, features.FeatureBatches)
    views = feed.views
    assert views.shape == (3, len(ready.dataset.train), 16)
    assert not views[1].allclose(views[2], atol=1e-3), "each view is a picture of its own"
    plain = torch.cat([batch.images for batch in feed.feed.sample(1000).epoch(0)])
    found = features.features(state.task.model.whole, plain)
    torch.testing.assert_close(views[0], found, rtol=1e-3, atol=1e-4)
    order = torch.cat([batch.images for batch in feed.epoch(0)])
    rows = feed.feed.order(0)
    distances = (order[None] - views[:, rows]).abs().amax(2)
    assert (distances.min(0).values == 0).all(), "every image once, in the sampler's order"
    assert len({int(view) for view in distances.argmin(0)}) == 3
    again = torch.cat([batch.images for batch in feed.epoch(0)])
    assert again.equal(order), "a pure function of the epoch"
    part = torch.cat([batch.images for batch in feed.epoch(0, first=1)])
    assert part.equal(order[len(order) - len(part) :])


def test_mixed_views_beside_the_plain_one(source: tuple[Path, Path]) -> None:
    state = assembled(source, "{head: {views: 2}}", "data.augment={mixup: {alpha: 1}}")
    plain, mixed = state.train.targets
    assert plain.amax(1).unique().tolist() == [1.0]
    assert float(mixed.amax(1).min()) < 1
    torch.testing.assert_close(plain.sum(1), mixed.sum(1))
    assert plain.argmax(1).equal(state.train.feed.targets)
    fit(state)


def test_a_classifier_that_reads_maps_is_trained_on_the_frozen_net(tmp_path: Path, images: Path) -> None:
    cs.train(images, out=tmp_path / "source", set=["model=nin", "train.epochs=1"])
    found = assembled((images, tmp_path / "source"), "head")
    assert not isinstance(found.task.model, features.OnFeatures)
    # At zero, the rectifier behind it would let no gradient through.
    assert bool(found.task.model.fc.weight.count_nonzero())
    before = {key: value.clone() for key, value in found.task.model.state_dict().items()}
    fit(found)
    moved = {k for k, v in found.task.model.state_dict().items() if not v.equal(before[k])}
    assert moved == {"fc.weight", "fc.bias"}


def test_the_whole_net_is_kept_normalized_as_its_source(source: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = source
    words = ["train.finetune={head: {}}", "train.epochs=10", "train.ema.decay=0.5"]
    found = cs.train(data, out=tmp_path / "run", start_from=str(run), set=words)
    kept, _ = tensors_of(tmp_path / "run/model.safetensors")
    given, _ = tensors_of(run / "model.safetensors")
    same = {key for key in kept if key in given and kept[key].equal(given[key])}
    assert {key for key in kept if key not in same} == {"model.fc.weight", "model.fc.bias"}
    assert "normalizer.mean" in same
    assert recipes.load(tmp_path / "run/recipe.yaml").data.normalize.mean == "source"
    assert cs.evaluate(tmp_path / "run").accuracy == pytest.approx(found["accuracy"])


def test_a_head_interrupted_ends_as_one_that_was_not(source: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = source
    words = ["train.finetune={head: {views: 2}}", "train.epochs=6", "train.checkpoint_minutes=0"]

    class Break:
        def on_batch_end(self, state: Fit) -> None:
            if state.epoch == 3:
                raise KeyboardInterrupt

    cs.train(data, out=tmp_path / "whole", start_from=str(run), set=words)
    with pytest.raises(KeyboardInterrupt):
        cs.train(data, out=tmp_path / "broken", start_from=str(run), set=words, callbacks=[Break()])
    cs.train(out=tmp_path / "broken", resume=True)
    kept = [tensors_of(tmp_path / name / "model.safetensors")[0] for name in ("whole", "broken")]
    assert all(value.equal(kept[1][key]) for key, value in kept[0].items())
    rows = [RunDirectory(tmp_path / name).read_metrics() for name in ("whole", "broken")]
    for one, other in zip(*rows):
        assert {k: v for k, v in one.items() if k not in ("seconds", "images_per_second")} == {
            k: v for k, v in other.items() if k not in ("seconds", "images_per_second")
        }


def said(run: Path) -> str:
    """The recipe's text without its line breaks."""
    return " ".join((run / "recipe.yaml").read_text().replace("#", " ").split())


@pytest.mark.slow
def test_the_rule_chooses_by_images_and_similarity(source: tuple[Path, Path], tmp_path: Path) -> None:
    digits = Path(builtin.folder("digits")) / "train"
    for label in "01234":
        (tmp_path / "known").mkdir(exist_ok=True)
        (tmp_path / "known" / label).symlink_to(digits / label)
    for label in "012":
        folder = tmp_path / "few" / label
        folder.mkdir(parents=True)
        for file in sorted((digits / label).iterdir())[:40]:
            (folder / file.name).symlink_to(file)
    known = tmp_path / "digits"
    cs.train(tmp_path / "known", out=known, set=[NET, "train.epochs=6", "data.batch_size=32"])
    cs.train(tmp_path / "few", out=tmp_path / "run", start_from=str(known), set=["train.epochs=1"])
    assert "tuning the layers below it is expected to add" in said(tmp_path / "run")
    assert re.search(r"within the noise of \d+ validation images", said(tmp_path / "run"))
    found = recipes.load(tmp_path / "run/recipe.yaml")
    assert catalog.split("finetuning", found.train.finetune)[0] == "head"
    # The rate is one over the largest curvature that features of this length can have.
    ready = planned(found)
    assert ready.initial is not None
    feed = assemble(ready.plan, ready.dataset, ready.fabric, ready.initial.model).train
    length = float(feed.views[0].square().sum(1).mean())
    assert found.optimizer["sgd"]["lr"] == pytest.approx(2 / length, rel=0.1)
    # A source that has hardly learned: its last stage is worth nothing to anyone.
    data, run = source
    words = ["train.epochs=1", "data.val=0.5"]
    cs.train(data, out=tmp_path / "other", start_from=str(run), set=words)
    assert "unlike, its last stage loses what these classes need" in said(tmp_path / "other")
    assert "all_stages" in recipes.load(tmp_path / "other/recipe.yaml").train.finetune
    data = tmp_path / "few"
    # The same classes again: the head is trained already, and nothing is frozen.
    cs.train(data, out=tmp_path / "again", start_from=str(tmp_path / "run"), set=["train.epochs=1"])
    assert recipes.load(tmp_path / "again/recipe.yaml").train.finetune is None


@pytest.mark.parametrize("name", [name for name in catalog.names("finetuning") if name != "joint"])
def test_every_way_of_tuning_learns(name: str, source: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = source
    found = cs.train(
        data, out=tmp_path / "run", start_from=str(run), set=[f"train.finetune={name}", "train.epochs=12"]
    )
    assert found["accuracy"] > 0.45, "chance is a third"


def test_timms_statistics_normalize_timms_weights(images: Path) -> None:
    from convsmith.data.opened import open_data
    from convsmith.training.source import _timms

    dataset = open_data(recipes.Data(path=str(images)))
    net = catalog.build("model", "timm:tf_efficientnet_lite0", num_classes=3)
    found = _timms(net, dataset)
    assert found is not None
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    torch.testing.assert_close(found(pixels)[0, :, 0], torch.tensor([[-1.0, 1.0]] * 3))


@pytest.mark.slow
def test_gradual_refuses_several_processes(
    source: tuple[Path, Path], tmp_path: Path, convsmith: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    data, run = source
    done = convsmith(
        "train",
        data,
        "--out",
        tmp_path / "run",
        "--from",
        run,
        "--devices",
        2,
        "--device",
        "cpu",
        "--set",
        "train.finetune=gradual",
    )
    assert done.returncode == 2
    assert "gradual unfreezing is for one process" in done.stderr
    assert "Traceback" not in done.stderr


def test_fabric_is_what_the_features_are_computed_with(source: tuple[Path, Path]) -> None:
    state = assembled(source, "head")
    assert isinstance(state.fabric, Fabric)
    net = state.task.model.whole
    (batch,) = state.val.feed.in_order().epoch(0)
    with torch.no_grad():
        logits = net.eval()(batch.images)
        on_features = state.task.model(torch.cat([b.images for b in state.val.epoch(0)]))
    torch.testing.assert_close(on_features, logits, atol=1e-4, rtol=1e-4)


def test_views_take_half_of_the_free_memory_at_most(
    source: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three views asked for, as many as half of what is free has room for; none: images as they are."""
    state = assembled(source, "all_stages", "data.augment={crop: {pad: 2}}")
    feed, net, fabric = state.train, state.task.model, state.fabric
    one = len(feed.split) * (4 * 16 + 8)  # float32 features, and a class

    def views(free: int) -> int | None:
        monkeypatch.setattr(features, "free_memory", lambda: free)
        found = features.computed(net, feed, 3, fabric, lambda batches, *_: batches)
        return None if found is None else len(found.views)

    assert feed.augment is not None
    assert [views(2 * n * one) for n in (3, 2, 1)] == [3, 2, 1]
    assert views(2 * 3 * one - 1) == 2
    assert views(2 * one - 1) is None


def test_features_are_written_where_they_stay(source: tuple[Path, Path]) -> None:
    """No tensor but the result itself is as large as one view."""
    from torch.utils._python_dispatch import TorchDispatchMode

    state = assembled(source, "all_stages", "data.augment={crop: {pad: 2}}")
    rows = len(state.train.split)
    size = rows * 16 * 4
    made: dict[int, torch.Tensor] = {}

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            found = func(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor) and found.shape[-2:] == (rows, 16):
                made[found.untyped_storage().data_ptr()] = found  # held, so that no address comes again
            return found

    with Sizes():
        found = features.computed(state.task.model, state.train, 2, state.fabric, lambda b, *_: b)
    assert found is not None
    assert found.views.untyped_storage().nbytes() == 2 * size
    large = {where for where, own in made.items() if own.untyped_storage().nbytes() >= size}
    assert large == {found.views.untyped_storage().data_ptr()}
