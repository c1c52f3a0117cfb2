"""Numbers and dates written for people: refused with every reading, read exactly when the study says how they are written."""

import datetime as dt
import json
import sys

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from causalbench import cli
from causalbench.data.date_format import read_as, require_date_format
from causalbench.data.numerals import Numerals, as_numbers
from causalbench.data.panel import Panel
from causalbench.errors import DataError, StudyError
from causalbench.study import Study
from causalbench.workflow.reading import read_panel

COLUMNS = {"unit": "city", "period": "week", "outcome": "sales"}
LAUNCH = {"treated": ["lima"], "start": 4}
CITIES = ("baku", "kyiv", "lima", "oslo")
VALUES = {(city, week): 1000.25 * (i + 1) + 1.5 * week for i, city in enumerate(CITIES) for week in range(1, 7)}
PLAIN = pd.DataFrame([(city, week, value) for (city, week), value in VALUES.items()], columns=["city", "week", "sales"])
CONNECTION = duckdb.connect(":memory:")
ENGINES = {
    "pandas": lambda table: table,
    "pandas objects": lambda table: table.astype(object),
    "pandas categories": lambda table: table.assign(sales=table["sales"].astype("category")),
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "duckdb": CONNECTION.from_df,
}
WAYS = {
    "point": (lambda y: f" {y:.2f} ", {"decimal": "."}),
    "commas and a point": (lambda y: f"{y:,.2f}", {"decimal": ".", "thousands": ","}),
    "commas, the point is understood": (lambda y: f"{y:,.2f}", {"thousands": ","}),
    "decimal comma": (lambda y: f"{y:.2f}".replace(".", ","), {"decimal": ","}),
    "points and a comma": (lambda y: f"{y:,.2f}".translate(str.maketrans(",.", ".,")), {"thousands": "."}),
    "spaces": (lambda y: f"{y:,.2f}".translate(str.maketrans(",.", "\u202f,")), {"decimal": ",", "thousands": " "}),
    "apostrophes": (lambda y: f"{y:,.2f}".replace(",", "\u2019"), {"thousands": "'"}),
}


def written(text):
    return PLAIN.assign(sales=PLAIN["sales"].map(text))


def read(table, **keys):
    return Panel.from_table(table, **COLUMNS, **LAUNCH, **keys)


@pytest.fixture(scope="module")
def expected():
    return read(PLAIN)


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*command):
        monkeypatch.setattr(sys, "argv", ["causalbench", *map(str, command)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return call


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(("text", "keys"), WAYS.values(), ids=WAYS)
def test_every_way_of_writing_is_read_exactly_in_every_engine(expected, engine, text, keys):
    panel = read(engine(written(text)), **keys)
    assert panel.fingerprint == expected.fingerprint
    (finding,) = [finding for finding in panel.findings if finding.code == "CB-D020"]
    assert (finding.severity, finding.message) == ("info", "numbers in 'sales' are text")


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_text_is_refused_with_count_samples_and_what_each_key_would_read(engine):
    with pytest.raises(DataError) as refused:
        read(engine(written(lambda y: f"{y:,.0f}")))
    assert str(refused.value) == (
        "CB-D020: outcome column 'sales' holds 24 texts that aren't plain numbers, for example '1,002', '1,003', '1,005'\n"
        "  To mend it: say under [data] how numbers are written: decimal = \",\" reads '1,002' as 1.002; or "
        'decimal = "." and thousands = "," reads \'1,002\' as 1002'
    )


def test_reading_that_fails_for_one_value_isnt_proposed():
    texts = PLAIN["sales"].map(lambda y: f"{y:,.2f}").tolist()
    with pytest.raises(DataError, match=r"decimal = \"\.\" and thousands = \",\" reads '1,001\.75' as 1001\.75$"):
        read(PLAIN.assign(sales=texts))


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_signs_are_refused_under_any_key(engine):
    texts = ["12%", "$3", "7", "1,234"] * 6
    with pytest.raises(DataError) as refused:
        read(engine(PLAIN.assign(sales=texts)), thousands=",")
    assert str(refused.value) == (
        'CB-D020: outcome column \'sales\' holds 12 texts that aren\'t numbers written with decimal = "." and thousands = ",", '
        "for example '12%', '$3'\n"
        "  To mend it: take signs of currency out and divide percentages by 100 first; separators may stay, see [data] thousands"
    )


@pytest.mark.parametrize(
    "text", ["1,23", "12,34,567", "1,2345", "1.234,5", "1,234 5", "--1", "0x10", "1_000", "inf", "٣"]
)
def test_what_only_looks_like_a_number_isnt_read(text):
    with pytest.raises(DataError, match=r"holds 1 texts that aren't numbers"):
        read(written(str).replace({"sales": {str(VALUES["baku", 2]): text}}), thousands=",")


@pytest.mark.parametrize("token", ["", " ", "NA", "null", None])
@pytest.mark.parametrize("engine", ["pandas", "polars", "arrow", "duckdb"])
def test_marks_of_a_missing_value_are_missing(token, engine):
    texts = written(lambda y: f"{y:,.2f}")
    texts.loc[1, "sales"] = token
    panel = read(ENGINES[engine](texts), thousands=",")
    assert np.argwhere(np.isnan(panel.outcome)).tolist() == [[0, 1]]


def test_one_text_read_in_the_engine_and_in_messages_is_one_number():
    texts = ["1,234.5", "+7", "-0.25", ".5", "5.", "1e3", "1,234,567.125e-2", "0012"]
    numerals = Numerals(thousands=",")
    frame = as_numbers(nw.from_native(pl.DataFrame({"x": texts})).lazy(), "x", numerals)
    found = frame.collect(backend="pandas").to_pandas()
    assert found["x"].tolist() == [numerals.read(text) for text in texts]
    assert found["x"].tolist() == [1234.5, 7, -0.25, 0.5, 5, 1000, 12345.67125, 12]


@pytest.mark.parametrize("keys", [{"decimal": ",", "thousands": ","}, {"decimal": ";"}, {"thousands": "x"}])
def test_impossible_marks_are_refused(keys):
    with pytest.raises(DataError):
        read(PLAIN, **keys)


def test_columns_of_numbers_are_left_alone(expected):
    assert read(PLAIN, thousands=".", decimal=",").fingerprint == expected.fingerprint


def study(folder, text, *, kind="csv", data=(), metric=()):
    table = written(text)
    if kind == "csv":
        table.to_csv(folder / "t.csv", index=False, sep=";")
    else:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), folder / "t.parquet")
    values = {
        "study": {"name": "sales", "question": "Did it work?"},
        "data": {"source": f"t.{kind}", "unit": "city", "period": "week", **dict(data)},
        "metric": [{"name": "sales", "column": "sales", **dict(metric)}],
        "launch": {"units": ["lima"], "start": 4},
        "method": {"name": "did"},
    }
    return Study.from_mapping(values, folder=folder)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("text", "keys"), WAYS.values(), ids=WAYS)
