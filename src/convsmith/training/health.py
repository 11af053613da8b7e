"""Measurements that a diagnosis reads beside metrics.csv: losses of batches, gradients, zero responses."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from convsmith import recipe as recipes
from convsmith.advice.evidence import SAMPLE
from convsmith.advice.labels import suspects
from convsmith.nn.responses import captured, rectifiers
from convsmith.nn.silence import silent
from convsmith.nn.weights import places
from convsmith.run.directory import RunDirectory
from convsmith.training.loop import Feed, Fit

# Number of losses kept of each epoch, and of the first batches of the first epoch.
STEPS = 50
# Number of updates of an epoch at which gradients are measured.
LOOKS = 4
# Seconds that measuring may take in any case, and its share of the time of training and validation.
FREE, SHARE = 0.3, 0.03
# Fewest images of a sample.
LEAST = 32


class Health:
    """Write ``steps.csv`` (epoch, batch, loss) and ``health.csv`` (epoch, what, name, value).

    ``what`` is ``gradient`` or ``weight`` (root mean square over a layer's weights; in epoch 0
    ``first_gradient`` and ``first_weight``, those of the first batch, before any update, and ``first_dead``
    of a net that was trained elsewhere; where a
    parametrization or pruning
    computes the weight, ``weight`` is of the computed one, and the gradients are those of all parameters that
    it is computed from), ``silent`` (share of a
    rectifier's responses that it cuts off to zero), ``dead`` (share of its channels that never respond),
    ``predicted`` (share of a sample that gets the most frequent answer; ``true``: share of the most frequent
    class), ``right`` (accuracy on plain training images), ``doubted`` (share of them for which the net is
    sure of another class than the label's), ``sample`` (number of training images that these are measured
    on), or ``seconds`` (of training steps, of validation and of all beside them).

    The net looked at is the one that is kept. Measuring draws nothing from the training's generators and
    takes
    at most :data:`SHARE` of its time beside the first :data:`FREE` seconds: where an epoch is short or images
    are large, fewer images are looked at, and not in every epoch.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.losses: list[tuple[int, int, Tensor]] = []
        self.gradients: dict[str, Tensor] = {}
        self.looks = 0
        self.updates = 0
        # Seconds spent here, those that one image of the sample takes, and the sample itself.
        self.spent = 0.0
        self.each: float | None = None
        self.sample: Feed | None = None
        self.count = 0
        self.before: tuple[float, ...] = (0.0, 0.0, 0.0)

    def on_start(self, state: Fit) -> None:
        # Rows that a killed process wrote about an epoch that is now repeated go.
        self.first = not self._drop(self.run.health, state.epoch + 1)
        self._drop(self.run.steps, state.epoch + 1)
        self.weights = {
            name: weight
            for name, weight in places(state.task.model).items()
            if any(p.requires_grad and p.numel() > 1 for p in weight.parameters())
        }
        self.names = rectifiers(state.task.model)
        if self.first and self.names and recipes.load(self.run.recipe).train.start_from is not None:
            self._note_dead_at_first(state)
        self.before = (state.elapsed(), *state.spent.values())
        optimizer = getattr(state.optimizer, "optimizer", state.optimizer)
        self.hook = optimizer.register_step_pre_hook(lambda *_: self._look(state))

    def _note_dead_at_first(self, state: Fit) -> None:
        """Write what of a net that was trained elsewhere is dead before it is trained here.

        On images unlike its source's many channels are silent; only what dies here is this training's.
        """
        started = time.perf_counter()
        self.sample, self.count = state.train.sample(LEAST), LEAST
        rows = [("first_dead", name, value) for what, name, value in self._responses(state) if what == "dead"]
        self._note(0, rows)
        self.sample, self.count = None, 0
        self.spent += time.perf_counter() - started

    def _drop(self, file: Path, epoch: int) -> bool:
        """Drop the rows of ``epoch`` and later ones; whether some are left."""
        rows = self.run.read_table(file)
        kept = [list(row.values()) for row in rows if int(row["epoch"]) < epoch]
        if rows:
            self.run.write_table(file, list(rows[0]), kept)
        return bool(kept)

    def _look(self, state: Fit) -> None:
        self.updates += 1
        if (self.updates - 1) % max(1, len(state.train) // (LOOKS * state.accumulate)):
            return
        if self.left(state) < 0 and self.looks:
            return
        started = time.perf_counter()
        self.looks += 1
        squares = {
            name: _mean_square(gradients)
            for name, weight in self.weights.items()
            if (gradients := [p.grad.detach() for p in weight.parameters() if p.grad is not None])
        }
        for name, found in squares.items():
            self.gradients[name] = self.gradients.get(name, torch.zeros_like(found)) + found
        if state.epoch == 0 and self.first:
            # Written at once: a training whose gradients explode may not reach the end of its first epoch.
            sizes = {name: _mean_square([self.weights[name].value().detach()]) for name in squares}
            self._note(0, _roots("first_gradient", squares) + _roots("first_weight", sizes))
            self.first = False
        self.spent += time.perf_counter() - started

    def on_batch_end(self, state: Fit) -> None:
        every = max(1, len(state.train) // STEPS)
        first = state.epoch == 0 and state.batch <= STEPS
        if state.loss is not None and (first or state.batch % every == 0):
            self.losses.append((state.epoch + 1, state.batch, state.loss))

    def on_epoch_end(self, state: Fit) -> None:
        started = time.perf_counter()
        rows: list[tuple[str, str, float]] = []
        if self.looks:
            rows += _roots("gradient", {name: total / self.looks for name, total in self.gradients.items()})
            values = {name: [self.weights[name].value().detach()] for name in self.gradients}
            rows += _roots("weight", {name: _mean_square(value) for name, value in values.items()})
        self.gradients, self.looks, self.updates = {}, 0, 0
        rows += self._responses(state) if self._affordable(state) else []
        self.spent += time.perf_counter() - started
        self._note(state.epoch, rows + self._seconds(state))
        self._write_steps()

    def on_finish(self, state: Fit) -> None:
        self.hook.remove()
        self._write_steps()

    def left(self, state: Fit) -> float:
        """Seconds that may be spent here now: free ones are kept for later epochs, a fifth for the last."""
        passed = state.epoch / state.epochs
        free = FREE if passed == 1 or state.stop is not None else FREE * (0.3 + 0.5 * passed)
        return free + SHARE * sum(state.spent.values()) - self.spent

    def _affordable(self, state: Fit) -> bool:
        """Whether there is time for a sample twice the last one, up to SAMPLE images; draw it if so."""
        images = state.history[-1]["images_per_second"] / state.fabric.world_size
        # A forward pass takes a third of a training step, hooks and decoding as long again; later it is
        # known.
        each = self.each if self.each is not None else 0.7 / images if images else 0.0
        most = min(SAMPLE, int(max(0.0, self.left(state)) / each)) if each else SAMPLE
        if self.sample is None:
            most = max(LEAST, most)
        if most < (wanted := min(SAMPLE, 2 * self.count)) or most < LEAST:
            return False
        if self.sample is None or self.count < wanted:
            # Kept: decoding a sample each time would start the workers each time.
            self.sample, self.count = state.train.sample(most), most
        return True

    def _seconds(self, state: Fit) -> list[tuple[str, str, float]]:
        """The clock since the last epoch's end, by work; what lies behind this row is the next one's."""
        now = (state.elapsed(), *state.spent.values())
        whole, train, val = (b - a for a, b in zip(self.before, now))
        self.before = now
        found = {"training": train, "validation": val, "beside": whole - train - val}
        return [("seconds", name, value) for name, value in found.items()]

    def _note(self, epoch: int, rows: list[tuple[str, str, float]]) -> None:
        cells = [(epoch, what, name, f"{value:.6g}") for what, name, value in rows]
        self.run.append_table(self.run.health, ["epoch", "what", "name", "value"], cells)

    def _write_steps(self) -> None:
        if not self.losses:
            return
        values = torch.stack([loss for _, _, loss in self.losses]).tolist()  # sync: once an epoch
        cells = [(epoch, batch, f"{value:.6g}") for (epoch, batch, _), value in zip(self.losses, values)]
        self.losses = []
        self.run.append_table(self.run.steps, ["epoch", "batch", "loss"], cells)

    @torch.no_grad()
    def _responses(self, state: Fit) -> list[tuple[str, str, float]]:
        assert self.sample is not None
        started = time.perf_counter()
        model = state.model
        was_training = model.training
        model.eval()
        rows: list[tuple[str, str, float]] = []
        with captured(model, self.names) as seen:
            logits, truth, units = _run(state, model, self.sample, seen)
        for name, per_image in units.items():
            silent = torch.cat([zeros for zeros, _ in per_image])
            alive = torch.cat([responds for _, responds in per_image]).any(0)
            rows += [("silent", name, float(silent.mean())), ("dead", name, 1 - float(alive.float().mean()))]
        if truth.ndim == 1 and not truth.is_floating_point():
            answers = logits.argmax(1)
            doubted = suspects(logits.float().softmax(1).cpu().numpy(), truth.cpu().numpy())
            rows.append(("predicted", "answers", _commonest(answers)))
            rows.append(("predicted", "true", _commonest(truth)))
            rows.append(("right", "train", float((answers == truth).float().mean())))
            rows.append(("doubted", "train", float(doubted.mean())))
        rows.append(("sample", "train", len(truth)))
        model.train(was_training)
        self.each = (time.perf_counter() - started) / len(truth)
        return rows


Units = dict[str, list[tuple[Tensor, Tensor]]]


def _run(state: Fit, model: nn.Module, feed: Feed, seen: dict[str, Tensor]) -> tuple[Tensor, Tensor, Units]:
    """Logits for a sample, its targets, and for each layer in ``seen`` and each image the share of zeros (n,)
    and the channels that respond (n, C)."""
    answers: list[Tensor] = []
    truth: list[Tensor] = []
    units: Units = {}
    for batch in feed.epoch(0):
        with state.fabric.autocast():
            logits = model(state.fabric.strategy.precision.convert_input(batch.images))
        answers.append(logits)
        truth.append(batch.targets)
        for name, output in seen.items():
            maps = output.flatten(2) if output.ndim > 2 else output[:, :, None]
            none = silent(maps)
            units.setdefault(name, []).append((none.float().mean((1, 2)), (~none).any(2)))
    return torch.cat(answers), torch.cat(truth), units


def _mean_square(tensors: list[Tensor]) -> Tensor:
    """Mean square over all entries of several tensors."""
    if len(tensors) == 1:
        return tensors[0].float().pow(2).mean()
    sums = torch.stack([tensor.float().pow(2).sum() for tensor in tensors])
    return sums.sum() / sum(tensor.numel() for tensor in tensors)


def _commonest(classes: Tensor) -> float:
    return float(classes.bincount().max() / len(classes))


def _roots(what: str, squares: dict[str, Tensor]) -> list[tuple[str, str, float]]:
    """Rows with the square root of each value; the device is asked once for all."""
    values = torch.stack(list(squares.values())).sqrt().tolist() if squares else []
    return [(what, name, value) for name, value in zip(squares, values)]
