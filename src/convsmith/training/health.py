"""Measurements that a diagnosis reads beside metrics.csv: losses of batches, gradients, zero responses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convsmith.advice.evidence import SAMPLE
from convsmith.nn.responses import captured, rectifiers
from convsmith.nn.weights import places
from convsmith.run.directory import RunDirectory
from convsmith.training.loop import Feed, Fit

# Number of losses kept of each epoch, and of the first batches of the first epoch.
STEPS = 50
# Number of updates of an epoch at which gradients are measured.
LOOKS = 4


class Health:
    """Write ``steps.csv`` (epoch, batch, loss) and ``health.csv`` (epoch, what, name, value).

    ``what`` is ``gradient`` or ``weight`` (root mean square over a layer's weights; in epoch 0
    ``first_gradient``, that of the first batch, before any update; where a parametrization or pruning
    computes the weight, ``weight`` is of the computed one, and the gradients are those of all parameters that
    it is computed from), ``silent`` (share of a
    rectifier's responses that are zero), ``dead`` (share of its channels that never respond), ``predicted``
    (share of the validation sample that gets the most frequent answer; ``true``: share of the most frequent
    class), or
    ``right`` (accuracy on plain images of ``train`` and of ``val``). All are measured on samples, without
    touching the training's random generators.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.losses: list[tuple[int, int, Tensor]] = []
        self.gradients: dict[str, Tensor] = {}
        self.looks = 0
        self.updates = 0

    def on_start(self, state: Fit) -> None:
        # Drop rows that a killed process wrote about an epoch that is now repeated.
        before = state.epoch + 1
        self.steps = [r for r in self.run.read_table(self.run.steps) if int(r["epoch"]) < before]
        self.rows = [r for r in self.run.read_table(self.run.health) if int(r["epoch"]) < before]
        self.weights = {
            name: weight
            for name, weight in places(state.task.model).items()
            if any(p.requires_grad and p.numel() > 1 for p in weight.parameters())
        }
        self.names = [
            name
            for name in rectifiers(state.task.model)
            if isinstance(state.task.model.get_submodule(name), nn.ReLU | nn.ReLU6)
        ]
        # Drawn once: decoding the sample each epoch would start the workers each time.
        self.samples = {"train": state.train.sample(SAMPLE), "val": state.val.sample(SAMPLE)}
        optimizer = getattr(state.optimizer, "optimizer", state.optimizer)
        self.hook = optimizer.register_step_pre_hook(lambda *_: self._look(state))

    def _look(self, state: Fit) -> None:
        self.updates += 1
        if (self.updates - 1) % max(1, len(state.train) // (LOOKS * state.accumulate)):
            return
        self.looks += 1
        squares = {
            name: _mean_square(gradients)
            for name, weight in self.weights.items()
            if (gradients := [p.grad.detach() for p in weight.parameters() if p.grad is not None])
        }
        for name, found in squares.items():
            self.gradients[name] = self.gradients.get(name, torch.zeros_like(found)) + found
        if state.epoch == 0 and not self.rows:
            # Written at once: a training whose gradients explode may not reach the end of its first epoch.
            self._note(0, [("first_gradient", name, v.sqrt().item()) for name, v in squares.items()])

    def on_batch_end(self, state: Fit) -> None:
        every = max(1, len(state.train) // STEPS)
        first = state.epoch == 0 and state.batch <= STEPS
        if state.loss is not None and (first or state.batch % every == 0):
            self.losses.append((state.epoch + 1, state.batch, state.loss))

    def on_epoch_end(self, state: Fit) -> None:
        epoch = state.epoch
        rows: list[tuple[str, str, float]] = []
        if self.looks:
            for name, total in self.gradients.items():
                value = self.weights[name].value().detach()
                rows.append(("gradient", name, (total / self.looks).sqrt().item()))
                rows.append(("weight", name, _mean_square([value]).sqrt().item()))
        self._note(epoch, rows + self._responses(state))
        self.gradients, self.looks, self.updates = {}, 0, 0
        self._write_steps()

    def on_finish(self, state: Fit) -> None:
        self.hook.remove()
        self._write_steps()

    def _note(self, epoch: int, rows: list[tuple[str, str, float]]) -> None:
        self.rows += [
            {"epoch": str(epoch), "what": what, "name": name, "value": f"{value:.6g}"}
            for what, name, value in rows
        ]
        self.run.write_table(self.run.health, ["epoch", "what", "name", "value"], map(_cells, self.rows))

    def _write_steps(self) -> None:
        self.steps += [
            {"epoch": str(epoch), "batch": str(batch), "loss": f"{loss.item():.6g}"}
            for epoch, batch, loss in self.losses
        ]
        self.losses = []
        self.run.write_table(self.run.steps, ["epoch", "batch", "loss"], map(_cells, self.steps))

    @torch.no_grad()
    def _responses(self, state: Fit) -> list[tuple[str, str, float]]:
        model = state.task.model
        was_training = model.training
        model.eval()
        rows: list[tuple[str, str, float]] = []
        with captured(model, self.names) as seen:
            answers, truth, units = _run(state, model, self.samples["val"], seen)
        for name, per_image in units.items():
            silent = torch.cat([zeros for zeros, _ in per_image])
            alive = torch.cat([responds for _, responds in per_image]).any(0)
            rows += [("silent", name, float(silent.mean())), ("dead", name, 1 - float(alive.float().mean()))]
        if truth.ndim == 1 and not truth.is_floating_point():
            rows.append(("predicted", "answers", _commonest(answers)))
            rows.append(("predicted", "true", _commonest(truth)))
            rows.append(("right", "val", float((answers == truth).float().mean())))
            answers, truth, _ = _run(state, model, self.samples["train"], {})
            rows.append(("right", "train", float((answers == truth).float().mean())))
        model.train(was_training)
        return rows


Units = dict[str, list[tuple[Tensor, Tensor]]]


def _run(state: Fit, model: nn.Module, feed: Feed, seen: dict[str, Tensor]) -> tuple[Tensor, Tensor, Units]:
    """The net's answers on a sample, the true classes, and for each layer in ``seen`` and each image the
    share of zeros (n,) and the channels that respond (n, C)."""
    answers: list[Tensor] = []
    truth: list[Tensor] = []
    units: Units = {}
    for batch in feed.epoch(0):
        with state.fabric.autocast():
            logits = model(state.fabric.strategy.precision.convert_input(batch.images))
        answers.append(logits.argmax(1))
        truth.append(batch.targets)
        for name, output in seen.items():
            maps = output.flatten(2) if output.ndim > 2 else output[:, :, None]
            units.setdefault(name, []).append(((maps <= 0).float().mean((1, 2)), (maps > 0).any(2)))
    return torch.cat(answers), torch.cat(truth), units


def _mean_square(tensors: list[Tensor]) -> Tensor:
    """Mean square over all entries of several tensors."""
    if len(tensors) == 1:
        return tensors[0].float().pow(2).mean()
    sums = torch.stack([tensor.float().pow(2).sum() for tensor in tensors])
    return sums.sum() / sum(tensor.numel() for tensor in tensors)


def _commonest(classes: Tensor) -> float:
    return float(classes.bincount().max() / len(classes))


def _cells(row: dict[str, Any]) -> list[Any]:
    return list(row.values())
