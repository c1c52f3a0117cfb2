"""Cohort moments formed in a table's own engine equal those of the panel in memory, and refuse what the panel refuses."""

import datetime as dt
import gc
import importlib.util
import shutil

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from causalbench.data import engine_sums, sources
from causalbench.data.engine_moments import cohort_moments
from causalbench.data.launch import LaunchRule
from causalbench.data.moments import CohortMoments
from causalbench.data.outcome import Reading
from causalbench.data.panel import Panel
from causalbench.data.reduce import Columns
from causalbench.errors import DataError

N_UNITS, N_PERIODS = 60, 7
NAMES = {"unit": "store", "period": "week", "outcome": "sales"}


def long_table(*, level=50.0, seed=3, n_units=N_UNITS, n_periods=N_PERIODS):
    """Cohorts 3, 5, 6 and units never treated (0), with an effect; one row per unit and period, shuffled."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(n_units), n_periods)
    week = np.tile(np.arange(1, n_periods + 1), n_units)
    cohort = np.array([0, 3, 5, 6])[unit % 4]
    treated = ((cohort > 0) & (week >= cohort)).astype(int)
    sales = level + rng.normal(size=n_units)[unit] + 0.3 * week + 2.0 * treated + rng.normal(size=len(unit))
    table = pd.DataFrame({"store": unit, "week": week, "sales": sales, "cohort": cohort, "on": treated})
    return table.sample(frac=1, random_state=seed, ignore_index=True)


@pytest.fixture(scope="module")
def table():
    return long_table()


def in_memory(table, **launch):
    launch = launch or {"cohort": "cohort"}
    return CohortMoments.from_panel(Panel.from_table(table, **NAMES, **launch))


def in_engine(table, *, on_missing="error", end=None, anticipation=0, align="error", date_format=None, **columns):
    source = table if isinstance(table, sources.Source) else sources.from_object(table)
    return cohort_moments(
        source,
        Columns(**NAMES, **(columns or {"cohort": "cohort"})),
        launch=LaunchRule(units=None, start=None, end=end, anticipation=anticipation, align=align),
        reading=Reading(grain="cell", aggregate="sum", on_duplicate="error", metric="sales", date_format=date_format),
        on_missing=on_missing,
    )


def assert_equal(found, expected, *, rel=1e-12):
    assert found.periods == expected.periods
    assert found.first_treated.tolist() == expected.first_treated.tolist()
    assert found.counts.tolist() == expected.counts.tolist()
    spread = np.sqrt(np.einsum("ctt->ct", expected.scatter) / expected.counts[:, None])
    assert np.abs(found.means - expected.means).max() <= rel * max(spread.max(), np.abs(expected.means).max())
    scale = np.sqrt(expected.counts[:, None] * spread**2)
    bound = rel * (scale[:, :, None] * scale[:, None, :]) + 1e-300
    assert (np.abs(found.scatter - expected.scatter) <= bound).all()
    for name in ("metric", "unit_name", "frequency", "season", "additive"):
        assert getattr(found, name) == getattr(expected, name)


def written_csv(table, folder):
    table.to_csv(folder / "t.csv", index=False)
    return sources.from_file(folder / "t.csv", folder=folder, unit="store", period="week")


def written_parquet(table, folder):
    table.to_parquet(folder / "t.parquet", index=False)
    return sources.from_file(folder / "t.parquet", folder=folder, unit="store", period="week")


ENGINES = {
    "pandas": lambda table, _: table,
    "pandas nullable": lambda table, _: table.convert_dtypes(),
    "polars": lambda table, _: pl.DataFrame(table),
    "polars lazy": lambda table, _: pl.DataFrame(table).lazy(),
    "arrow": lambda table, _: pa.Table.from_pandas(table),
    "duckdb": lambda table, _: duckdb.connect(":memory:").from_df(table),
    "csv": written_csv,
    "parquet": written_parquet,
    "sql": lambda table, folder: (
        written_parquet(table, folder)
        and sources.from_sql("select * from 't.parquet'", folder=folder, unit="store", period="week")
    ),
}
LAUNCHES = {"cohort": {"cohort": "cohort"}, "treatment": {"treatment": "on"}}


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_engine_agrees_with_the_panel(table, tmp_path, engine, launch):
    assert_equal(in_engine(engine(table, tmp_path), **launch), in_memory(table, **launch))


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="needs the extra spark")
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
@pytest.mark.filterwarnings("ignore")
def test_spark_agrees_with_the_panel(table, spark, launch):
    assert_equal(in_engine(spark.createDataFrame(table), **launch), in_memory(table, **launch))


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="needs the extra spark")
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
@pytest.mark.filterwarnings("ignore")
def test_spark_refuses_a_second_row(table, spark):
    twice = pd.concat([table, table.head(1).assign(sales=-1.0)], ignore_index=True)
    with pytest.raises(DataError, match="CB-D003"):
        in_engine(spark.createDataFrame(twice))


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.parametrize("level", [0.0, 1e9, -3e9])
@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
def test_a_high_level_costs_no_digits(launch, level):
    """In exact arithmetic of multiples of 2**-20, so that both levels hold the same deviations."""
    low = long_table(level=0.0)
    low["sales"] = np.round(low["sales"] * 2**20) / 2**20
    high = low.assign(sales=low["sales"] + level)
    at_level, at_zero = (in_engine(duckdb.from_df(t), **launch) for t in (high, low))
    np.testing.assert_allclose(at_level.scatter, at_zero.scatter, rtol=0, atol=1e-10 * at_zero.scatter.max())
    np.testing.assert_allclose(at_level.means - level, at_zero.means, rtol=0, atol=1e-6)


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
def test_cohorts_at_levels_far_apart_cost_no_digits(launch):
    """The first centres lie between the cohorts; sums are formed again about each cohort's own."""
    near = long_table(level=0.0)
    near["sales"] = np.round(near["sales"] * 2**20) / 2**20
    apart = near.assign(sales=near["sales"] + 1e9 * near["cohort"])
    expected, found = in_engine(duckdb.from_df(near), **launch), in_engine(duckdb.from_df(apart), **launch)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=0, atol=1e-10 * expected.scatter.max())


