"""Reputations: the beta distribution at its corner points, decay, periods, and who gains nothing."""

from __future__ import annotations

import math

import pytest

from clet.priority import credibility as c
from clet.priority.credibility import BAD, DOCS, ECHOED, GOOD, WRONG, close_period, decay, new_reputation, standing


def period(r, origin, docs, wrong=0.0, echoed=0.0):
    r.period[origin] = (docs, wrong, echoed)


def test_a_new_origin_stands_at_the_prior():
    r = new_reputation(1)
    assert c.mean(r, 0) == 0.5
    assert standing(r, 0) == pytest.approx(0.5 - math.sqrt(1 / 12))
    assert not c.is_established(r, 0)
    assert c.credibility(r, 0, 0.0) == pytest.approx(c.FLOOR + (1 - c.FLOOR) / 2)


def test_standing_is_mean_less_deviation_of_the_beta_distribution():
    r = new_reputation(1)
    r.evidence[0] = (7, 2)
    a, b = 8, 3
    assert standing(r, 0) == pytest.approx(a / (a + b) - math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1))))


def test_evidence_halves_every_half_life_and_never_grows_again():
    r = new_reputation(1)
    r.evidence[0] = (8, 4)
    decay(r, 0, int(c.HALF_LIFE_DAYS))
    assert r.evidence[0].tolist() == [4, 2]
    decay(r, 0, 0)  # a clock that goes back changes nothing
    assert r.evidence[0].tolist() == [4, 2]
    decay(r, 0, int(3 * c.HALF_LIFE_DAYS))
    assert r.evidence[0].tolist() == [1, 0.5]
    decay(r, 0, 100_000)
    assert c.mean(r, 0) == pytest.approx(0.5)


def test_three_good_periods_establish_and_one_bad_one_undoes_them():
    r = new_reputation(1)
    for day in range(3):
        assert not c.is_established(r, 0)
        period(r, 0, 50)
        close_period(r, 1, day)
    assert c.is_established(r, 0)
    period(r, 0, 50, wrong=50)
    assert not c.is_established(r, 0)  # before the gate already
    close_period(r, 1, 3)
    assert not c.is_established(r, 0)


def test_a_period_is_one_trial_however_much_was_written():
    r = new_reputation(2)
    period(r, 0, 3)
    period(r, 1, 3_000_000)
    close_period(r, 2, 0)
    assert r.evidence[0].tolist() == r.evidence[1].tolist() == [1, 0]
    period(r, 0, 1)
    close_period(r, 2, 0)
    assert r.evidence[0, GOOD] == pytest.approx(1 + 1 / c.MIN_DOCUMENTS)


def test_a_share_of_wrong_documents_counts_as_such():
    r = new_reputation(1)
    period(r, 0, 100, wrong=10)
    close_period(r, 1, 0)
    assert r.evidence[0].tolist() == pytest.approx([0.9, 0.1 * c.AGAINST])
    assert r.period[0, [DOCS, WRONG, ECHOED]].tolist() == [0, 0, 0]


def test_corroboration_is_worth_one_more_period_at_most():
    r = new_reputation(1)
    period(r, 0, 100, echoed=100)
    close_period(r, 1, 0)
    assert r.evidence[0, GOOD] == 2


def test_an_echo_lifts_the_document_not_the_origin():
    r = new_reputation(1)
    alone, echoed = c.credibility(r, 0, 0.0), c.credibility(r, 0, 1.0)
    assert alone < echoed < 1
    assert r.evidence[0].tolist() == [0, 0]


def test_a_verdict_counts_at_once_and_vouching_can_be_lost():
    r = new_reputation(2)
    c.judge_origin(r, 0, 10, good=False)
    assert r.evidence[0, BAD] == c.VERDICT
    r.vouched[1] = 1
    assert c.is_established(r, 1)
    for day in range(12):
        period(r, 1, 50, wrong=50)
        close_period(r, 2, day)
    assert not c.is_established(r, 1)
