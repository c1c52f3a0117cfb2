"""Covariates, weights and clusters in tables that don't mean well: read as they are, or refused with units and the remedy."""

import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from causalbench import cli
from causalbench.data.panel import Panel
from causalbench.errors import DataError
from causalbench.workflow.estimate import estimate

CITIES = ("baku", "kyiv", "lima", "oslo", "rome", "wien")
PLAIN = pd.DataFrame(
    [(city, week, 10.0 + 3 * i + week) for i, city in enumerate(CITIES) for week in range(1, 7)],
    columns=["city", "week", "sales"],
)
CONNECTION = duckdb.connect(":memory:")
ENGINES = {
    "pandas": lambda table: table,
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "duckdb": CONNECTION.from_df,
}
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
SAME_VALUE = "\n  To mend it: give every row of a unit the same value"
FILL_IN = "\n  To mend it: fill in one number for every row, or leave this covariate out"


def by_city(*values):
    return PLAIN.assign(x=PLAIN["city"].map(dict(zip(CITIES, values, strict=True))))


def by_row(*values):
    return PLAIN.assign(x=(values * len(PLAIN))[: len(PLAIN)])


def read(table, **keys):
    return Panel.from_table(table, unit="city", period="week", outcome="sales", treated=["lima"], start=4, **keys)


def refusal(table, **keys):
    with pytest.raises(DataError) as refused:
        read(table, **keys)
    return str(refused.value)


@every_engine
@pytest.mark.parametrize("values", [(1, 2, 3, 4, 5, 6), (1.5, -2, 0, 4, 5, 6), (True, False) * 3])
def test_covariates_are_read_by_cell(engine, values):
    panel = read(engine(by_city(*values)), covariates=["x"])
    assert panel.covariates.shape == (6, 6, 1)
    assert panel.unit_covariates[:, 0].tolist() == list(map(float, values))


@every_engine
def test_covariates_may_vary_over_time_until_a_method_wants_one_per_unit(engine):
    panel = read(engine(by_row(1.0, 2.0)), covariates=["x"])
    assert panel.covariates[0, :, 0].tolist() == [1, 2, 1, 2, 1, 2]
    with pytest.raises(
        DataError, match=r"covariate 'x' varies within 6 units: baku, kyiv, lima, oslo, rome and 1 more"
    ):
        _ = panel.unit_covariates


CATEGORIES = {"text": by_city(*"nsnsns"), "categories": by_city(*"nsnsns").astype({"x": "category"})}


@every_engine
@pytest.mark.parametrize("table", CATEGORIES.values(), ids=CATEGORIES)
def test_categories_as_covariates_are_refused_with_what_to_do(engine, table):
    assert refusal(engine(table), covariates=["x"]) == (
        "CB-D020: covariate column 'x' holds 36 texts that aren't plain numbers, for example 'n', 's'\n"
        "  To mend it: turn a column of categories into columns of 0 and 1, one for each category but one"
    )


COVARIATES = {
    "empty in a unit": (by_city(1, 2, np.nan, 4, 5, 6), "empty in 6 cells: lima at 1, "),
    "empty in a row": (by_row(*[1.0] * 35, np.nan), "empty in 1 cells: wien at 6"),
    "empty altogether": (PLAIN.assign(x=np.nan), "empty in 36 cells: baku at 1, "),
    "missing whole numbers": (
        PLAIN.assign(x=pd.array([1, None] * 18, dtype="Int64")),
        "empty in 18 cells: baku at 2, ",
    ),
    "infinite": (by_city(1, 2, -np.inf, 4, 5, 6), "infinite in 6 cells: lima at 1, "),
}


@every_engine
@pytest.mark.parametrize(("table", "found"), COVARIATES.values(), ids=COVARIATES)
def test_covariates_with_holes_are_refused_with_cells(engine, table, found):
    with pytest.raises(DataError) as refused:
        estimate(read(engine(table), covariates=["x"]), "group-time")
    assert str(refused.value).startswith(f"CB-D042: covariate 'x' is {found}")
    assert str(refused.value).endswith(FILL_IN)


@every_engine
def test_holes_in_covariates_are_read_as_holes(engine):
    panel = read(engine(by_row(1.0, np.nan, 3.0)), covariates=["x"])
    np.testing.assert_array_equal(panel.covariates[0, :, 0], [1, np.nan, 3, 1, np.nan, 3])


