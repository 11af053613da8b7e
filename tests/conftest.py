from __future__ import annotations

import datetime
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import xxhash
from PIL import Image
from torch import Tensor, nn

from convsmith.catalog import register
from fork_server import ForkServer

BEGUN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget", type=float, help="Seconds after which no further test begins.")


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[BEGUN] = time.monotonic()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked gpu are left out where there is none; under a budget each day begins with other files."""
    if not torch.cuda.is_available():
        gone = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]
    if config.getoption("budget") is not None:
        files = sorted({item.path for item in items})
        first = datetime.date.today().toordinal() % max(1, len(files))
        places = {file: (place - first) % len(files) for place, file in enumerate(files)}
        items.sort(key=lambda item: places[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    budget = item.config.getoption("budget")
    if budget is not None and time.monotonic() - item.config.stash[BEGUN] > budget:
        pytest.skip("no time is left for it; make test-all runs it")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing of the user's cache is read or written."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["CONVSMITH_CACHE"] = str(folder)
    # huggingface_hub has read its own variable when it was imported.
    huggingface_hub.constants.HF_HUB_CACHE = os.environ["HF_HUB_CACHE"] = str(folder / "hub")
    return folder


@pytest.fixture(autouse=True)
def register_as_before() -> Iterator[None]:
    """What a test registers in the catalogue is forgotten."""
    kept = dict(register._REGISTER.cards), dict(register._REGISTER.targets)
    yield
    register._REGISTER.cards, register._REGISTER.targets = kept


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health measures whatever it may, also on a machine so busy that its share of the time would run out."""
    from convsmith.training import health

    monkeypatch.setattr(health, "FREE", 1e9)


class Mask(nn.Module):
    """A parametrization: a weight times a 0/1 mask; without a right_inverse, as in torch's documentation."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def make_images(root: Path, classes: int = 3, images: int = 20, size: int = 16, seed: int = 0) -> Path:
    """An image folder whose classes differ in where a bright bar lies; every fifth is on val's side."""
    draws = np.random.default_rng(seed)
    judges = set(range(4, images, 5)) or {images - 1} - {0}
    for label in range(classes):
        folder = root / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(images):
            place = label * size // classes
            file = io.BytesIO()
            # An image's side follows from its bytes: others are drawn until it is the one wanted.
            while not file.tell() or (side_share(file.getvalue()) < 0.2) != (number in judges):
                pixels = draws.integers(0, 120, (size, size, 3), dtype=np.uint8)
                pixels[:, place : place + max(1, size // classes)] += 100
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "png")
            (folder / f"{number:03d}.png").write_bytes(file.getvalue())
    return root


def side_share(content: bytes) -> float:
    """Where a file lies between 0 and 1, by which it is divided."""
    from convsmith.data.splitting import share

    return share(xxhash.xxh3_128_hexdigest(content), 0)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 learnable images of 16x16 in three classes; read only."""
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def fork_server(cache: Path) -> Iterator[ForkServer | None]:
    """One process that has imported everything; None where forks of it aren't safe."""
    server = ForkServer() if sys.platform == "linux" else None
    yield server
    if server is not None:
        server.close()


@pytest.fixture
def convsmith(fork_server: ForkServer | None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own."""

    def run(*given: object, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        words = list(map(str, given))
        if fork_server is not None and not environment and fork_server.serves(words):
            return fork_server.run(words, timeout)
        return subprocess.run(
            [sys.executable, "-m", "convsmith.cli.main", *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **environment},
            check=False,
        )

    return run
