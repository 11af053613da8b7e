"""Whether a source's last stage helps: a paired test, for few and for a thousand classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from convsmith.advice.similarity import Similarity, sampled, several, similarity, worse


def test_images_are_unlike_a_sources_where_its_last_stage_loses_their_classes() -> None:
    draws = np.random.default_rng(0)
    targets = np.repeat(np.arange(5), 40)
    clear = np.eye(5)[targets] + 0.05 * draws.normal(size=(200, 5))
    noise = draws.normal(size=(200, 5))
    unlike = similarity(noise, clear, targets)
    assert unlike is not None
    assert (unlike.before, unlike.images, unlike.classes) == (1.0, 200, 5)
    assert unlike.last < 0.35
    assert (unlike.lost, unlike.won) == (round(200 * (1 - unlike.last)), 0)
    assert not unlike.similar
    other, same = similarity(clear, noise, targets), similarity(clear, clear, targets)
    assert other is not None
    assert same is not None
    assert other.similar
    assert same.similar
    assert (other.lost, other.won) == (0, unlike.lost)
    assert similarity(clear[:3], clear[:3], np.array([0, 1, 2])) is None, "one image a class"


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (4, 0), (7, 3), (30, 12), (3, 7)])
def test_the_test_is_the_exact_one_less_half_of_what_was_seen(lost: int, won: int) -> None:
    if lost + won == 0:
        assert worse(lost, won) == 0.5
        return
    exact = binomtest(lost, lost + won, 0.5, alternative="greater").pvalue
    more = binomtest(lost + 1, lost + won, 0.5, alternative="greater").pvalue if lost < lost + won else 0.0
    assert worse(lost, won) == pytest.approx((exact + more) / 2)


@pytest.mark.parametrize("accuracy", [0.6, 0.95, 0.99])
@pytest.mark.parametrize("agree", [0.3, 0.9])
def test_equal_probes_are_called_unlike_as_often_as_said(accuracy: float, agree: float) -> None:
    """Answers about the same 1,000 images, of which some are easy for both."""
    draws = np.random.default_rng(1)
    same = draws.random((2000, 1000)) < agree
    one = draws.random((2000, 1000)) < accuracy
    other = np.where(same, one, draws.random((2000, 1000)) < accuracy)
    lost, won = (other & ~one).sum(1), (one & ~other).sum(1)
    unlike = [
        not Similarity(float(a), float(b), 1000, int(x), int(y)).similar
        for a, b, x, y in zip(one.mean(1), other.mean(1), lost, won)
    ]
    # few answers differ between two good probes that agree: the test is then careful
    assert (0.0 if agree * accuracy > 0.8 else 0.03) < np.mean(unlike) < 0.065


def test_a_single_image_decides_nothing() -> None:
    assert Similarity(0.999, 1.0, 1000, lost=1, won=0).similar
    assert Similarity(0.999, 1.0, 1000).similar
    assert not Similarity(0.98, 1.0, 1000, lost=20, won=0).similar
    assert not Similarity(0.75, 0.9, 1000).similar
    # The same accuracies: what counts is on how many images the two differ.
    assert not Similarity(0.79, 0.8, 1000, lost=10, won=0).similar
    assert Similarity(0.79, 0.8, 1000, lost=155, won=145).similar


@pytest.mark.parametrize("classes", [3, 100, 397, 1000, 5000])
def test_any_number_of_classes_can_be_probed(classes: int) -> None:
    draws = np.random.default_rng(0)
    targets = draws.permutation(np.repeat(np.arange(classes), draws.integers(5, 60, classes)))
    rows = sampled(targets)
    assert len(rows) <= 1000
    assert (np.diff(rows) > 0).all()
    counts = np.bincount(targets[rows])
    assert (counts > 0).sum() >= min(classes, 90)
    assert counts[counts > 0].min() >= 5
    assert rows.tolist() == sampled(targets).tolist()
    assert classes < 397 or rows.tolist() != sampled(targets, seed=1).tolist()


def test_classes_with_one_image_are_no_dead_end() -> None:
    draws = np.random.default_rng(0)
    targets = np.concatenate([np.repeat(np.arange(4), 30), np.arange(4, 200)])
    features = np.eye(200)[targets][:, :4] + 0.05 * draws.normal(size=(len(targets), 4))
    rows = sampled(targets)
    assert set(targets[rows]) == {0, 1, 2, 3}
    found = similarity(features[rows], features[rows], targets[rows])
    assert found is not None
    assert (found.last, found.images, found.classes) == (1.0, 120, 4)
    assert several(targets).tolist() == list(range(120))
    assert sampled(np.arange(50)).size == 0, "nothing to probe at all"
