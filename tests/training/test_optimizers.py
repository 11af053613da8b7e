from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convsmith as cs
from conftest import make_images
from convsmith import catalog
from convsmith.run.directory import RunDirectory
from convsmith.training.loop import Fit

H = np.diag([1.0, 10.0])


def path(spec: dict, steps: int = 20) -> np.ndarray:
    """Iterates on f(w) = w'Hw/2 from (1, 1)."""
    w = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = catalog.build("optimizer", spec, params=[w])
    found = []

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = w @ torch.from_numpy(H) @ w / 2
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(evaluate)
        found.append(w.detach().numpy().copy())
    return np.array(found)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(nesterov: bool, momentum: float) -> None:
    w, v, expected = np.ones(2), np.zeros(2), []
    for _ in range(20):
        g = H @ w
        v = momentum * v + g
        w = w - 0.05 * (g + momentum * v if nesterov else v)
        expected.append(w)
    spec = {"sgd": {"lr": 0.05, "momentum": momentum, "nesterov": nesterov}}
    np.testing.assert_allclose(path(spec), expected, rtol=1e-10)


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adamw", 0.1)])
def test_adam(name: str, decay: float) -> None:
    w, m, v, expected = np.ones(2), np.zeros(2), np.zeros(2), []
    for t in range(1, 21):
        g = H @ w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        step = 0.03 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
        w = w - step
        expected.append(w)
    arguments = {"lr": 0.03, "beta1": 0.8, "beta2": 0.95}
    if name == "adam":
        np.testing.assert_allclose(path({"adam": arguments}), expected, rtol=1e-7)
        return
    # Vectors aren't decayed, so adamw on a vector is adam; on a matrix, one step shrinks by lr * decay.
    np.testing.assert_allclose(path({"adamw": {**arguments, "weight_decay": decay}}), expected, rtol=1e-7)
    matrix = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    optimizer = catalog.build("optimizer", {"adamw": {"lr": 0.5, "weight_decay": decay}}, params=[matrix])
    matrix.grad = torch.zeros_like(matrix)
    optimizer.step()
    np.testing.assert_allclose(matrix.detach(), 1 - 0.5 * decay, rtol=1e-12)


def test_adagrad() -> None:
    w, s, expected = np.ones(2), np.zeros(2), []
    for _ in range(20):
        g = H @ w
        s = s + g**2
        w = w - 0.3 * g / (np.sqrt(s) + 1e-10)
        expected.append(w)
    np.testing.assert_allclose(path({"adagrad": {"lr": 0.3}}), expected, rtol=1e-10)


def test_adadelta_with_the_notes_defaults() -> None:
    """rho = 0.95, eps = 1e-6, no rate."""
    w, s, u, expected = np.ones(2), np.zeros(2), np.zeros(2), []
    for _ in range(20):
        g = H @ w
        s = 0.95 * s + 0.05 * g**2
        d = np.sqrt(u + 1e-6) / np.sqrt(s + 1e-6) * g
        u = 0.95 * u + 0.05 * d**2
        w = w - d
        expected.append(w)
    np.testing.assert_allclose(path({"adadelta": {}}), expected, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(momentum: float) -> None:
    w, s, v, expected = np.ones(2), np.zeros(2), np.zeros(2), []
    for _ in range(20):
        g = H @ w
        s = 0.9 * s + 0.1 * g**2
        v = momentum * v + g / (np.sqrt(s) + 1e-8)
        w = w - 0.02 * v
        expected.append(w)
    np.testing.assert_allclose(path({"rmsprop": {"lr": 0.02, "momentum": momentum}}), expected, rtol=1e-7)


def test_nesterov_looks_ahead() -> None:
    """The notes' form, whose gradient is taken at w + mu v, visits the same points as torch's w."""
    w, v, ahead = np.ones(2), np.zeros(2), []
    for _ in range(20):
        v = 0.9 * v - 0.05 * H @ (w + 0.9 * v)
        w = w + v
        ahead.append(w + 0.9 * v)
    np.testing.assert_allclose(path({"sgd": {"lr": 0.05, "momentum": 0.9}}), ahead, rtol=1e-10)


def test_lbfgs_finds_the_minimum_of_a_quadratic_at_once_and_rosenbrocks_valley_in_few_updates() -> None:
    np.testing.assert_allclose(path({"lbfgs": {}}, 1), [[0, 0]], atol=1e-5)
    w = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = catalog.build("optimizer", "lbfgs", params=[w])

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(evaluate)
    np.testing.assert_allclose(w.detach(), [1, 1], atol=1e-5)


# Large enough to move in thirty updates, small enough not to diverge; adadelta and lbfgs have none to choose.
RATES = {"sgd": 0.02, "adagrad": 0.01, "rmsprop": 1e-3, "adam": 2e-3, "adamw": 2e-3}


@pytest.mark.parametrize("name", catalog.names("optimizer"))
def test_every_optimizer_trains_lenet5(name: str, tmp_path: Path) -> None:
    data = make_images(tmp_path / "data", images=40)
    arguments = {"lr": RATES[name]} if name in RATES else {}
    words = [f"optimizer={{{name}: {arguments}}}", "schedule=constant", "data.augment={}", "train.device=cpu"]
    # Of one batch an epoch: what L-BFGS is for.
    words += ["train.epochs=5", "data.batch_size=96"] if name == "lbfgs" else ["train.epochs=12"]
    found = cs.train(data, out=tmp_path / "run", model="lenet5", set=words)
    assert found["accuracy"] > 0.9
    rows = RunDirectory(tmp_path / "run").read_metrics()
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 2


def test_momentum_rises_with_the_epochs(images: Path, tmp_path: Path) -> None:
    """From 0.5 to 0.99 over half the training, whatever batch it is."""
    seen = []

    class Watch:
        def on_batch_end(self, state: Fit) -> None:
            seen.append(state.optimizer.param_groups[0]["momentum"])

    words = ["optimizer={sgd: {lr: 0.001, momentum: 0.99, momentum_start: 0.5}}", "train.epochs=4"]
    cs.train(
        images,
        out=tmp_path / "run",
        model="lenet5",
        set=[*words, "data.batch_size=24"],
        callbacks=[Watch()],
    )
    steps = len(seen)
    assert steps == 8
    np.testing.assert_allclose(seen, [0.5 + 0.49 * min(1, 2 * i / steps) for i in range(steps)])


def test_a_group_has_its_own_decay_and_scale() -> None:
    """adamw splits vectors off within every group, and both parts keep the group's scale."""
    body, head = nn.Linear(2, 2), nn.Linear(2, 3)
    groups = [{"params": list(body.parameters()), "scale": 0.1}, {"params": list(head.parameters())}]
    made = catalog.build("optimizer", {"adamw": {"weight_decay": 0.2}}, params=groups)
    assert [(g.get("scale"), g["weight_decay"], len(g["params"])) for g in made.param_groups] == [
        (0.1, 0.2, 1),
        (0.1, 0.0, 1),
        (None, 0.2, 1),
        (None, 0.0, 1),
    ]


@pytest.mark.parametrize("word", ["train.accumulate=2", "train.clip=1", "train.precision=16-mixed"])
def test_lbfgs_refuses_what_its_line_search_cannot_have(word: str, images: Path, tmp_path: Path) -> None:
    with pytest.raises(cs.UserError, match="lbfgs evaluates a batch several times an update: "):
        cs.train(
            images, out=tmp_path / "run", model="lenet5", set=["optimizer=lbfgs", word, "train.device=cpu"]
        )
