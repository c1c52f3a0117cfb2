"""Periods: which labels are read, what spacing they have, and where a launch falls between them."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from causalbench.data.calendar import launch_index, read_labels, read_one, timeline
from causalbench.errors import DataError

at = dt.datetime.fromisoformat


def days(*texts):
    return [dt.date.fromisoformat(text) for text in texts]


def hours(*numbers):
    return [dt.datetime.fromisoformat(f"2024-03-10T{hour:02d}") for hour in numbers]


@pytest.mark.parametrize(
    ("raw", "label", "form"),
    [
        (7, 7, None),
        (np.int64(7), 7, None),
        (7.0, 7, None),
        (2**53 + 1, 2**53 + 1, None),
        ("7", 7, "whole number"),
        (" 07 ", 7, "whole number"),
        ("7.0", 7, "whole number"),
        ("-3", -3, "whole number"),
        ("2024-03-04", dt.date(2024, 3, 4), "ISO date"),
        ("2024-03", dt.date(2024, 3, 1), "ISO month"),
        ("2024-03-04T00:00:00", dt.date(2024, 3, 4), "ISO time"),
        ("2024-03-04 05:30", at("2024-03-04 05:30"), "ISO time"),
        (dt.date(2024, 3, 4), dt.date(2024, 3, 4), None),
        (at("2024-03-04"), dt.date(2024, 3, 4), None),
        (pd.Timestamp("2024-03-04"), dt.date(2024, 3, 4), None),
        (pd.Timestamp("2024-03-04 05:00"), at("2024-03-04 05:00"), None),
        (np.datetime64("2024-03-04"), dt.date(2024, 3, 4), None),
        (pd.Period("2024-03", freq="M"), dt.date(2024, 3, 1), None),
        (pd.Period("2024Q2", freq="Q"), dt.date(2024, 4, 1), None),
    ],
)
def test_label_is_read_exactly(raw, label, form):
    assert read_labels([raw], column="week") == ([label], form)


def test_text_numbers_order_as_numbers():
    labels, _ = read_labels(["10", "9", "2"], column="week")
    assert timeline(labels).periods == (2, 9, 10)


@pytest.mark.parametrize("raw", ["2024-1", "2024-02-30", "1e3", "1.5", "Q1 2024", "", True, None, 1.5, np.inf])
def test_label_with_another_form_is_refused_with_an_example(raw):
    with pytest.raises(DataError) as refused:
        read_labels([raw, 1], column="week")
    assert str(refused.value) == (
        f"CB-D010: period column 'week': 1 labels are neither whole numbers nor ISO dates, for example {raw!r}\n"
        "  To mend it: write dates as 2024-03-04, months as 2024-03, years as 2024; or say how they are written: date_format "
        "under [data], or --date-format"
    )


@pytest.mark.parametrize("labels", [["1", "2024-01-01"], [1, dt.date(2024, 1, 1)], [1, "2024-01-01T05:00"]])
def test_mixed_forms_are_refused(labels):
    with pytest.raises(DataError) as refused:
        read_labels(labels, column="week")
    assert refused.value.code == "CB-D010"
    assert refused.value.message.startswith("period column 'week' mixes whole numbers, dates and times")


def test_midnight_among_times_stays_a_time():
    labels, _ = read_labels(["2024-03-10", "2024-03-10T01:00"], column="hour")
    assert labels == hours(0, 1)


@pytest.mark.parametrize(
    "raw", ["2024-03-04T00:00+02:00", "2024-03-04T05:00Z", pd.Timestamp("2024-03-04", tz="America/Chicago")]
)
def test_time_zone_is_refused(raw):
    with pytest.raises(DataError) as refused:
        read_labels([raw], column="day")
    assert str(refused.value) == (
        "CB-D034: period column 'day' carries time zones\n  To mend it: convert it to local dates of the markets first"
    )


@pytest.mark.parametrize(
    ("labels", "frequency", "season", "gaps"),
    [
        (days("2024-02-28", "2024-02-29", "2024-03-01"), "day", 7, 0),
        (days("2024-01-04", "2024-01-05", "2024-01-08"), "day", 7, 1),
        (days("2024-01-01", "2024-01-08", "2024-01-15"), "week", 52, 0),
        (days("2024-01-01", "2024-01-08", "2024-01-22"), "week", 52, 1),
        (days("2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"), "month", 12, 0),
        (days("2023-01-01", "2023-02-01", "2023-03-01"), "month", 12, 0),
        (days("2024-04-01", "2024-05-01"), "month", 12, 0),
        (days("2024-01-01", "2024-02-01", "2024-04-01"), "month", 12, 1),
        (days("2023-12-31", "2024-03-31", "2024-06-30", "2024-09-30"), "quarter", 4, 0),
        (days("2023-01-01", "2024-01-01", "2025-01-01"), "year", 1, 0),
        (days("2023-01-01", "2024-01-01", "2026-01-01"), "year", 1, 1),
        (hours(0, 1, 2), "hour", 24, 0),
        (hours(0, 1, 5), "hour", 24, 1),
        ([3, 1, 2], "number", 1, 0),
        ([2, 4, 6, 10], "number", 1, 1),
        ([5], "number", 1, 0),
    ],
)
def test_spacing_is_inferred_with_its_gaps(labels, frequency, season, gaps):
    line = timeline(labels)
    assert (line.frequency, line.season, len(line.gaps)) == (frequency, season, gaps)
    assert line.periods == tuple(sorted(labels))


def test_gap_names_its_neighbours():
    assert timeline([1, 2, 5, 6, 9]).gaps == ((2, 5), (6, 9))


LINE = timeline([10, 20, 30, 40])


@pytest.mark.parametrize("align", ["error", "next", "previous", "drop_partial"])
def test_launch_on_a_period_is_that_period(align):
    assert launch_index(LINE, 30, align=align) == (2, None)


@pytest.mark.parametrize(
    ("align", "index", "partial"), [("next", 2, None), ("previous", 1, None), ("drop_partial", 2, 1)]
)
def test_launch_between_two_periods_follows_the_rule(align, index, partial):
    assert launch_index(LINE, 25, align=align) == (index, partial)


@pytest.mark.parametrize("align", ["error", "next", "previous", "drop_partial"])
@pytest.mark.parametrize(
    ("start", "side", "count"), [(45, "after the last period 40", "post"), (5, "before the first period 10", "pre")]
)
def test_launch_outside_the_periods_is_refused_under_every_rule(align, start, side, count):
    with pytest.raises(DataError) as refused:
        launch_index(LINE, start, align=align)
    assert refused.value.code == "CB-D012"
    assert refused.value.message == f"launch start {start} lies {side}: 0 {count} periods"


@pytest.mark.parametrize(
    ("value", "like", "read"),
    [
        ("2024-03-04", dt.date(2024, 1, 1), dt.date(2024, 3, 4)),
        (dt.date(2024, 3, 4), at("2024-01-01 05:00"), at("2024-03-04")),
        ("5", 1, 5),
        (5.0, 1, 5),
        (Decimal(5), 1, 5),
    ],
)
def test_launch_date_takes_the_form_of_the_periods(value, like, read):
    assert read_one(value, like, what="launch start") == read


@pytest.mark.parametrize(("value", "like"), [("2024", dt.date(2024, 1, 1)), ("2024-01-01", 3), ("soon", 3), (None, 3)])
def test_launch_date_of_another_form_is_refused(value, like):
    with pytest.raises(DataError) as refused:
        read_one(value, like, what="launch start")
    assert str(refused.value) == (
        f"CB-D012: launch start is {value!r}, but periods look like {like}\n"
        "  To mend it: write launch start in the same form as the periods"
    )


def test_large_text_numbers_stay_apart():
    assert read_labels(["9007199254740993"], column="tick")[0] == [9007199254740993]


@pytest.mark.parametrize(
    "labels",
    [days("2024-01-01", "2024-01-15", "2024-01-29"), [at(f"2024-01-01 00:{minute:02d}") for minute in (0, 15, 30)]],
    ids=["fortnight", "quarter of an hour"],
)
def test_even_spacing_isnt_called_irregular(labels):
    assert timeline(labels).frequency != "irregular"


def test_dates_without_separators_are_read_as_dates_and_said():
    read, text_format = read_labels(["20240131", 20240201], column="day")
    assert read == [dt.date(2024, 1, 31), dt.date(2024, 2, 1)]
    assert text_format == "date written YYYYMMDD"
