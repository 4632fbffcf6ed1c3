"""Waiting threads spin for a short while only, unless the user has said otherwise."""

from __future__ import annotations

import os

import pytest

from clet.cores import SPINS, share_cores


@pytest.mark.parametrize(
    ("given", "spins"), [({}, SPINS), ({"OMP_WAIT_POLICY": "active"}, None), ({"GOMP_SPINCOUNT": "9"}, "9")]
)
def test_threads_that_wait_spin_shortly_unless_the_user_has_said_otherwise(monkeypatch, given, spins):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
