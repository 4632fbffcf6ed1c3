"""The account of tokens over days and runs."""

from __future__ import annotations

import math

from clet.priority import share
from clet.priority.share import Account


def take(account: Account, origin: str, tokens: int) -> None:
    account.total += tokens
    account.taken[account.origins.number(origin)] += tokens


def test_a_new_day_starts_empty_and_no_day_is_spent_twice():
    account = Account(100, 1.0)
    assert Account(None).remaining == math.inf
    account.turn("2026-03-01")
    take(account, "a", 100)
    account.turn("2026-03-02")
    assert account.remaining == 100
    assert account.to_json() == {
        "2026-03-01": {"total": 100, "origins": {"a": 100}},
        "2026-03-02": {"total": 0, "origins": {}},
    }
    account.turn("2026-03-01")
    assert (account.remaining, account.taken.sum()) == (0, 100)


def test_the_day_of_the_account_is_kept_however_old_and_days_to_come_are_not_believed():
    account = Account(100)
    account.load({f"2026-03-{day:02}": {"total": 1, "origins": {}} for day in range(1, 10)}, "2026-03-08")
    account.turn("2026-02-01")
    take(account, "a", 7)
    assert list(account.to_json()) == ["2026-02-01", *(f"2026-03-{day:02}" for day in range(3, 9))]


def test_the_account_carries_over_and_stays_small(monkeypatch):
    monkeypatch.setattr(share, "MAX_ORIGINS", 2)
    account = Account(100, 0.5)
    for day in range(1, 15):
        account.turn(f"2026-03-{day:02}")
        for origin, tokens in (("a", 30), ("b", 20), ("c", 1)):
            take(account, origin, tokens)
    saved = account.to_json()
    assert list(saved) == [f"2026-03-{day:02}" for day in range(8, 15)]
    again = Account(100, 0.5)
    again.load(saved)
    again.turn("2026-03-14")
    assert again.remaining == 49
    assert again.taken[[again.origins.number(name) for name in "abc"]].tolist() == [30, 20, 0]
