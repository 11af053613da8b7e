"""What holds for every encoding of numeric targets."""

from __future__ import annotations

import json

import pytest
import torch

from convsmith import catalog
from convsmith.data.targets import measure_of, restore

EVERY = pytest.mark.parametrize("name", catalog.names("target"))
VALUES = torch.rand(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.double) * 300 + 10


def columns(name: str) -> list[str]:
    return ["cat", "dog", "owl"] if name == "votes" else ["angle"]


def values(name: str) -> torch.Tensor:
    return (
        torch.rand(50, 3, generator=torch.Generator().manual_seed(1)).double() + 0.1
        if name == "votes"
        else VALUES
    )


def fitted(name: str):  # type: ignore[no-untyped-def]
    encoding = catalog.build("target", name, columns=columns(name))
    encoding.fit(values(name))
    return encoding


@EVERY
def test_a_perfect_net_is_decoded_to_the_truth(name: str) -> None:
    encoding = fitted(name)
    target = encoding.encode(values(name))
    assert target.shape == (50, len(encoding.outputs))
    output = target.double().clamp_min(1e-30).log() if encoding.kind == "distribution" else target.double()
    true = values(name) / values(name).sum(1, keepdim=True) if name == "votes" else values(name)
    found = encoding.decode(output)
    # of 300 units, with bins of 7 to 10: as exact as the float32 of the target allows
    assert encoding.error(found, true).abs().max() < 1e-3


@EVERY
def test_several_targets_are_each_decoded_to_the_truth(name: str) -> None:
    if name == "votes":
        pytest.skip("its columns are classes")
    several = torch.cat([VALUES, VALUES.flip(0) / 7, 300 - VALUES], 1)
    encoding = catalog.build("target", name, columns=["a", "b", "c"])
    encoding.fit(several)
    target = encoding.encode(several)
    assert len(set(encoding.outputs)) == target.shape[1]
    output = target.double().clamp_min(1e-30).log() if encoding.kind == "distribution" else target.double()
    error = encoding.error(encoding.decode(output), several)
    assert error.abs().max() < 1e-3
    if encoding.kind == "distribution":
        assert torch.allclose(target.sum(1), torch.ones(50), atol=1e-5)
        # The net is free in how much each block weighs: a block's own shares decide.
        shifted = output + torch.randn(3, dtype=torch.double).repeat_interleave(output.shape[1] // 3)
        assert encoding.error(encoding.decode(shifted), several).abs().max() < 1e-3


@EVERY
def test_distributions_sum_to_one(name: str) -> None:
    encoding = fitted(name)
    if encoding.kind == "distribution":
        p = encoding.encode(values(name))
        assert torch.allclose(p.sum(1), torch.ones(50), atol=1e-5)
        assert (p >= 0).all()


@EVERY
def test_comes_back_from_a_model_file(name: str) -> None:
    encoding = fitted(name)
    state = json.loads(json.dumps(encoding.state()))
    again = restore(catalog.describe(encoding), columns(name), state)
    assert again.outputs == encoding.outputs
    assert again.encode(values(name)).equal(encoding.encode(values(name)))


@EVERY
def test_the_measure_of_a_perfect_net_is_perfect(name: str) -> None:
    encoding = fitted(name)
    target = encoding.encode(values(name))
    measure = measure_of(encoding)
    assert not measure.higher_is_better
    output = target.clamp_min(1e-30).log() if encoding.kind == "distribution" else target
    assert measure.of(output, target).item() == pytest.approx(0, abs=1e-3)
    assert measure.of(output.flip(0), target).item() > 1