def test_files_are_read_like_tables(tmp_path, expected, kind, text, keys):
    loaded = study(tmp_path, text, kind=kind, data=keys)
    assert read_panel(loaded, loaded.metric[0]).fingerprint == expected.fingerprint


def test_points_between_thousands_of_a_file_arent_taken_for_decimals(tmp_path):
    loaded = study(tmp_path, lambda y: f"{round(y):,}".replace(",", "."), data={"thousands": "."})
    panel = read_panel(loaded, loaded.metric[0])
    assert panel.outcome[0].tolist() == [round(VALUES["baku", week]) for week in range(1, 7)]


def test_sql_and_contradicting_keys_are_refused_where_they_stand():
    values = {
        "study": {"name": "sales", "question": "Did it work?"},
        "data": {
            "sql": "select 1",
            "unit": "u",
            "period": "p",
            "decimal": ",",
            "thousands": ",",
            "covariates": ["a", "a"],
        },
        "metric": [{"name": "sales", "column": "y"}],
        "launch": {"units": ["a"], "start": 4},
        "method": {"name": "did"},
    }
    with pytest.raises(StudyError) as refused:
        Study.from_mapping(values)
    assert refused.value.problems == (
        "[data] thousands: is the decimal mark too: ','",
        "[data] decimal: goes with source; in sql, turn text into numbers within the query",
        "[data] covariates: named twice: 'a'",
    )


# Dates

DATED = {"%d/%m/%Y": "05/0{}/2024", "%m/%d/%Y": "0{}/05/2024", "%d.%m.%y": "05.0{}.24", "%Y-%d-%m": "2024-05-0{}"}


@pytest.mark.parametrize(("form", "label"), DATED.items())
@pytest.mark.parametrize("start", ["2024-06-05", dt.date(2024, 6, 5), None], ids=["ISO", "date", "same form"])
def test_dates_are_read_in_the_form_that_is_named(form, label, start):
    table = PLAIN.assign(week=[label.format(week + 2) for week in PLAIN["week"]])
    keys = {**COLUMNS, "treated": ["lima"], "date_format": form}
    if form == "%Y-%d-%m" and start == "2024-06-05":
        with pytest.raises(DataError, match=r"2024-06-05 as an ISO date, 2024-05-06 as %Y-%d-%m"):
            Panel.from_table(table, **keys, start=start)
        return
    if form == "%Y-%d-%m" and start is None:
        return
    panel = Panel.from_table(table, **keys, start=label.format(6) if start is None else start)
    assert panel.periods == tuple(dt.date(2024, month, 5) for month in range(3, 9))
    assert (panel.frequency, panel.n_pre) == ("month", 3)
    (finding,) = [finding for finding in panel.findings if finding.code == "CB-D009"]
    assert finding.action == f"read as {form}"


