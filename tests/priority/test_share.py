"""The account of tokens over origins and days."""

from __future__ import annotations

from clet.priority import share
from clet.priority.share import Account


def test_an_origin_may_take_its_share_of_the_budget():
    account = Account(1000, 0.3)
    account.emit("a", 200)
    assert account.allowance("a", 5000) == 100
    assert account.allowance("b", 0) == 300
    assert (account.remaining, account.fits(800), account.fits(801)) == (800, True, False)


def test_without_a_budget_the_share_is_of_what_passed_and_waits():
    account = Account(None, 0.5)
    account.emit("a", 100)
    assert account.allowance("a", 100) == 0
    assert account.allowance("b", 100) == 100
    assert account.remaining is None


def test_a_new_day_starts_empty_and_an_old_one_does_not_come_back():
    account = Account(100, 1.0)
    account.turn("2026-03-01")
    account.emit("a", 100)
    account.turn("2026-02-28")
    assert account.remaining == 0
    account.turn("2026-03-02")
    assert account.remaining == 100
    assert account.to_json() == {
        "2026-03-01": {"total": 100, "origins": {"a": 100}},
        "2026-03-02": {"total": 0, "origins": {}},
    }


def test_the_account_carries_over_and_stays_small(monkeypatch):
    monkeypatch.setattr(share, "MAX_ORIGINS", 2)
    account = Account(100, 0.5)
    for day in range(1, 15):
        account.turn(f"2026-03-{day:02}")
        for origin, tokens in (("a", 30), ("b", 20), ("c", 1)):
            account.emit(origin, tokens)
    saved = account.to_json()
    assert list(saved) == [f"2026-03-{day:02}" for day in range(8, 15)]
    again = Account(100, 0.5)
    again.load(saved)
    again.turn("2026-03-14")
    assert (again.remaining, again.taken) == (49, {"a": 30, "b": 20})
