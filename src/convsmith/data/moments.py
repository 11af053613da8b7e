"""Mean, deviation and covariance of the training pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from convsmith import recipe as recipes
from convsmith.data.batches import Split
from convsmith.data.pixels import Decoded, Resized, cached
from convsmith.nn.normalizer import Normalizer

SAMPLE = 20_000
# Sums of so many squares of bytes (up to 257) are whole numbers below 2^24, which float32 holds exactly.
EXACT = 32


def sampled(train: Split) -> Tensor:
    """The rows that statistics are taken over: all, or 20,000 random ones if they are read from disk."""
    rows = train.rows
    store = train.store.store if isinstance(train.store, Resized) else train.store
    if not isinstance(store, Decoded) and len(rows) > SAMPLE:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        rows = rows[order[:SAMPLE]]
    return rows


def measure(train: Split, options: recipes.Normalize) -> Normalizer:
    """Mean and standard deviation of the training images; of 20,000 random ones if there are more on disk."""
    rows = sampled(train)
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for pixels in train.store.stream(torch.split(rows, EXACT)):
        count += len(pixels)
        for part in torch.split(pixels, cached(pixels[:1].numel())):
            values = part.float()
            total = total + values.sum(0).double().cpu()
            squares = squares + values.square_().sum(0).double().cpu().sum((0, 1))
    mean_image: Tensor = total / count
    mean = mean_image.mean((0, 1))
    places = mean_image.shape[0] * mean_image.shape[1]
    std = (squares / (count * places) - mean.square()).clamp_min(0).sqrt().clamp_min(1.0)
    return Normalizer(
        mean_image if options.mean == "image" else mean, std if options.std else torch.full_like(std, 255.0)
    )


def covariance(train: Split) -> Tensor:
    """Of red, green and blue in [0, 1] over the training pixels, (3, 3) float64; grey is three alike."""
    count, total, products = 0, torch.zeros(3).double(), torch.zeros(3, 3).double()
    for pixels in train.store.stream(torch.split(sampled(train), 64)):
        values = pixels.cpu().double().flatten(0, 2).expand(-1, 3) / 255
        count += len(values)
        total = total + values.sum(0)
        products = products + values.T @ values
    mean = total / count
    return products / count - mean[:, None] * mean
