"""A DataLoader in the loop is the plain loop over it."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convsmith.data.class_balanced import ClassBalanced
from convsmith.objectives.objective import Objective
from convsmith.training.loader import LoaderBatches
from convsmith.training.loop import Fit, fit
from convsmith.training.schedules import Constant
from convsmith.training.task import Task


def test_the_loop_over_a_loader_is_a_plain_loop() -> None:
    torch.manual_seed(0)
    images, targets = torch.randn(30, 1, 6, 6), torch.arange(30) % 3
    sampler = ClassBalanced(targets, seed=5)
    loader = DataLoader(TensorDataset(images, targets), batch_size=8, sampler=sampler)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    plain = copy.deepcopy(net)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch, target in loader:
            optimizer.zero_grad()
            F.cross_entropy(plain(batch), target).backward()
            optimizer.step()
    fabric = Fabric(accelerator="cpu", devices=1)
    task = Task(net, Objective({"loss": nn.CrossEntropyLoss()}))
    wrapped, own = fabric.setup(task, torch.optim.SGD(net.parameters(), lr=0.1))
    feed = LoaderBatches(loader, fabric.device)
    state = fit(Fit(fabric, task, wrapped, own, Constant(), train=feed, val=feed, epochs=2))
    for mine, theirs in zip(net.parameters(), plain.parameters()):
        torch.testing.assert_close(mine, theirs)
    assert [row["epoch"] for row in state.history] == [1, 2]


def test_an_epoch_can_begin_within_and_samples_are_kept() -> None:
    pairs = [(torch.full((2, 1, 2, 2), float(n)), torch.tensor([n, n])) for n in range(4)]
    feed = LoaderBatches(pairs, torch.device("cpu"))
    assert [int(batch.targets[0]) for batch in feed.epoch(0, first=2)] == [2, 3]
    assert [int(batch.targets[0]) for batch in feed.sample(3).epoch(0)] == [0, 1]
