from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import log_loss
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from convsmith.inference.evaluation import Evaluation, few_of_each


def evaluation(n: int = 200, classes: int = 4) -> Evaluation:
    draws = np.random.default_rng(0)
    probabilities = draws.dirichlet(np.full(classes, 0.5), n)
    targets = np.array([draws.choice(classes, p=p) for p in probabilities])
    return Evaluation("test", [f"c{k}" for k in range(classes)], probabilities, targets)


def test_figures_by_brute_force() -> None:
    found = evaluation()
    predicted = [max(range(4), key=lambda k: row[k]) for row in found.probabilities]
    pairs = list(zip(found.targets.tolist(), predicted))
    assert found.accuracy == sum(a == b for a, b in pairs) / 200
    assert found.loss == pytest.approx(log_loss(found.targets, found.probabilities))
    for true in range(4):
        for other in range(4):
            assert found.confusion[true, other] == pairs.count((true, other))
    row = found.per_class()["c2"]
    assert row["recall"] == pairs.count((2, 2)) / sum(a == 2 for a, _ in pairs)
    assert row["precision"] == pairs.count((2, 2)) / sum(b == 2 for _, b in pairs)
    assert row["n"] == sum(a == 2 for a, _ in pairs)


def test_calibration_error() -> None:
    """A net that draws its answers as it says is calibrated; one that is always sure errs by its error."""
    assert evaluation(20_000).calibration()[1] < 0.02
    sure = Evaluation("test", ["a", "b"], np.array([[1.0, 0.0]] * 10), np.array([0] * 7 + [1] * 3))
    rows, error = sure.calibration()
    assert rows == [(1.0, 0.7, 10)]
    assert error == pytest.approx(0.3)


def test_mistakes_are_the_most_confident_first() -> None:
    found = evaluation()
    rows = found.mistakes(5)
    assert all(found.predicted[row] != found.targets[row] for row in rows)
    confidence = [found.probabilities[row].max() for row in rows]
    assert confidence == sorted(confidence, reverse=True)
    wrong = found.predicted != found.targets
    assert confidence[0] == found.probabilities[wrong].max()


def test_a_class_without_images_counts_zero() -> None:
    found = Evaluation("val", ["a", "b"], np.array([[0.9, 0.1]]), np.array([0]))
    assert found.per_class()["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0}


def test_classes_of_one_image_are_no_reason_to_warn_and_other_warnings_stay() -> None:
    """Which of scikit-learn's functions warn depends on its version."""
    draws = np.random.default_rng(0)
    targets = np.arange(120) % 100
    found = Evaluation("val", [str(k) for k in range(100)], draws.dirichlet(np.ones(100), 120), targets)
    with warnings.catch_warnings(action="error"):
        assert found.confusion.sum() == 120
        assert 0 <= found.balanced_accuracy <= 1
        assert 0 <= found.macro_f1 <= 1
        assert len(found.per_class()) == 100
        with few_of_each():
            check_classification_targets(targets)
            assert type_of_target(targets) == "multiclass"
            with pytest.raises(UserWarning, match="something else"):
                warnings.warn("something else", stacklevel=1)
