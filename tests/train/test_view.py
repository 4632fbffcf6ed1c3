"""The live view by itself: what it shows, how seldom it draws, and a terminal that hangs up."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from clet.log import log
from clet.train.view import ASCII_BARS, LiveView, sparkline


def step(number, **more):
    rate = {"schedule": "infinite", "phase": "decay", "peak": 2e-3, "factor": 0.5}
    fields = {"step": number, "tokens": 100, "total_tokens": 100 * number, "lr": 1e-3, "loss": 5.0 / number}
    fields |= {"grad_norm": 0.5, "rate": rate, "seconds": 0.1, "wait_s": 0.01, "backlog": 7}
    return fields | {"origins": {"a.org": [3.0, 6.0], "b.org": [1.0, 4.0]}} | more


@pytest.fixture
def shown(tmp_path):
    """(view, what was written, a clock that can be set)."""
    now, out = [0.0], io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    view = LiveView(tmp_path, console, clock=lambda: now[0])
    yield view, out, now
    view.close()


def test_it_shows_the_run_and_draws_no_more_than_once_a_second(shown):
    view, out, now = shown
    view.see({"event": "held-out", "step": 0, "evals": {}})
    assert out.getvalue() == ""
    view.see(step(1))
    drawn = len(out.getvalue())
    for words in ("1,000 tokens/s", "waits 10.0%", "7 windows to go", "2.0000  a.org", "decay", "has not tripped"):
        assert words in out.getvalue()
    for number in range(2, 50):
        view.see(step(number))
    assert len(out.getvalue()) == drawn
    now[0] = 1.5
    view.see({"event": "breaker", "step": 50, "why": "non-finite loss", "back_to": 40})
    assert "tripped once, last at step 50: non-finite loss" in out.getvalue()
    now[0] = 3.0
    view.see({"event": "release", "number": 3, "step": 50, "watermark": "2026-03-01T00:00:00Z"})
    assert "3, of step 50, knows what was published by 2026-03-01" in out.getvalue()


def test_the_log_appears_above_while_it_stands_and_by_itself_afterwards(shown, capfd):
    view, out, _ = shown
    view.see(step(1))
    log.warn("a shard is gone")
    assert "a shard is gone" in out.getvalue()
    view.close()
    log.warn("it is over")
    assert "it is over" not in out.getvalue() and "it is over" in capfd.readouterr().err


def test_a_terminal_that_hung_up_does_not_end_the_run(tmp_path):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    view = LiveView(tmp_path, Console(file=Gone(), force_terminal=True, width=80))
    view.see(step(1))
    view.see(step(2))
    view.close()
    assert log.above is None


def test_origins_that_never_end_take_bounded_room(shown):
    view, _, _ = shown
    for number in range(1, 500):
        view.see(step(number, origins={f"o{number}": [1.0, 2.0], "large.org": [5.0, 9.0]}))
    assert len(view._origins) <= 20 and "large.org" in view._origins


def test_a_sparkline_rises_with_its_values():
    assert sparkline([1.0, 2.0, 8.0]) == "\u2581\u2582\u2588"
    assert sparkline([3.0, 3.0]) == "\u2581\u2581"
    assert sparkline([0.0, 1.0], ASCII_BARS) == "_#"
