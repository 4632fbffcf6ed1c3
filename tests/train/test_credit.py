"""Which origins a step learned from: shares of windows, their losses, and a bound on what is kept."""

from __future__ import annotations

import numpy as np
import pytest

from clet.train import credit
from clet.train.credit import Credit

TABLES = {"r": [{"origin": "a"}, {"origin": "b"}, {"origin": None}], "s": [{"origin": "b"}]}


def test_a_windows_loss_is_shared_among_the_origins_in_it():
    asked = []
    given = Credit(lambda root: asked.append(root) or TABLES[root])
    windows = [("r", 0), ("r", 1), ("s", 0), ("r", 2)]
    rows = [np.array([0, 1]), np.array([0]), np.array([0]), np.array([], int)]
    found = given.by_origin(windows, rows, [2.0, 4.0, 1.0, float("nan")])
    assert found == {"a": [1.5, 5.0], "b": [1.5, 2.0]}
    given.by_origin(windows[:1], [np.array([2])], [1.0])
    assert asked == ["r", "s"]


def test_tables_and_lines_stay_small(monkeypatch):
    monkeypatch.setattr(credit, "MAX_SHARDS", 2)
    monkeypatch.setattr(credit, "MAX_ORIGINS", 3)
    given = Credit(lambda root: [{"origin": f"{root}{i}"} for i in range(9)])
    for root in "abcd":
        found = given.by_origin([(root, 0)], [np.arange(9)], [1.0])
    assert len(found) == 3
    assert len(given._origins) == 2
    assert found["d0"] == pytest.approx([1 / 9, 1 / 9], abs=1e-5)