def test_units_in_slices_give_the_same_sums(table, tmp_path, monkeypatch):
    whole = in_engine(written_parquet(table, tmp_path))
    monkeypatch.setattr(engine_sums, "_STATE_BYTES", 4000)
    source = written_parquet(table, tmp_path)
    stage = engine_sums.UnitStage(
        frame=source.frame.rename({"store": "__unit", "week": "__period", "sales": "__value", "cohort": "__cohort"}),
        raw_periods=tuple((week,) for week in range(1, 8)),
        centres=np.zeros(7),
        first_of={},
        n_units=60,
    )
    parts = [sources.collect(part.select("__unit"), source)["__unit"].tolist() for part in stage.slices()]
    assert len(parts) > 3
    assert sorted(unit for part in parts for unit in part) == list(range(60))
    assert_equal(in_engine(source), whole)


def test_relabelled_and_reordered_units_give_the_same_sums(table):
    labels = np.random.default_rng(1).permutation(10 * N_UNITS)[:N_UNITS]
    other = table.assign(store=[f"s{labels[unit]}" for unit in table["store"]]).sample(frac=1, random_state=9)
    assert_equal(in_engine(duckdb.from_df(other)), in_engine(duckdb.from_df(table)))


DATES = pd.Series({week: pd.Timestamp(2024, 1, 1) + pd.Timedelta(weeks=week) for week in range(N_PERIODS + 1)})


@pytest.mark.parametrize("form", ["date", "timestamp", "text", "whole numbers as text"])
@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
def test_periods_of_every_type(table, form, launch):
    write = {
        "date": lambda weeks: weeks.map(DATES).dt.date,
        "timestamp": lambda weeks: weeks.map(DATES) + pd.Timedelta(hours=1),
        "text": lambda weeks: weeks.map(DATES).dt.strftime("%Y-%m-%d"),
        "whole numbers as text": lambda weeks: (weeks + 5).astype(str),
    }[form]
    dated = table.assign(week=write(table["week"]), cohort=write(table["cohort"]).where(table["cohort"] > 0))
    connection = duckdb.connect(":memory:")
    assert_equal(in_engine(connection.from_df(dated), **launch), in_memory(dated, **launch))


