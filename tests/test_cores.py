"""Waiting threads sleep, unless the user has said otherwise."""

from __future__ import annotations

import os

import pytest

from clet.cores import share_cores


@pytest.mark.parametrize(
    ("given", "policy"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active"), ({"GOMP_SPINCOUNT": "9"}, None)]
)
def test_threads_that_wait_sleep_unless_the_user_has_said_otherwise(monkeypatch, given, policy):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    share_cores()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
