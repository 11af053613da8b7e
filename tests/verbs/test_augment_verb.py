from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith.data.opened import open_data
from convsmith.errors import UserError
from convsmith.recipe import load

QUICK = ["model=lenet5", "train.epochs=2", "data.batch_size=16", "optimizer.sgd.lr=0.01"]


def pictures(page: Path) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", page.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def test_the_page_shows_what_the_net_will_see(
    images: Path, tmp_path: Path, convsmith: Callable[..., Any]
) -> None:
    page = tmp_path / "page.html"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {augment: {flip: {p: 1.0}}}\n")
    words = ["augment", images, "--recipe", recipe, "--out", page]
    words += ["--images", 3, "--draws", 2, "--seed", 5, "--json"]
    done = convsmith(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["augment"] == {"flip": {"p": 1.0}}
    shown = pictures(page)
    assert len(shown) == 3 * 3
    for original, *seen in (shown[place : place + 3] for place in (0, 3, 6)):
        for picture in seen:
            assert np.abs(picture.astype(int) - original[:, ::-1].astype(int)).max() <= 1
    first = page.read_text()
    convsmith(*words)
    assert page.read_text() == first, "the seed decides"
    assert "Mirror left and right" in first


def test_mixtures_say_what_is_in_them(images: Path, tmp_path: Path) -> None:
    words = ["data.augment={mixup: {alpha: 5}}"]
    cs.augment(images, out=tmp_path / "page.html", set=words, images=6, draws=3)
    text = (tmp_path / "page.html").read_text()
    assert re.search(r"class\d \d\d% \+ class\d \d\d%", text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.augment={flipp: {}}"], "there is no augmentation 'flipp'; did you mean 'flip'"),
        (["data.augment={rotate: {degrees: 500}}"], "degrees=500 is not valid"),
        (["data.augment={rotate: {angle: 5}}"], "rotate has no argument 'angle'"),
        (["data.augment={guided_crop: {}}"], r"`cs.response_maps\(RUN, 'maps.npz'\)`"),
        (["data.augment={guided_crop: {maps: nowhere.npz}}"], "nowhere.npz has no response maps"),
        (["data.crops=0"], "data.crops=0 is not valid"),
    ],
)
def test_mistakes(images: Path, tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cs.augment(images, out=tmp_path / "page.html", set=words)
    with pytest.raises(UserError, match="there is no folder"):
        cs.augment(images, out=tmp_path / "nowhere/page.html")
    with pytest.raises(UserError, match="is a folder; name a file in it"):
        cs.augment(images, out=tmp_path)


def test_mixing_needs_terms_that_take_mixtures(images: Path, tmp_path: Path) -> None:
    words = [*QUICK, "data.augment={cutmix: {p: 1.0}, mixup: {}}"]
    result = cs.train(images, out=tmp_path / "run", set=words)
    assert 0 <= result["accuracy"] <= 1
    words = [*QUICK, "data.augment={mixup: {}}", "objective={hinge: {}}"]
    with pytest.raises(UserError, match="mixup makes targets between classes, which objective hinge can't"):
        cs.train(images, out=tmp_path / "other", set=words)


def test_several_crops_an_image_lengthen_the_epoch(images: Path, tmp_path: Path) -> None:
    """48 training images, 3 pictures of each, at most 16 a batch: 10 batches."""
    seen = []

    class Count:
        def on_start(self, state: Any) -> None:
            seen.append(len(state.train))
            seen.extend(batch for batch in state.train.epoch(0))

    words = [*QUICK, "data.crops=3", "train.epochs=1"]
    cs.train(images, out=tmp_path / "run", set=words, callbacks=[Count()])
    assert seen[0] == 10
    for batch in seen[1:]:
        triples = batch.images.unflatten(0, (-1, 3))
        assert len(batch.images) <= 16
        assert (batch.targets.view(-1, 3) == batch.targets.view(-1, 3)[:, :1]).all()
        assert not triples[:, 0].equal(triples[:, 1]), "each cropped by itself"
    assert sum(len(batch.images) for batch in seen[1:]) == 3 * 48


def test_guided_crops_go_where_the_net_saw_the_class(images: Path, tmp_path: Path) -> None:
    """Maps by hand: only the lower right cell responds, so every crop's center lies there."""
    from convsmith.data.guided_crop import GuidedCrop
    from convsmith.data.shuffle import generator

    dataset = open_data(load(overrides=[f"data.path={images}"]).data)
    files = [item.path for item in dataset.items]
    maps = np.zeros((len(files), 4, 4), np.float16)
    maps[:, 3, 3] = 2
    maps[0] = 0
    np.savez(tmp_path / "maps.npz", maps=maps, files=np.array([str(file.absolute()) for file in files]))
    crop = GuidedCrop(16, files, str(tmp_path / "maps.npz"), scale=(0.1, 0.2), ratio=(1.0, 1.0))
    rows = torch.arange(1, 40)
    matrices = crop.matrices(len(rows), generator(1), rows)
    centers = matrices[:, :2, 2] + 8
    assert centers.min() >= 12 - 3.5, "in the last quarter, or as far as the border lets it"
    everywhere = crop.matrices(500, generator(1), torch.zeros(500, dtype=torch.long))[:, :2, 2] + 8
    assert everywhere.min() < 5, "no response: anywhere"


def test_maps_are_made_and_used(images: Path, tmp_path: Path, convsmith: Callable[..., Any]) -> None:
    cs.train(images, out=tmp_path / "first", set=QUICK)
    done = convsmith("inspect", tmp_path / "first", "--response-maps", tmp_path / "maps.npz", "--json")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "maps.npz") as content:
        assert len(content["files"]) == 48, "the training images"
        assert (content["maps"] >= 0).all()
        assert content["maps"].any()
    words = [*QUICK, f"data.augment={{guided_crop: {{maps: {tmp_path / 'maps.npz'}}}}}"]
    cs.train(images, out=tmp_path / "second", set=words)
