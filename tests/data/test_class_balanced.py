from __future__ import annotations

import torch
from scipy.stats import chisquare

from convsmith.data.class_balanced import ClassBalanced


def test_classes_and_the_images_within_are_equally_likely() -> None:
    targets = torch.tensor([0] * 60 + [1] * 3 + [3] * 7)  # no image of class 2
    rows = []
    sampler = ClassBalanced(targets, seed=4)
    for epoch in range(300):
        sampler.set_epoch(epoch)
        rows += list(sampler)
    drawn = torch.tensor(rows)
    classes = torch.bincount(targets[drawn])[[0, 1, 3]]
    assert chisquare(classes.numpy()).pvalue > 1e-4
    for label in (0, 1, 3):
        own = drawn[targets[drawn] == label]
        counts = torch.bincount(own, minlength=len(targets))[targets == label]
        assert chisquare(counts.numpy()).pvalue > 1e-4
