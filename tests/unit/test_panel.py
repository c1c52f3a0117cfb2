"""From rows to a panel: every repair and every way of naming the launch, with numbers worked out by hand."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from causalbench import Panel
from causalbench.errors import CausalbenchError, DataError

SALES = {"a": [5, 6, 7, 12, 13], "b": [4, 5, 7, 8, 9], "c": [6, 6, 8, 9, 9]}
TABLE = pd.DataFrame(
    [(geo, week, float(y)) for geo, ys in SALES.items() for week, y in enumerate(ys, start=1)],
    columns=["geo", "week", "sales"],
)
COLUMNS = {"unit": "geo", "period": "week", "outcome": "sales"}


def panel(table, **keys):
    launch = {} if {"cohort", "treatment"} & keys.keys() else {"treated": ["a"], "start": 4}
    return Panel.from_table(table, **(COLUMNS | launch | keys))


def first_row(table, **keys):
    return panel(table, **keys).outcome[0].tolist()


def findings(table, **keys):
    return [(f.code, f.severity, f.message, f.action, f.count, f.units) for f in panel(table, **keys).findings]


def launched(**by_unit):
    """Return a column with one value per unit; ``other`` for those not named."""
    other = by_unit.pop("other")
    return [by_unit.get(geo, other) for geo in TABLE.geo]


PLAIN = panel(TABLE)


def test_panel_holds_the_table():
    assert PLAIN.outcome.tolist() == list(SALES.values())
    assert (PLAIN.units, PLAIN.periods, PLAIN.metric, PLAIN.unit_name) == (
        ("a", "b", "c"),
        (1, 2, 3, 4, 5),
        "sales",
        "geo",
    )
    assert PLAIN.treated.astype(int).tolist() == [[0, 0, 0, 1, 1], [0] * 5, [0] * 5]
    assert (PLAIN.n_pre, PLAIN.n_post, PLAIN.cohorts, PLAIN.donor_pool) == (3, 2, (4,), ("b", "c"))
    assert PLAIN.findings == ()


def test_panel_cant_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        PLAIN.outcome[0, 0] = 1
    with pytest.raises(AttributeError):
        PLAIN.metric = "other"


# two rows per cell: y and 3 y
EVENTS = pd.concat([TABLE, TABLE.assign(sales=TABLE.sales * 3)])


@pytest.mark.parametrize(
    ("aggregate", "row"),
    [("sum", [20, 24, 28, 48, 52]), ("mean", [10, 12, 14, 24, 26]), ("count", [2, 2, 2, 2, 2])],
)
def test_event_rows_are_aggregated(aggregate, row):
    assert first_row(EVENTS, grain="event", aggregate=aggregate) == row
    assert findings(EVENTS, grain="event", aggregate=aggregate) == []


def test_event_count_needs_no_value_and_other_aggregates_do():
    events = EVENTS.assign(sales=[np.nan, *EVENTS.sales[1:]])
    assert first_row(events, grain="event", aggregate="count") == [2, 2, 2, 2, 2]
    assert np.isnan(first_row(events, grain="event", aggregate="sum")[0])
    assert findings(events, grain="event", aggregate="mean") == [
        ("CB-D004", "warning", "column 'sales' is empty in 1 cells: a at 1", "missing", 1, ("a",))
    ]


@pytest.mark.parametrize("rule", ["exact", "sum", "mean"])
def test_identical_duplicates_follow_the_rule_and_are_recorded(rule):
    table = pd.concat([TABLE, TABLE[TABLE.week == 2], TABLE.iloc[[1]]])
    copies, value = 3, {"exact": 6.0, "sum": 18.0, "mean": 6.0}[rule]
    assert len(table[(table.geo == "a") & (table.week == 2)]) == copies
    assert first_row(table, on_duplicate=rule) == [5, value, 7, 12, 13]
    assert findings(table, on_duplicate=rule) == [
        (
            "CB-D002",
            "warning",
            "3 cells have more than one row: a at 2, b at 2, c at 2",
            f'on_duplicate = "{rule}"',
            3,
            ("a", "b", "c"),
        )
    ]


@pytest.mark.parametrize(("rule", "value"), [("sum", 24.0), ("mean", 12.0)])
def test_conflicting_duplicates_follow_the_rule_and_are_recorded(rule, value):
    table = pd.concat([TABLE, TABLE.iloc[[1]].assign(sales=18.0)])
    assert first_row(table, on_duplicate=rule) == [5, value, 7, 12, 13]
    (finding,) = findings(table, on_duplicate=rule)
    assert finding[:3] == ("CB-D003", "warning", "1 cells have more than one row: a at 2")


@pytest.mark.parametrize("rule", ["error", "exact"])
def test_conflicting_duplicates_are_refused_without_a_rule_that_fits(rule):
    with pytest.raises(DataError, match="CB-D003: 1 cells have rows that differ in 'sales': a at 2"):
        panel(pd.concat([TABLE, TABLE.iloc[[1]].assign(sales=18.0)]), on_duplicate=rule)


def test_labels_that_mean_one_period_are_one_period():
    table = TABLE.assign(
        week=[f"0{week}" if geo == "a" else f"{week}.0" for geo, week in zip(TABLE.geo, TABLE.week, strict=True)]
    )
    assert panel(table).fingerprint == PLAIN.fingerprint
    twice = pd.concat([TABLE.astype({"week": str}), TABLE.assign(week="0" + TABLE.week.astype(str))])
    assert panel(twice, on_duplicate="exact").fingerprint == PLAIN.fingerprint


def test_text_periods_are_recorded_with_their_format():
    assert findings(TABLE.astype({"week": str})) == [
        ("CB-D009", "info", "periods in column 'week' are text", "read as whole number", 0, ())
    ]


def test_missing_rows_are_recorded_and_stay_missing():
    table = TABLE.drop(index=[1, 6])
    assert np.argwhere(np.isnan(panel(table).outcome)).tolist() == [[0, 1], [1, 1]]
    assert findings(table) == [("CB-D001", "warning", "2 of 15 cells (unit and period) have no row", "missing", 2, ())]


COHORTS = {
    "missing": launched(a=4.0, other=np.nan),
    "infinite": launched(a=4.0, other=np.inf),
    "zero": launched(a=4, other=0),
    "zero as a float": launched(a=4.0, other=0.0),
    "nullable": pd.array(launched(a=4, other=None), dtype="Int64"),
    "text": launched(a="4", other=None),
    "text never": launched(a="4", other="never"),
    "text zero": launched(a="4", other="0"),
    "mixed": pd.array(launched(a=4, other="inf"), dtype=object),
}


@pytest.mark.parametrize("column", COHORTS.values(), ids=COHORTS)
def test_cohort_column_equals_units_and_start(column):
    assert panel(TABLE.assign(first=column), cohort="first").fingerprint == PLAIN.fingerprint


@pytest.mark.parametrize("other", [None, float("inf"), 0.0])
def test_cohort_column_in_other_engines_equals_units_and_start(other):
    columns = TABLE.to_dict("list") | {"first": launched(a=4.0, other=other)}
    assert panel(pl.DataFrame(columns), cohort="first").fingerprint == PLAIN.fingerprint
    assert panel(pa.table(columns), cohort="first").fingerprint == PLAIN.fingerprint


DATED = TABLE.assign(week=pd.to_datetime([f"2024-01-{7 * week - 6:02d}" for week in TABLE.week]))
PLAIN_DATED = panel(DATED, start="2024-01-22")


@pytest.mark.parametrize(
    "column",
    [
        pd.to_datetime(launched(a="2024-01-22", other=None)),
        launched(a=dt.date(2024, 1, 22), other=None),
        launched(a="2024-01-22", other=None),
    ],
    ids=["datetime64", "dates", "text"],
)
def test_cohort_column_of_dates_equals_units_and_start(column):
    assert panel(DATED.assign(first=column), cohort="first").fingerprint == PLAIN_DATED.fingerprint


ON = (TABLE.geo == "a") & (TABLE.week >= 4)


@pytest.mark.parametrize("dtype", [bool, int, float, "Int64", "boolean", object])
def test_treatment_column_equals_units_and_start(dtype):
    assert panel(TABLE.assign(on=ON.astype(dtype)), treatment="on").fingerprint == PLAIN.fingerprint


def test_treatment_column_in_other_engines_equals_units_and_start():
    table = TABLE.assign(on=ON)
    assert panel(pl.DataFrame(table), treatment="on").fingerprint == PLAIN.fingerprint
    assert panel(pa.Table.from_pandas(table), treatment="on").fingerprint == PLAIN.fingerprint


def test_cohort_after_the_data_is_used_as_control_and_said():
    table = TABLE.assign(first=launched(a=4, b=9, other=0))
    assert panel(table, cohort="first").fingerprint == PLAIN.fingerprint
    assert findings(table, cohort="first") == [
        ("CB-D012", "warning", "1 units launch after the last period 5: b", "used as not treated", 1, ("b",))
    ]


def test_nobody_treated_is_refused():
    with pytest.raises(DataError, match="CB-D012: no unit is treated within the data"):
        panel(TABLE.assign(on=0), treatment="on")


@pytest.mark.parametrize(
    "launch",
    [
        {"treated": None, "start": None},
        {"treated": ["a"], "start": None},
        {"treated": None, "start": 4},
        {"treated": ["a"], "start": 4, "cohort": "first"},
        {"treated": None, "start": None, "cohort": "first", "treatment": "first"},
    ],
)
def test_launch_is_given_in_exactly_one_way(launch):
    with pytest.raises(DataError) as refused:
        Panel.from_table(TABLE.assign(first=4), **(COLUMNS | launch))
    assert str(refused.value) == (
        "the launch must be given in exactly one way\n"
        "  To mend it: name the treated units and a start, or a cohort column, or a treatment column of 0 and 1"
    )


def test_end_leaves_out_later_periods_and_says_so():
    shorter = panel(TABLE, end=4)
    assert shorter.periods == (1, 2, 3, 4)
    assert shorter.outcome.tolist() == [ys[:4] for ys in SALES.values()]
    (finding,) = findings(TABLE, end=4)
    assert finding[1:5] == ("info", "1 periods lie after the end 4: 5", "left out", 1)


def test_end_before_the_launch_is_refused():
    with pytest.raises(DataError, match="launch end 3 lies before the launch 4"):
        panel(TABLE, end=3)


def test_anticipation_leaves_out_the_periods_before_the_launch_and_says_so():
    shorter = panel(TABLE, anticipation=2)
    assert (shorter.periods, shorter.n_pre, shorter.cohorts) == ((1, 4, 5), 1, (4,))
    (finding,) = findings(TABLE, anticipation=2)
    assert finding[1:5] == ("info", "2 periods may anticipate the launch: 2, 3", "left out", 2)


@pytest.mark.parametrize(("align", "kept", "n_pre"), [("next", 5, 3), ("previous", 5, 2), ("drop_partial", 4, 2)])
def test_launch_between_two_weeks_follows_the_rule(align, kept, n_pre):
    aligned = panel(DATED, start="2024-01-18", align=align)
    assert (len(aligned.periods), aligned.n_pre, aligned.n_post) == (kept, n_pre, kept - n_pre)
    if align == "drop_partial":
        (finding,) = findings(DATED, start="2024-01-18", align=align)
        assert finding[1:5] == ("info", "1 periods are treated in part: 2024-01-15", "left out", 1)
        assert aligned.periods[1:3] == (dt.date(2024, 1, 8), dt.date(2024, 1, 22))


def test_period_that_nobody_has_stays_out_and_is_said():
    gapped = panel(TABLE[TABLE.week != 2])
    assert gapped.periods == (1, 3, 4, 5)
    (finding,) = findings(TABLE[TABLE.week != 2])
    assert finding[1:5] == (
        "warning",
        "nobody has data between 1 to 3 (spacing: number)",
        "kept as they are; nothing is filled in",
        1,
    )


SAME = {
    "categories without rows": TABLE.assign(geo=pd.Categorical(TABLE.geo, categories=["z", "c", "b", "a", "y"])),
    "arrow text": TABLE.astype({"geo": "string[pyarrow]"}),
    "nullable numbers": TABLE.astype({"week": "Int64", "sales": "Float64"}),
    "whole numbers": TABLE.astype({"sales": "int16"}),
    "single precision": TABLE.astype({"sales": "float32"}),
    "periods as floats": TABLE.astype({"week": float}),
    "periods as categories": TABLE.assign(week=pd.Categorical(TABLE.week)),
    "decimals of arrow": pa.table(TABLE.to_dict("list") | {"sales": pa.array([Decimal(str(y)) for y in TABLE.sales])}),
    "odd index": TABLE.set_index(["sales"], drop=False).rename_axis(None),
    "other columns": TABLE.assign(note="x", rows=1, unit=2),
}


@pytest.mark.parametrize("table", SAME.values(), ids=SAME)
def test_storage_of_a_table_leaves_no_trace(table):
    assert panel(table).fingerprint == PLAIN.fingerprint


def test_units_stored_as_floats_lose_their_point():
    table = TABLE.assign(geo=TABLE.geo.map({"a": 8001.0, "b": 8002.0, "c": 8003.0}))
    assert panel(table, treated=["8001"]).units == ("8001", "8002", "8003")


@pytest.mark.parametrize("label", [1.5, 2.0**53])
def test_units_stored_as_inexact_floats_are_refused(label):
    table = TABLE.assign(geo=TABLE.geo.map({"a": label, "b": 8002.0, "c": 8003.0}))
    with pytest.raises(DataError) as refused:
        panel(table, treated=["8002"])
    assert str(refused.value) == (
        "CB-D052: units are stored as floating-point numbers that aren't exact whole numbers\n"
        "  To mend it: store the unit column as text"
    )


def test_large_whole_numbers_stay_different_units():
    table = TABLE.assign(geo=TABLE.geo.map({"a": 2**53, "b": 2**53 + 1, "c": 3}))
    assert panel(table, treated=[str(2**53)]).units == ("3", "9007199254740992", "9007199254740993")


def test_nullable_units_that_are_missing_are_refused_with_rows():
    table = TABLE.assign(geo=pd.array([None if geo == "c" else 1 for geo in TABLE.geo], dtype="Int64"))
    with pytest.raises(
        DataError, match="CB-D005: pandas DataFrame: column 'geo' is empty in 5 rows, at row 11, 12, 13, 14, 15 "
    ):
        panel(table, treated=["1"])


@pytest.mark.parametrize(
    ("column", "frequency"),
    [
        (DATED.week, "week"),
        (DATED.week.dt.date, "week"),
        (pd.PeriodIndex(DATED.week, freq="D"), "week"),
        (DATED.week.astype("datetime64[ns]"), "week"),
        (DATED.week.dt.strftime("%Y-%m-%d"), "week"),
    ],
    ids=["datetime64", "dates", "periods", "nanoseconds", "text"],
)
def test_dates_of_any_kind_are_dates(column, frequency):
    dated = panel(DATED.assign(week=column), start=dt.date(2024, 1, 22))
    assert dated.fingerprint == PLAIN_DATED.fingerprint
    assert (dated.frequency, dated.periods[0]) == (frequency, dt.date(2024, 1, 1))


def test_times_with_a_zone_are_refused():
    with pytest.raises(DataError, match="CB-D034: period column 'week' carries time zones"):
        panel(DATED.assign(week=DATED.week.dt.tz_localize("America/Chicago")), start="2024-01-22")


def test_scaling_the_outcome_scales_the_panel():
    assert (panel(TABLE.assign(sales=TABLE.sales * 2**40)).outcome == PLAIN.outcome * 2**40).all()


HOURLY = TABLE.assign(week=pd.Timestamp("2024-03-10") + pd.to_timedelta(TABLE.week, unit="h"))


@pytest.mark.parametrize(
    "start", ["2024-03-10T04:00", dt.datetime.fromisoformat("2024-03-10T04:00"), pd.Timestamp("2024-03-10 04:00")]
)
def test_hourly_table_with_a_launch_at_an_hour(start):
    hourly = panel(HOURLY, start=start)
    assert (hourly.frequency, hourly.n_pre) == ("hour", 3)


def test_never_treated_as_nan_in_polars():
    table = pl.DataFrame(TABLE.to_dict("list") | {"first": launched(a=4.0, other=float("nan"))})
    assert panel(table, cohort="first").fingerprint == PLAIN.fingerprint


def test_cohort_and_treatment_as_categories():
    by_cohort = panel(TABLE.assign(first=pd.Categorical(launched(a="4", other=None))), cohort="first")
    by_treatment = panel(TABLE.assign(on=pd.Categorical(ON.astype(int))), treatment="on")
    assert by_cohort.fingerprint == by_treatment.fingerprint == PLAIN.fingerprint


def test_treated_units_named_by_numbers():
    table = TABLE.assign(geo=TABLE.geo.map({"a": 1, "b": 2, "c": 3}))
    assert panel(table, treated=[1]).treated_units == ("1",)


def test_one_treated_unit_as_plain_text():
    assert panel(TABLE.replace({"geo": {"a": "ab"}}), treated="ab").treated_units == ("ab",)


@pytest.mark.parametrize(
    "keys",
    [{"grain": "events"}, {"grain": "event", "aggregate": "median"}, {"anticipation": -1}, {"align": "nxt"}],
    ids=["grain", "aggregate", "anticipation", "align"],
)
def test_unknown_rules_are_refused(keys):
    with pytest.raises((CausalbenchError, ValueError)):
        panel(TABLE, **keys)


def test_empty_row_of_a_cell_isnt_summed_over_in_silence():
    table = pd.concat([TABLE, TABLE.iloc[[1]].assign(sales=np.nan)])
    assert np.isnan(first_row(table, on_duplicate="sum")[1]) or any(
        "empty" in f[2] for f in findings(table, on_duplicate="sum")
    )


def test_missing_row_at_the_switch_of_treatment_is_said():
    table = TABLE.assign(on=ON.astype(int)).drop(index=3)
    assert any("a" in f[5] for f in findings(table, treatment="on"))


def test_cohort_after_the_end_of_interest_is_said():
    table = TABLE.assign(first=launched(a=3, b=5, other=0))
    assert any("b" in f[5] for f in findings(table, cohort="first", end=4))


@pytest.mark.parametrize("pair", [("\u00e9", "e\u0301"), ("b", "b "), ("b", "b\u00a0"), ("b", "b\u200b")])
def test_units_that_read_the_same_are_refused(pair):
    extra = [TABLE[TABLE.geo == "b"].assign(geo=label) for label in pair]
    with pytest.raises(DataError):
        panel(pd.concat([TABLE[TABLE.geo != "b"], *extra]))


def test_layout_of_the_outcome_doesnt_depend_on_its_history():
    assert PLAIN.outcome.flags.c_contiguous


def test_gap_has_the_code_of_its_row():
    assert findings(TABLE[TABLE.week != 2])[0][0] == "CB-D039"


def test_irregular_periods_are_warned_about_with_their_gaps():
    dates = {1: "2024-01-01", 2: "2024-01-04", 3: "2024-01-09", 4: "2024-01-20", 5: "2024-02-11"}
    read = panel(TABLE.assign(week=TABLE.week.map(dates)), start="2024-01-20")
    assert read.frequency == "irregular"
    assert [finding.code for finding in read.findings] == ["CB-D009", "CB-D039"]
    assert "2024-01-04 to 2024-01-09" in read.findings[1].message


def test_unit_written_in_another_unicode_form_is_found_and_said():
    decomposed = "a\u0301vila"
    read = panel(TABLE.replace({"geo": {"a": decomposed}}), treated=[decomposed])
    assert read.treated_units == ("\u00e1vila",)
    assert [(finding.code, finding.action) for finding in read.findings] == [("CB-D053", "taken out")]
