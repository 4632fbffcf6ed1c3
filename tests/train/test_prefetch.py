"""Working ahead changes neither order nor errors."""

from __future__ import annotations

import pytest

from clet.train.prefetch import Prefetch


def test_items_keep_their_order_and_the_wait_is_counted():
    ahead = Prefetch(iter(range(50)))
    assert list(ahead) == list(range(50))
    assert ahead.wait_s >= 0


def test_an_error_is_raised_where_its_item_would_have_come():
    def source():
        yield 1
        raise OSError("disk")

    ahead = Prefetch(source())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk"):
        next(ahead)


def test_closing_stops_an_endless_source():
    def source():
        while True:
            yield 0

    ahead = Prefetch(source())
    next(ahead)
    ahead.close()
    assert not ahead._thread.is_alive()
    with pytest.raises(StopIteration):
        next(ahead)