def test_dates_of_the_engines_own_type():
    relation = duckdb.connect(":memory:").sql(
        "select u as store, date '2024-01-01' + (7 * w)::int as week, u * w * 1.5 + w * w as sales, "
        "case when u % 3 = 0 then date '2024-01-01' + 14 end as cohort from range(30) a(u), range(5) b(w)"
    )
    moments = in_engine(relation)
    assert moments.periods[0] == dt.date(2024, 1, 1)
    assert (moments.frequency, moments.first_treated.tolist(), moments.counts.tolist()) == ("week", [2, 5], [10, 20])
    assert_equal(moments, in_memory(relation.df().astype({"week": object})))


@pytest.mark.parametrize("never", [np.nan, np.inf, 0.0])
def test_units_never_treated(table, never):
    other = table.assign(cohort=table["cohort"].astype(float).replace(0.0, never))
    assert_equal(in_engine(duckdb.from_df(other)), in_memory(table))


def test_units_stored_as_floats_and_a_treatment_of_true_and_false(table):
    other = table.assign(store=table["store"].astype(float), on=table["on"].astype(bool))
    assert_equal(in_engine(duckdb.from_df(other), treatment="on"), in_memory(table, treatment="on"))


def test_two_spellings_of_one_period_are_one(table):
    text = table.assign(
        week=[f"{week}.0" if unit % 2 else str(week) for unit, week in zip(table.store, table.week, strict=True)]
    )
    assert_equal(in_engine(duckdb.from_df(text)), in_memory(table))


def finding(moments, code):
    (found,) = [finding for finding in moments.findings if finding.code == code]
    return found


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
@pytest.mark.parametrize("engine", ["duckdb", "polars lazy", "pandas"])
def test_always_treated_units_are_left_out_with_their_names(table, tmp_path, engine, launch):
    early = table.assign(
        cohort=table["cohort"].where(table["store"] % 8 != 1, -2), on=table["on"].where(table["store"] % 8 != 1, 1)
    )
    moments = in_engine(ENGINES[engine](early, tmp_path), **launch)
    assert_equal(moments, in_memory(table[table["store"] % 8 != 1], **launch))
    note = finding(moments, "CB-D023")
    assert (note.severity, note.count, note.units) == ("warning", 8, ("1", "9", "17", "25", "33"))
    assert note.message == "8 units are treated in every period there is: 1, 9, 17, 25, 33 and 3 more"


def test_launch_after_the_last_period_counts_as_not_treated(table):
    late = table.assign(cohort=table["cohort"].replace(6, 9))
    moments = in_engine(duckdb.from_df(late))
    assert_equal(moments, in_memory(late))
    assert finding(moments, "CB-D012").count == 15


@pytest.mark.parametrize("rule", [{"end": 5}, {"end": 4}], ids=["end", "end before the last cohorts"])
def test_end_of_interest(table, rule):
    expected = CohortMoments.from_panel(Panel.from_table(table, **NAMES, cohort="cohort", **rule))
    assert_equal(in_engine(duckdb.from_df(table), cohort="cohort", **rule), expected)


@pytest.mark.parametrize("align", ["next", "previous", "drop_partial"])
def test_launch_between_two_periods(table, align):
    even = table[table["week"] != 3]
    expected = CohortMoments.from_panel(Panel.from_table(even, **NAMES, cohort="cohort", align=align))
    assert_equal(in_engine(duckdb.from_df(even), cohort="cohort", align=align), expected)
    with pytest.raises(DataError, match="CB-D013"):
        in_engine(duckdb.from_df(even))


def test_anticipation_leaves_out_periods(table):
    one = table.assign(cohort=table["cohort"].replace({3: 5, 6: 5}))
    expected = CohortMoments.from_panel(Panel.from_table(one, **NAMES, cohort="cohort", anticipation=2))
    assert_equal(in_engine(duckdb.from_df(one), cohort="cohort", anticipation=2), expected)