@pytest.mark.parametrize("engine", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("keys", [{"covariates": ["x"]}, {"weights": "x"}])
def test_column_of_nothing_is_refused(engine, keys):
    table = PLAIN.assign(x=pd.Series([None] * len(PLAIN), dtype=object))
    (role,) = keys
    said = {"covariates": "covariate", "weights": "weights"}[role]
    assert refusal(ENGINES[engine](table), **keys) == (
        f"CB-D004: {said} column 'x' holds no number\n  To mend it: check the column's name"
    )


def test_dates_as_covariates_are_refused():
    table = PLAIN.assign(x=pd.Timestamp("2024-01-01"))
    assert refusal(table, covariates=["x"]).startswith("CB-D020: covariate column 'x' holds no plain numbers (Datetime")


@pytest.mark.parametrize("keys", [{"covariates": ["income"]}, {"weights": "income"}, {"cluster": "income"}])
def test_misspelt_columns_are_refused_with_the_nearest(keys):
    (role,) = keys
    said = "covariate" if role == "covariates" else role
    assert refusal(PLAIN.assign(incomes=1.0), **keys) == (
        f"CB-D018: pandas DataFrame lacks {said} column 'income' (did you mean 'incomes'?)\n"
        "  To mend it: name one of its columns: city, week, sales, incomes"
    )


@every_engine
def test_events_carry_what_is_constant_within_their_cell(engine):
    rows = pd.concat([by_city(1, 2, 3, 4, 5, 6)] * 2)
    panel = read(engine(rows), covariates=["x"], weights="x", cluster="x", grain="event")
    assert panel.unit_covariates[:, 0].tolist() == panel.weights.tolist() == [1, 2, 3, 4, 5, 6]
    assert panel.cluster == ("1", "2", "3", "4", "5", "6")


@every_engine
def test_events_that_differ_within_their_cell_are_refused(engine):
    rows = engine(pd.concat([PLAIN.assign(x=1.0), PLAIN.assign(x=2.0)]))
    assert refusal(rows, covariates=["x"], grain="event").startswith(
        "CB-D042: covariate 'x' has several values in 36 cells"
    )
    assert refusal(rows, weights="x", grain="event").startswith("CB-D045: weights column 'x' must be constant")


WEIGHTS = {
    "zero": (by_city(1, 0, 1, 1, 1, 1), "they aren't in 1 units: kyiv (0)"),
    "negative": (by_city(1, -2.5, 1, -1, 1, 1), "they aren't in 2 units: kyiv (-2.5), oslo (-1)"),
    "infinite": (by_city(1, np.inf, 1, 1, 1, 1), "they aren't in 1 units: kyiv (inf)"),
}


@every_engine
@pytest.mark.parametrize(("table", "found"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_arent_positive_are_refused_with_their_values(engine, table, found):
    assert refusal(engine(table), weights="x") == (
        f"CB-D045: weights in column 'x' must be positive numbers; {found}\n  To mend it: correct them, or remove these units"
    )


VARYING = {
    "weights over time": ({"weights": "x"}, by_row(*range(1, 37)), "CB-D045: weights", "6 units", "1 and 6"),
    "clusters over time": ({"cluster": "x"}, by_row("n", "s"), "CB-D046: cluster", "6 units", "'n' and 's'"),
}


@every_engine
@pytest.mark.parametrize(("keys", "table", "who", "count", "values"), VARYING.values(), ids=VARYING)
def test_what_belongs_to_a_unit_may_not_vary(engine, keys, table, who, count, values):
    assert refusal(engine(table), **keys) == (
        f"{who} column 'x' must be constant within a unit; it isn't in {count}, for example 'baku': {values}{SAME_VALUE}"
    )


EMPTY = {
    "weight of a unit": ({"weights": "x"}, by_city(1, np.nan, 1, 1, 1, 1), "CB-D045: weights", "kyiv"),
    "weight of a row": ({"weights": "x"}, by_row(*[1.0] * 35, np.nan), "CB-D045: weights", "wien"),
    "cluster of a unit": ({"cluster": "x"}, by_city("n", None, "n", "s", "s", "s"), "CB-D046: cluster", "kyiv"),
    "cluster of a row": ({"cluster": "x"}, by_row(*["n"] * 35, None), "CB-D046: cluster", "wien"),
    "cluster of blanks": ({"cluster": "x"}, by_city("n", " ", "n", "s", "s", "s"), "CB-D046: cluster", "kyiv"),
}


@every_engine
@pytest.mark.parametrize(("keys", "table", "who", "unit"), EMPTY.values(), ids=EMPTY)
def test_empty_weights_and_clusters_are_refused_with_units(engine, keys, table, who, unit):
    assert refusal(engine(table), **keys) == (
        f"{who} column 'x' is empty in rows of 1 units: {unit}{SAME_VALUE}, or remove these units"
    )


CLUSTERS = {
    "text": (by_city(*"nnsswn"), ("n", "n", "s", "s", "w", "n")),
    "whole numbers": (by_city(1, 1, 2, 2, 3, 1), ("1", "1", "2", "2", "3", "1")),
    "floats": (by_city(1.0, 1.0, 2.0, 2.0, 3.0, 1.0), ("1", "1", "2", "2", "3", "1")),
    "categories": (by_city(*"nnsswn").astype({"x": "category"}), ("n", "n", "s", "s", "w", "n")),
    "spaces around": (by_city("n ", "n ", *"sswn").replace({"x": {"n": "n "}}), ("n", "n", "s", "s", "w", "n")),
}


@every_engine
@pytest.mark.parametrize(("table", "labels"), CLUSTERS.values(), ids=CLUSTERS)
def test_clusters_of_any_kind_become_labels(engine, table, labels):
    panel = read(engine(table), cluster="x")
    assert panel.cluster == labels
    assert (panel.n_clusters, panel.n_treated_clusters, panel.n_control_clusters) == (3, 1, 3)


@pytest.mark.parametrize("other", ["n ", "n\u00a0", "n\u200b"])
def test_clusters_that_read_the_same_are_refused(other):
    assert refusal(by_city("n", other, *"ssww"), cluster="x").startswith(
        "CB-D046: column 'x' has 1 clusters that differ only in invisible characters: 'n' and "
    )


def test_clusters_stored_as_inexact_floats_are_refused():
    assert refusal(by_city(1.5, 1, 1, 2, 2, 2), cluster="x").startswith(
        "CB-D052: clusters are stored as floating-point"
    )


def test_clustering_by_unit_is_no_clustering():
    panel = read(PLAIN, cluster="city")
    assert panel.cluster is None
    assert panel.fingerprint == read(PLAIN).fingerprint


@pytest.mark.parametrize(
    ("keys", "column", "roles"),
    [
        ({"covariates": ["sales"]}, "sales", "outcome and covariate"),
        ({"covariates": ["city"]}, "city", "unit and covariate"),
        ({"covariates": ["week"]}, "week", "period and covariate"),
        ({"weights": "sales"}, "sales", "outcome and weights"),
        ({"weights": "city"}, "city", "unit and weights"),
        ({"cluster": "week"}, "week", "period and cluster"),
        ({"cluster": "sales"}, "sales", "outcome and cluster"),
    ],
)
def test_one_column_in_two_roles_is_refused(keys, column, roles):
    assert refusal(PLAIN, **keys) == (
        f"column {column!r} is given two roles: {roles}\n  To mend it: name different columns for them"
    )


def test_treatment_as_a_covariate_is_refused():
    table = PLAIN.assign(on=((PLAIN["city"] == "lima") & (PLAIN["week"] > 3)).astype(int))
    columns = {"unit": "city", "period": "week", "outcome": "sales", "treatment": "on"}
    with pytest.raises(DataError, match=r"column 'on' is given two roles: treatment and covariate"):
        Panel.from_table(table, **columns, covariates=["on"])


def test_size_may_be_weight_and_covariate_and_cohorts_may_be_clusters():
    panel = read(by_city(1, 2, 3, 4, 5, 6), covariates=["x"], weights="x", cluster="x")
    assert panel.weights.tolist() == panel.unit_covariates[:, 0].tolist()
    table = PLAIN.assign(first=np.where(PLAIN["city"] == "lima", 4, 0))
    panel = Panel.from_table(table, unit="city", period="week", outcome="sales", cohort="first", cluster="first")
    assert panel.n_clusters == 2


def test_covariate_named_twice_is_refused():
    assert refusal(PLAIN.assign(x=1.0), covariates=["x", "x"]).startswith("covariates repeat: x, x")


UNMATCHED = """covariates with match = outcomes
  To mend it: leave covariates out, or set match = "predictors" (or "shared" for several outcomes)"""


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--covariates", "x"), UNMATCHED),
        (("--weights", "x"), "weights\n  To mend it: leave weights out, or choose a method that uses them"),
        (("--cluster", "x"), "clusters\n  To mend it: leave clusters out, or choose a method that uses them"),
    ],
    ids=["covariates", "weights", "clusters"],
)
def test_columns_a_method_has_no_use_for_are_refused_with_exit_3(monkeypatch, capsys, tmp_path, flags, what):
    by_city(1, 2, 3, 4, 5, 6).to_csv(tmp_path / "t.csv", index=False)
    words = ["estimate", "synthetic-control", str(tmp_path / "t.csv"), "--unit", "city", "--period", "week"]
    words += ["--outcome", "sales", "--treated", "lima", "--start", "4", *flags]
    monkeypatch.setattr(sys, "argv", ["causalbench", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 3
    assert capsys.readouterr().err == f"synthetic-control uses no {what}\n"
