from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from convsmith.errors import UserError
from convsmith.run import checkpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    state = {
        "w": torch.randn(3),
        "epoch": 2,
        "history": [{"loss": 0.1}],
        "best": None,
        "ema": {"n": torch.tensor(3)},
    }
    checkpoint.save(tmp_path / "c", state)
    found = checkpoint.load(tmp_path / "c")
    assert found["w"].equal(state["w"])  # type: ignore[attr-defined]
    assert found["history"] == [{"loss": 0.1}]
    assert found["best"] is None


class Evil:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (open, ("pwned", "w"))


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.load(tmp_path / "c")
    torch.save(Evil(), tmp_path / "d")
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.load(tmp_path / "d")
    assert not (tmp_path / "pwned").exists()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        checkpoint.load(tmp_path / "none")
