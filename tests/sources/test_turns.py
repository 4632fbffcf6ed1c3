"""Whose turn it is: order of places and times, one source of a host at a time, nobody forgotten."""

import random

from clet.sources.table import Source
from clet.sources.turns import Agenda, Places


def feed(host, number=0):
    return Source("feed", f"http://{host}/{number}")


def test_every_place_starts_once_and_no_host_twice_at_a_time():
    generator = random.Random(7)
    places = Places()
    sources = [feed(f"h{generator.randrange(5)}", number) for number in range(200)]
    for source in sources:
        places.add(source)
    running, started, ended = {}, [], []
    while (first := places.first()) is not None:
        while (place := places.next(running.values(), len(running) < 3)) is not None:
            host = places.source(place).host
            assert host not in running.values() or place == first
            running[place] = host
            places.readings[place] = "reading"
            started.append(places.source(place))
        running.pop(generator.choice(list(running)))  # one has been read, maybe not the one that is consumed next
        while (first := places.first()) in places.readings and first not in running:
            ended.append(places.source(first))
            places.end(first)
    assert ended == sources
    assert sorted(map(str, started)) == sorted(map(str, sources))


def test_the_first_place_starts_even_when_no_more_may():
    places = Places()
    places.add(feed("a"))
    assert places.next({"a"}, False) is not None


def test_what_a_list_names_comes_right_after_it():
    places = Places()
    for number in range(3):
        places.add(Source("feed", f"list{number}"))
    order = []
    while (first := places.first()) is not None:
        source = places.source(first)
        order.append(source.locator)
        if source.locator == "list1":
            for name in ("a", "b"):
                places.add(source.member(name), after=first)
        if source.locator == "a":
            places.add(source.member("a1"), after=first)
        places.end(first)
    assert order == ["list0", "list1", "a", "a1", "b", "list2"]


def test_an_agenda_gives_what_is_due_in_order_of_time():
    agenda = Agenda()
    for time_s in (5.0, 1.0, 3.0):
        agenda.add(time_s, feed(f"h{time_s}"))
    assert agenda.next(0.5, ()) is None
    assert agenda.seconds_left(0.5) == 0.5
    assert [agenda.next(4.0, ()).host for _ in range(2)] == ["h1.0", "h3.0"]
    assert agenda.next(4.0, ()) is None
    assert len(agenda) == 1
    assert Agenda().seconds_left(0.0) == float("inf")


def test_a_busy_host_is_passed_over_and_comes_when_it_is_free():
    agenda = Agenda()
    for number in range(3):
        agenda.add(float(number), feed("busy", number))
    agenda.add(9.0, feed("free"))
    assert agenda.next(10.0, {"busy"}).host == "free"
    assert agenda.next(10.0, {"busy"}) is None
    assert len(agenda) == 3
    assert agenda.seconds_left(10.0) == float("inf")
    assert [agenda.next(10.0, ()).locator for _ in range(3)] == [f"http://busy/{n}" for n in range(3)]
