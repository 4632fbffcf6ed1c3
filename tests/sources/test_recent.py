"""What was made of a text is kept within bounds, and is always what would be made of it now."""

import threading

import pytest

from clet.sources.feed.recent import OVERHEAD_BYTES, Recent


@pytest.fixture
def made():
    return []


def upper(made):
    def make(text):
        made.append(text)
        return text.upper()

    return make


def test_the_same_text_is_made_once(made):
    recent = Recent(upper(made), 10_000)
    assert [recent(text) for text in ("a", "b", "a", "\ud800", "\ud800", "")] == ["A", "B", "A", "\ud800", "\ud800", ""]
    assert made == ["a", "b", "\ud800", ""]


def test_what_was_not_asked_for_lately_makes_room(made):
    recent = Recent(upper(made), 3 * (OVERHEAD_BYTES + 1))
    for text in "abcadab":
        assert recent(text) == text.upper()
    assert made == ["a", "b", "c", "d", "b"]


def test_a_result_larger_than_the_room_is_not_kept_and_hurts_no_later_one(made):
    recent = Recent(upper(made), 2 * OVERHEAD_BYTES)
    assert recent("x" * 1000) == "X" * 1000
    assert (recent("a"), recent("a")) == ("A", "A")
    assert [text[:1] for text in made] == ["x", "a"]


def test_threads_get_what_is_theirs():
    recent = Recent(str.upper, 20 * (OVERHEAD_BYTES + 4))
    wrong = []

    def work(start):
        for number in range(4000):
            text = f"t{(start + number) % 60}"
            if recent(text) != text.upper():
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 7, 21, 33)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
