"""What a diagnosis reads beside metrics.csv: the loss of batches, gradients and silent units by layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convsmith.nn.responses import captured, rectifiers
from convsmith.nn.weights import weights
from convsmith.run.directory import RunDirectory
from convsmith.training.loop import Fit

# Validation images run through the net after each epoch.
SAMPLE = 256
# Losses kept of an epoch; of the first one, also those of its first batches.
STEPS = 50
# Updates of an epoch whose gradients are measured.
LOOKS = 4


class Health:
    """Write ``steps.csv`` (epoch, batch, loss) and ``health.csv`` (epoch, what, name, value).

    ``what`` is ``gradient`` or ``weight`` (root mean square over a layer's weights), ``silent`` (share of a
    rectifier's responses that are zero), ``dead`` (share of its channels that never respond), or
    ``predicted`` (share of the sample that gets the commonest answer; ``true``: of the commonest class).
    Measured on a sample of the validation images, without changing anything that the training draws.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.losses: list[tuple[int, int, Tensor]] = []
        self.gradients: dict[str, Tensor] = {}
        self.looks = 0

    def on_start(self, state: Fit) -> None:
        # What a killed process wrote of an epoch that is done again is left out.
        before = state.epoch + 1
        self.steps = [r for r in self.run.read_table(self.run.steps) if int(r["epoch"]) < before]
        self.rows = [r for r in self.run.read_table(self.run.health) if int(r["epoch"]) < before]
        self.weights = {
            name: p for name, p in weights(state.task.model).items() if p.requires_grad and p.numel() > 1
        }
        self.names = [
            name
            for name in rectifiers(state.task.model)
            if isinstance(state.task.model.get_submodule(name), nn.ReLU | nn.ReLU6)
        ]
        optimizer = getattr(state.optimizer, "optimizer", state.optimizer)
        self.hook = optimizer.register_step_pre_hook(lambda *_: self._look(state))

    def _look(self, state: Fit) -> None:
        if state.batch % max(1, len(state.train) // LOOKS):
            return
        self.looks += 1
        for name, parameter in self.weights.items():
            if parameter.grad is not None:
                found = parameter.grad.detach().float().pow(2).mean()
                self.gradients[name] = self.gradients.get(name, torch.zeros_like(found)) + found

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
                rows.append(("gradient", name, (total / self.looks).sqrt().item()))
                rows.append(("weight", name, self.weights[name].detach().float().pow(2).mean().sqrt().item()))
        rows += self._responses(state)
        self.rows += [
            {"epoch": str(epoch), "what": what, "name": name, "value": f"{value:.6g}"}
            for what, name, value in rows
        ]
        self.gradients, self.looks = {}, 0
        self.run.write_table(self.run.health, ["epoch", "what", "name", "value"], map(_cells, self.rows))
        self._write_steps()

    def on_finish(self, state: Fit) -> None:
        self.hook.remove()
        self._write_steps()

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
        (batch,) = state.val.sample(SAMPLE).epoch(0)
        images = state.fabric.strategy.precision.convert_input(batch.images)
        with captured(model, self.names) as seen, state.fabric.autocast():
            logits = model(images)
        model.train(was_training)
        rows: list[tuple[str, str, float]] = []
        for name, output in seen.items():
            maps = output.flatten(2) if output.ndim > 2 else output[:, :, None]
            rows.append(("silent", name, float((maps <= 0).float().mean())))
            rows.append(("dead", name, float((maps <= 0).all(2).all(0).float().mean())))
        if batch.targets.ndim == 1 and not batch.targets.is_floating_point():
            rows.append(("predicted", "answers", _commonest(logits.argmax(1))))
            rows.append(("predicted", "true", _commonest(batch.targets)))
        return rows


def _commonest(classes: Tensor) -> float:
    return float(classes.bincount().max() / len(classes))


def _cells(row: dict[str, Any]) -> list[Any]:
    return list(row.values())
