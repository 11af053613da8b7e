"""From a net's outputs to what people are told; numpy alone, so that a net without torch answers alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convsmith.data.signature import Signature
from convsmith.errors import UserError

Floats = npt.NDArray[np.float64]


def posteriors(outputs: Floats) -> Floats:
    """The softmax of outputs (N, K), by row.

    >>> posteriors(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(outputs - outputs.max(1, keepdims=True))
    found: Floats = shifted / shifted.sum(1, keepdims=True)
    return found


def decisions(probabilities: Floats, signature: Signature) -> npt.NDArray[np.int64]:
    """The class decided for, (N,): of least expected cost where costs are known, else the likeliest."""
    if signature.costs is None:
        return np.asarray(probabilities.argmax(1))
    return np.asarray((probabilities @ np.array(signature.costs)).argmin(1))


def refuse_nonfinite(outputs: Floats) -> None:
    """Refuse outputs (N, K) of a net that are no numbers: every figure of them would be made up.

    Raises:
        UserError: if any is NaN or infinite.
    """
    bad = int((~np.isfinite(outputs).all(1)).sum())
    if bad:
        raise UserError(
            f"the net answers with NaN or infinity for {bad:,} of {len(outputs):,} images: its training has "
            f"diverged, or its weights are damaged; train again at a smaller rate, or restore them"
        )


def answers(outputs: Floats, signature: Signature, top: int = 5) -> list[dict[str, Any]]:
    """For each row of outputs (N, K) the label, its probability, and the ``top`` classes with theirs.

    >>> answers(np.array([[0.0, np.log(3)]]), Signature(("a", "b"), 8, 1), top=1)
    [{'label': 'b', 'probability': 0.75, 'top': [{'label': 'b', 'probability': 0.75}]}]
    """
    found = posteriors(outputs)
    order = np.argsort(-found, axis=1, kind="stable")[:, : max(1, top)]
    return [
        {
            "label": signature.classes[own],
            "probability": float(row[own]),
            "top": [{"label": signature.classes[k], "probability": float(row[k])} for k in best.tolist()],
        }
        for row, best, own in zip(found, order, decisions(found, signature).tolist())
    ]