@pytest.mark.parametrize("engine", ["duckdb", "polars lazy", "pandas"])
@pytest.mark.parametrize("empty", [False, True], ids=["no row", "empty value"])
def test_incomplete_units(table, tmp_path, engine, empty):
    gone = table["store"].isin([4, 21]) & (table["week"] == 6)
    holed = table.assign(sales=table["sales"].mask(gone)) if empty else table[~gone]
    lazy = ENGINES[engine](holed, tmp_path)
    with pytest.raises(DataError, match=r"2 cells are missing, in 2 units \(4, 21\)") as refused:
        in_engine(lazy)
    assert refused.value.code == ("CB-D004" if empty else "CB-D001")
    moments = in_engine(lazy, on_missing="drop_unit", cohort="cohort")
    assert_equal(moments, in_memory(table[~table["store"].isin([4, 21])]))
    note = finding(moments, "CB-D001")
    assert (note.count, note.units) == (2, ("4", "21"))
    assert "1 of them are treated" in note.message


def with_rows(table, **changes):
    return pd.concat([table, table[(table["store"] == 7) & (table["week"] == 2)].assign(**changes)], ignore_index=True)


def changed(table, column, value, *, store=7, week=2):
    at = (table["store"] == store) & (table["week"] == week)
    return table.assign(**{column: table[column].astype(object if value is None else float).mask(at, value)})


BAD = {
    "same row twice": (lambda t: with_rows(t), "cohort", "CB-D002", "1 units have more than one row in a period.*7 at 2"),
    "rows that differ": (lambda t: with_rows(t, sales=0.0), "cohort", "CB-D003", "1 cells have rows that differ.*7 at 2"),
    "second row is empty": (lambda t: with_rows(t, sales=np.nan), "cohort", "CB-D003", "7 at 2"),
    "infinite": (lambda t: changed(t, "sales", np.inf), "cohort", "CB-D007", "1 rows are infinite.*7 at 2"),
    "cohort varies": (lambda t: changed(t, "cohort", 5), "cohort", "CB-D022", "1 units have no single launch.*'7'.*5.*6"),
    "cohort empty once": (lambda t: changed(t, "cohort", np.nan), "cohort", "CB-D022", "'7': 6.0, empty"),
    "treatment is 2": (lambda t: changed(t, "on", 2), "on", "CB-D057", "not plainly 0 or 1 in 1 rows; it holds 2"),
    "treatment is empty": (lambda t: changed(t, "on", np.nan), "on", "CB-D057", "in 1 rows"),
    "treatment switches off": (
        lambda t: changed(t, "on", 0, week=7),
        "on",
        "CB-D021",
        "1 units have no single launch.*unit '7' switches on at 6 and off again at 7",
    ),
    "no unit": (lambda t: changed(t, "store", np.nan), "cohort", "CB-D005", "column 'store' is empty in 1 rows"),
    "no unit, as a float": (lambda t: pl.DataFrame(changed(t, "store", np.nan)), "cohort", "CB-D005", "in 1 rows"),
    "units aren't whole": (lambda t: t.assign(store=t["store"] + 0.5), "cohort", "CB-D052", "floating-point"),
    "no period": (lambda t: changed(t, "week", np.nan), "cohort", "CB-D006", "column 'week' is empty in 1 rows"),
    "unit of spaces": (lambda t: t.assign(store=t["store"].astype(str).replace("7", "  ")), "cohort", "CB-D005", "'store'"),
    "no rows": (lambda t: t.head(0), "cohort", "CB-D033", "no rows"),
    "no number": (lambda t: t.assign(sales=np.nan), "cohort", "CB-D004", "holds no number"),
    "text": (lambda t: t.assign(sales=t["sales"].astype(str) + " $"), "cohort", "CB-D020", "aren't plain numbers"),
    "dates with two readings": (lambda t: t.assign(week="0" + t["week"].astype(str) + "/03/2024"), "cohort", "CB-D010", "week"),
    "nobody treated": (lambda t: t.assign(cohort=0), "cohort", "CB-D012", "no unit is treated"),
    "all always treated": (lambda t: t.assign(cohort=t["cohort"].clip(upper=1)), "cohort", "CB-D023", "all 45 treated units"),
    "misspelt": (lambda t: t.rename(columns={"sales": "sale"}), "cohort", "CB-D018", "did you mean 'sale'"),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["duckdb", "polars lazy"])
