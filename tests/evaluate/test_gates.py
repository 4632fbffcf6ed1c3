"""Gates: which numbers pass, which fail, and that what was not measured does not pass."""

from __future__ import annotations

import pytest

from clet.evaluate.gates import Measured, judge, parse_gate
from clet.exits import UsageError

FILES = ["old", "new"]
EVALS = {"old": {"perplexity": 20.0, "nll": 3.0}, "new": {"perplexity": 8.0, "nll": 2.1}}


def passed(rule, measured):
    """(passed, why) of one gate."""
    (found,) = judge([parse_gate(rule, FILES, canaries=True)], measured)
    assert found["gate"] == rule.rpartition("=")[0]
    return found["passed"], found["why"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("perplexity:new=8", (True, None)),
        ("perplexity:old=19.5", (False, "20 is above 19.5")),
        ("perplexity=10", (False, "20 is above 10")),
        ("forgetting:old=0.1", (True, None)),
        ("forgetting=0.04", (False, "0.05 is above 0.04")),
        ("canaries=0.9", (True, None)),
        ("canaries=1", (False, "0.95 is below 1")),
        ("freshness=0.5", (False, "was not measured")),
    ],
)
def test_a_gate_compares_its_number_with_its_limit(rule, expected):
    assert passed(rule, Measured(EVALS, {"old": 2.95, "new": 2.5}, 0.95)) == expected


def test_what_was_not_measured_fails_and_where_nothing_is_live_nothing_is_forgotten():
    assert passed("forgetting=0.0", Measured(EVALS, None)) == (True, "nothing is live to compare with")
    assert passed("forgetting:old=0.0", Measured(EVALS, {"new": 2.0})) == (False, "was not measured")
    assert passed("perplexity:old=9", Measured({"old": {"perplexity": None, "nll": None}}, None))[0] is False
    assert passed("canaries=0.1", Measured(EVALS, None)) == (False, "was not measured")
    assert passed("freshness=0.5", Measured(EVALS, None, freshness=0.6)) == (True, None)


@pytest.mark.parametrize(
    ("rule", "files", "words"),
    [
        ("speed=3", FILES, "measures are"),
        ("perplexity", FILES, "NUMBER"),
        ("perplexity=nan", FILES, "NUMBER"),
        ("perplexity:nowhere=3", FILES, "not among --held-out"),
        ("forgetting=0.1", [], "needs --held-out"),
        ("canaries:old=1", FILES, "no file"),
    ],
)
def test_a_rule_that_is_none_is_refused(rule, files, words):
    with pytest.raises(UsageError, match=words):
        parse_gate(rule, files, canaries=True)
    with pytest.raises(UsageError, match="needs --canaries"):
        parse_gate("canaries=1", FILES, canaries=False)
