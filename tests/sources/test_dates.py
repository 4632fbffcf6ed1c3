"""Dates: every form that feeds and programs write gives its moment in UTC, and what is none gives None."""

import random
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from clet.sources.text.dates import read_date

DAY, MOMENT = "2026-01-02T00:00:00+00:00", "2026-01-02T02:04:05+00:00"


def iso(value):
    moment = read_date(value)
    return moment and moment.isoformat()


def test_what_programs_write_is_read_exactly():
    rng = random.Random(1)
    for _ in range(500):
        zone = timezone(timedelta(minutes=rng.randrange(-720, 840, 15)))
        moment = datetime(1990, 1, 1, tzinfo=zone) + timedelta(seconds=rng.randrange(10**9))
        week = "{}-W{:02}-{}".format(*moment.isocalendar())
        for text in (
            format_datetime(moment),
            moment.isoformat(),
            moment.isoformat(" "),
            moment.strftime("%Y%m%dT%H%M%S%z"),
            moment.strftime("%A, %d-%b-%y %H:%M:%S %z"),
            moment.strftime("%a %b %d %H:%M:%S %z %Y"),
            moment.strftime("%B %d, %Y %I:%M:%S %p %z"),
            str(int(moment.timestamp())).zfill(9),
        ):
            assert read_date(text) == moment, text
        assert read_date(moment.ctime()) == moment.replace(tzinfo=UTC)
        assert read_date(int(moment.timestamp() * 1000)) == moment
        for text in (week, week.replace("-", ""), moment.strftime("%Y-%j"), moment.strftime("%Y/%m/%d")):
            assert read_date(text).date() == moment.date(), text


@pytest.mark.parametrize(
    "text",
    [
        *("Fri, 02 Jan 2026 03:04:05 +0100", "Fri, 02 Jan 26 03:04:05 +0100", "2 Jan 2026 02:04:05 GMT"),
        *("Thu, 02 Jan 2026 02:04:05 UT", "Fri,02 Jan 2026 02:04:05GMT", "Fri, 02 Jan 2026 03:04:05 CET"),
        *("Fri, 02 Jan 126 02:04:05 Z", "Fri, 02 Jan 2026 03:04:05 GMT+0100", "Fri, 02 Jan 2026 03:04:05 GMT+1"),
        *("Fri, 02 Jan 2026 03:04:05 +01:00", "Thu, 01 Jan 2026 21:04:05 -0500 (EST)", "Thu, 1 Jan 2026 21:04:05  EST"),
        *("Fri, 2 January 2026 02:04:05", "Fri, 02 Jan. 2026 02:04:05", "Fri, 02 Jan 2026 02:04:05 WHATEVER"),
        *(
            "2026-01-02 02:04:05 UTC",
            "2026-01-02_02:04:05",
            "2026/1/2 2:04:05",
            "2026.01.02 02:04:05",
            "20260102020405",
        ),
        *("2026-01-02T03:04:05.000+0100", "2026-01-02T03:04:05+01", "2026-01-02T02:04:05Z[UTC]", "2026-002T02:04:05Z"),
        *("  2026-01-02T02:04:05Z\n", "2026-01-02T02:04:05.000000000Z", "2026-01-02 03:04:05 +01:00 (CET)"),
    ],
)
def test_forms_of_one_moment(text):
    assert iso(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        *("2026-01-02", "20260102", "2026-W01-5", "2026W015", "2026-002", "2026002", "Fri, 02 Jan 2026", "2 Jan 26"),
        *("January 2, 2026", "Jan 2nd, 2026", "2026 Jan 02", "02-JAN-2026", "Fri, 02 Jan 2026 00:00"),
        *("2026-01-01T24:00:00Z", "Thu, 01 Jan 2026 24:00 GMT", "2026-01-02T00:00Z", "Jan 2 2026 12:00 AM"),
        *("Fr, 02. J\u00e4nner 2026", "ven., 02 janv. 2026", "2 gennaio 2026", "2 de enero de 2026"),
        *("vr, 02 jan 2026", "sex, 02 jan 2026", "2026\u5e741\u67082\u65e5"),
    ],
)
def test_forms_of_one_day(text):
    assert iso(text) == DAY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03", "2026-03-01T00:00:00+00:00"),
        ("2026", "2026-01-01T00:00:00+00:00"),
        ("mar., 03 f\u00e9vr. 2026 10:00:00 +0100", "2026-02-03T09:00:00+00:00"),
        ("Do, 05 M\u00e4r 2026 10:00 +0100", "2026-03-05T09:00:00+00:00"),
        ("Wed, 21 Sept 2022 10:00:00 GMT", "2022-09-21T10:00:00+00:00"),
        ("15 ao\u00fbt 2025", "2025-08-15T00:00:00+00:00"),
        ("1 dez 2025", "2025-12-01T00:00:00+00:00"),
        ("\u03a0\u03b1\u03c1, 02 \u0399\u03b1\u03bd 2026 03:04:05 EET", "2026-01-02T01:04:05+00:00"),
        ("2026-janu\u00e1r-2T3:04+01:00", "2026-01-02T02:04:00+00:00"),
        ("2026\ub144 01\uc6d4 02\uc77c 12:04:05", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02 \uc624\ud6c4 3:04:05", "2026-01-02T06:04:05+00:00"),
        ("Fri, 02 Jan 98 03:04:05 GMT", "1998-01-02T03:04:05+00:00"),
        ("Fri, 31 Dec 2016 23:59:60 GMT", "2016-12-31T23:59:59+00:00"),
        ("Jan 2, 2026 12:30 p.m.", "2026-01-02T12:30:00+00:00"),
    ],
)
def test_months_and_habits_of_many_places(text, expected):
    assert iso(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", "yesterday", "02/03/2026", "Fri, 31 Feb 2026 00:00:00 GMT", "2026-13-01", "2026-01-02T25:00:00Z"),
        *("2026-01-02T24:00:01Z", "9999999999999999", "0000-00-00 00:00:00", "0001-01-01T00:00:00Z", "2026-367"),
        *("2026-01-02T03:04:05+9900", "1 " * 50, "9" * 5000, "jui 3 2026", "2026-01-02T03:04:05 in the morning"),
        *(None, True, [], {}, float("nan"), float("inf"), 1e300, -1e300),
    ],
)
def test_what_is_no_date_is_none(value):
    assert read_date(value) is None


def test_numbers_are_seconds_or_parts_of_them_since_1970():
    expected = datetime(2026, 1, 2, 3, tzinfo=UTC)
    for value in (1767322800, 1767322800.0, 1767322800000, 1767322800000000, "1767322800", "1767322800000"):
        assert read_date(value) == expected
    assert read_date(0).date() == date(1970, 1, 1)