def test_dates_with_two_readings_are_refused_with_both():
    with pytest.raises(DataError) as refused:
        read(PLAIN.assign(week=[f"0{week}/05/2024" for week in PLAIN["week"]]))
    assert str(refused.value) == (
        "CB-D010: period column 'week': 6 labels aren't ISO dates; '01/05/2024' may be 2024-05-01 (%d/%m/%Y) or 2024-01-05 "
        "(%m/%d/%Y)\n"
        '  To mend it: say how dates are written: date_format = "%d/%m/%Y" or date_format = "%m/%d/%Y" under [data], or '
        "--date-format"
    )


def test_dates_with_two_digits_of_the_year_have_three_readings():
    with pytest.raises(DataError, match=r"\(%d\.%m\.%y\) or .* \(%m\.%d\.%y\) or .* \(%y\.%m\.%d\)"):
        read(PLAIN.assign(week=[f"0{week}.05.06" for week in PLAIN["week"]]))


def test_form_that_fits_only_some_labels_isnt_proposed():
    table = PLAIN.assign(week=[f"{10 + week}/05/2024" for week in PLAIN["week"]])
    with pytest.raises(DataError) as refused:
        read(table)
    assert "'11/05/2024' may be 2024-05-11 (%d/%m/%Y)\n" in str(refused.value)


@pytest.mark.parametrize("form", ["%d/%m", "%Y-%d", "%U-%Y", "%q", "now", "%H:%M", "%d %Q %Y"])
def test_form_that_fixes_no_date_is_refused(form):
    with pytest.raises(DataError, match=r"CB-D010: date_format '.*' doesn't fix a date"):
        require_date_format(form)


@pytest.mark.parametrize(
    ("value", "form", "label"),
    [
        (" 05/03/2024 ", "%d/%m/%Y", dt.date(2024, 3, 5)),
        ("05/03/2024 06:30", "%d/%m/%Y %H:%M", dt.datetime(2024, 3, 5, 6, 30)),  # noqa: DTZ001
        ("2024-W10", "%G-W%V", dt.date(2024, 3, 4)),
        ("Mar 2024", "%b %Y", dt.date(2024, 3, 1)),
        (20240503, "%Y%d%m", dt.date(2024, 3, 5)),
        (20240503.0, "%Y%d%m", dt.date(2024, 3, 5)),
        ("2024-03-05", "%d/%m/%Y", None),
        (None, "%d/%m/%Y", None),
        (True, "%Y", None),
        (dt.date(2024, 3, 5), "%Y-%m-%d", None),
    ],
)
def test_label_is_read_in_its_form_or_not_at_all(value, form, label):
    assert read_as(value, form) == label


def test_labels_of_another_form_are_refused_with_the_form():
    with pytest.raises(DataError) as refused:
        read(PLAIN, date_format="%d/%m/%Y")
    assert str(refused.value) == (
        "CB-D010: period column 'week': 6 labels aren't text written as %d/%m/%Y, for example 1, 2, 3 and 3 more\n"
        "  To mend it: correct date_format under [data], or leave it out where periods are numbers, dates or ISO text"
    )


def test_cohort_column_may_have_the_form_of_the_periods():
    table = PLAIN.assign(week=[f"0{week}/05/2024" for week in PLAIN["week"]])
    table["first"] = np.where(table["city"] == "lima", "04/05/2024", "never")
    panel = Panel.from_table(table, **COLUMNS, cohort="first", date_format="%d/%m/%Y")
    assert (panel.n_pre, panel.treated_units) == (3, ("lima",))


def test_flags_of_the_command_line_reach_the_reader(run, tmp_path):
    table = written(lambda y: f"{y:,.2f}").assign(week=[f"0{week}/05/2024" for week in PLAIN["week"]])
    table.to_csv(tmp_path / "t.csv", index=False)
    words = ["estimate", "did", tmp_path / "t.csv", "--unit", "city", "--period", "week", "--outcome", "sales"]
    words += ["--treated", "lima", "--start", "04/05/2024", "--inference", "permutation", "--json"]
    code, _, err = run(*words)
    assert (code, err.partition(":")[0]) == (2, "CB-D020")
    code, _, err = run(*words, "--thousands", ",")
    assert (code, err.partition(":")[0]) == (2, "CB-D010")
    code, out, err = run(*words, "--thousands", ",", "--decimal", ".", "--date-format", "%d/%m/%Y")
    assert (code, err) == (0, "")
    assert json.loads(out)["value"] == pytest.approx(0, abs=1e-9)