@pytest.mark.parametrize(("spoil", "launch", "code", "words"), BAD.values(), ids=BAD)
def test_bad_tables_are_refused_in_the_engine(table, tmp_path, engine, spoil, launch, code, words):
    columns = {"cohort": "cohort"} if launch == "cohort" else {"treatment": "on"}
    spoiled = spoil(table)
    lazy = spoiled if isinstance(spoiled, pl.DataFrame) else ENGINES[engine](spoiled, tmp_path)
    with pytest.raises(DataError, match=words) as refused:
        in_engine(lazy, **columns)
    assert refused.value.code == code
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("columns", "reading", "words"),
    [
        ({"weights": "on"}, {}, "don't cover weights"),
        ({"covariates": ("on",)}, {}, "don't cover covariates"),
        ({}, {"grain": "event"}, "don't cover events"),
        ({}, {"transform": "log"}, "don't cover logarithms"),
    ],
)
def test_what_needs_single_cells_is_refused(table, columns, reading, words):
    whole = {"grain": "cell", "aggregate": "sum", "on_duplicate": "error", "metric": "sales"} | reading
    with pytest.raises(DataError, match=words):
        cohort_moments(
            sources.from_object(table),
            Columns(**NAMES, cohort="cohort", **columns),
            launch=LaunchRule(units=None, start=None),
            reading=Reading(**whole),
        )


def test_too_many_periods_are_refused():
    wide = duckdb.sql(
        "select u as store, w as week, 1.0 * u * w as sales, 50 as cohort from range(3) a(u), range(500) b(w)"
    )
    with pytest.raises(DataError, match="500 periods"):
        in_engine(wide)


def test_cohorts_merge_exactly(table):
    moments = in_memory(table)
    merged = moments.regrouped(np.array([2, 2, 7, 7]))
    panel = Panel.from_table(table.assign(cohort=table["cohort"].replace({5: 3, 6: 0})), **NAMES, cohort="cohort")
    assert_equal(merged, CohortMoments.from_panel(panel))


def test_nothing_but_sums_leaves_the_engine(table, monkeypatch):
    sizes = []
    collect = nw.LazyFrame.collect

    def counted(frame, *args, **options):
        found = collect(frame, *args, **options)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(nw.LazyFrame, "collect", counted)
    in_engine(duckdb.from_df(table))
    assert sizes == [N_PERIODS * 4, 4]


def test_what_does_not_fit_in_memory_goes_to_a_file_outside_the_study(tmp_path, monkeypatch):
    folder, spill = tmp_path / "study", tmp_path / "spill"
    folder.mkdir()
    spill.mkdir()
    monkeypatch.setattr(sources.tempfile, "gettempdir", lambda: str(spill))
    monkeypatch.setattr(sources, "_memory_limit", lambda _: 40 * 2**20)
    query = (
        "select 'a rather long name of store ' || u as store, w as week, 1.0 * u * w as sales, 2 as cohort "
        "from range(300_000) a(u), range(1, 4) b(w)"
    )
    source = sources.from_sql(query, folder=folder, unit="store", period="week")
    monkeypatch.setattr(engine_sums, "_n_parts", lambda *_: 1)
    collect, spilled = sources.collect, []

    def watched(frame, origin):
        found = collect(frame, origin)
        spilled.append(bool(list(spill.iterdir())))
        return found

    monkeypatch.setattr(engine_sums, "collect", watched)
    assert in_engine(source).counts.tolist() == [300_000]
    assert any(spilled)
    del source
    gc.collect()
    assert list(folder.iterdir()) == []
    assert list(spill.iterdir()) == []


def test_memory_bounds_the_units_read_at_once():
    relation = duckdb.connect(":memory:", config={"memory_limit": "1GiB", "threads": "2"}).sql("select 1 as unit")
    assert [engine_sums._n_parts(relation, states) for states in (1, 2**29, 2**31)] == [1, 3, 10]
    roomy = duckdb.connect(":memory:", config={"memory_limit": "64GiB", "threads": "2"}).sql("select 1 as unit")
    assert [engine_sums._n_parts(roomy, states) for states in (1, 2**29, 2**31, 2**35)] == [1, 1, 3, 16]
