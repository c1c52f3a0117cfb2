"""Ratios and logarithms: numbers by hand in every engine, refused where they don't exist, and what an effect then is."""

import json
import math
import sys
from fractions import Fraction

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from causalbench import cli
from causalbench.data.audit import audit
from causalbench.data.panel import Panel
from causalbench.errors import DataError, StudyError
from causalbench.protocols import Requirements
from causalbench.study import Study
from causalbench.workflow.estimate import estimate

CONNECTION = duckdb.connect(":memory:")
ENGINES = {
    "pandas": lambda table: table,
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "duckdb": CONNECTION.from_df,
}
COLUMNS = {"unit": "city", "period": "week", "outcome": "sales"}
LAUNCH = {"treated": ["lima"], "start": 3}
CELLS = pd.DataFrame(
    [
        (city, week, 10.0 * (i + 1) + week, 2.0 * (i + 1))
        for i, city in enumerate(["baku", "lima", "oslo"])
        for week in range(1, 5)
    ],
    columns=["city", "week", "sales", "visits"],
)
EVENTS = pd.concat([CELLS, CELLS.assign(sales=1.0, visits=0.0), CELLS.assign(sales=0.1, visits=0.3)])
ANY = Requirements(min_control=1, min_pre=1, recommended_pre=1, max_cohorts=1, varying_controls=False)
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def read(table, **keys):
    return Panel.from_table(table, **COLUMNS, **LAUNCH, **keys)


def codes(panel):
    return [finding.code for finding in panel.findings]


@every_engine
def test_cells_are_divided(engine):
    panel = read(engine(CELLS), denominator="visits")
    assert panel.outcome[:, 0].tolist() == [11 / 2, 21 / 4, 31 / 6]
    assert (panel.scale, panel.additive, codes(panel)) == ("ratio", False, ["CB-D061"])
    assert panel.effect_units == "sales (a ratio) per city and period"
    (finding,) = panel.findings
    assert finding.message == "the outcome of every cell is the sum of 'sales' over that of 'visits'"
    assert finding.action == "parallel trends then means equal changes of this ratio, whatever the units' sizes"


@every_engine
def test_events_are_a_ratio_of_exact_sums(engine):
    panel = read(engine(EVENTS), denominator="visits", grain="event")
    rows = EVENTS[(EVENTS["city"] == "lima") & (EVENTS["week"] == 2)]
    exact = [sum(map(Fraction, rows[name])) for name in ("sales", "visits")]
    assert panel.outcome[1, 1] == pytest.approx(float(exact[0] / exact[1]), rel=1e-15)


def test_order_and_engine_of_events_leave_no_trace():
    rng = np.random.default_rng(2)
    many = pd.DataFrame({"city": rng.choice(["baku", "lima", "oslo"], 30_000), "week": rng.integers(1, 5, 30_000)})
    many["sales"], many["visits"] = np.exp(3 * rng.normal(size=(2, 30_000)))
    tables = [engine(part) for engine in ENGINES.values() for part in (many, many.sample(frac=1, random_state=1))]
    assert len({read(table, denominator="visits", grain="event").fingerprint for table in tables}) == 1


@every_engine
def test_logarithm_of_every_cell(engine):
    panel = read(engine(CELLS), transform="log")
    assert panel.outcome[1].tolist() == [math.log(20 + week) for week in range(1, 5)]
    assert (panel.scale, panel.additive, codes(panel)) == ("log", False, ["CB-D060"])
    assert panel.effect_units == "log points of sales per city and period"
    (finding,) = panel.findings
    assert finding.message == "the outcome is the natural log of 'sales', so effects are in log points"
    assert finding.action == "parallel trends then means equal growth rates, not equal changes in units"


def test_logarithm_is_taken_of_the_sum_of_events_and_of_the_ratio():
    total = read(EVENTS, transform="log", grain="event").outcome
    assert total[0, 0] == pytest.approx(math.log(11 + 1 + 0.1), rel=1e-15)
    both = read(CELLS, transform="log", denominator="visits")
    assert both.outcome[0, 0] == math.log(11 / 2)
    assert (both.scale, codes(both)) == ("log", ["CB-D061", "CB-D060"])


@pytest.mark.parametrize(
    ("cells", "keys", "message"),
    [
        (
            {"visits": {("lima", 2): 0.0, ("oslo", 4): -1.0}},
            {"denominator": "visits"},
            (
                "CB-D061: the denominator 'visits' is zero or negative in 2 cells: lima at 2 (0), oslo at 4 (-1)\n"
                "  To mend it: leave these units or periods out, aggregate to longer periods, or use the level of the "
                "outcome instead"
            ),
        ),
        (
            {"sales": {("lima", 2): 0.0, ("oslo", 4): -3.5}},
            {"transform": "log"},
            (
                "CB-D060: 'sales' is zero or negative in 2 cells, which have no logarithm: lima at 2 (0), oslo at 4 (-3.5)\n"
                "  To mend it: leave transform out (effects in units), or give a denominator (effects on a ratio); adding a "
                "constant before the logarithm would change what is estimated"
            ),
        ),
        (
            {"visits": {("lima", 2): np.inf}},
            {"denominator": "visits"},
            (
                "CB-D007: column 'visits' is infinite in 1 rows: lima at 2\n"
                "  To mend it: correct these values, or leave them empty and choose on_missing"
            ),
        ),
    ],
    ids=["denominator", "logarithm", "infinite denominator"],
)
@every_engine
def test_what_doesnt_exist_is_refused_with_cells_and_count(engine, cells, keys, message):
    table = CELLS.copy()
    for column, values in cells.items():
        for (city, week), value in values.items():
            table.loc[(table["city"] == city) & (table["week"] == week), column] = value
    with pytest.raises(DataError) as refused:
        read(engine(table), **keys)
    assert str(refused.value) == message


@pytest.mark.parametrize("column", ["sales", "visits"])
@pytest.mark.parametrize("grain", ["cell", "event"])
def test_cell_with_half_a_ratio_is_missing(column, grain):
    table = CELLS.copy()
    table.loc[5, column] = np.nan
    panel = read(table, denominator="visits", grain=grain)
    assert np.argwhere(np.isnan(panel.outcome)).tolist() == [[1, 1]]
    assert "column 'sales' or 'visits' is empty in 1 cells: lima at 2" in [f.message for f in panel.findings]


@pytest.mark.parametrize(("rule", "value"), [("sum", 23 / 7), ("mean", 23 / 7)])
def test_duplicates_of_a_ratio_are_summed_on_both_sides(rule, value):
    table = pd.concat([CELLS, CELLS.iloc[[0]].assign(sales=12.0, visits=5.0)])
    assert read(table, denominator="visits", on_duplicate=rule).outcome[0, 0] == pytest.approx(value, rel=1e-15)
    with pytest.raises(DataError, match=r"CB-D003: 1 cells have rows that differ in 'sales' or 'visits': baku at 1"):
        read(table.assign(sales=1.0), denominator="visits", on_duplicate="exact")


@pytest.mark.parametrize("keys", [{"transform": "log"}, {"denominator": "visits"}])
def test_zeros_arent_filled_in_on_these_scales(keys):
    panel = read(CELLS.drop(index=5), **keys)
    with pytest.raises(DataError, match=r"on_missing = \"zero\" would fill in what isn't zero"):
        audit(panel, ANY, method="did", on_missing="zero")


@pytest.mark.parametrize(
    "keys",
    [
        {"denominator": "sales"},
        {"denominator": "week"},
        {"denominator": "visits", "aggregate": "mean"},
        {"denominator": "visits", "aggregate": "count", "grain": "event"},
        {"denominator": "visit"},
        {"transform": "asinh"},
        {"transform": "log", "scale": "log", "aggregate": "mean"},
    ],
)
def test_contradictions_are_refused(keys):
    with pytest.raises(DataError):
        read(CELLS, **keys)


def growth():
    """Lima grows by a tenth more than the others from week 3 on; levels differ, growth rates don't."""
    rows = [
        (city, week, size * 1.05**week * (1.1 if city == "lima" and week > 2 else 1), 2.0 * size)
        for city, size in {"baku": 1.0, "lima": 50.0, "oslo": 7.0, "rome": 300.0}.items()
        for week in range(1, 5)
    ]
    return pd.DataFrame(rows, columns=["city", "week", "sales", "visits"])


def test_effect_in_log_points_is_a_growth_rate():
    found = estimate(read(growth(), transform="log"), "did", inference="permutation")
    assert found.value == pytest.approx(math.log(1.1), rel=1e-12)
    assert found.detail["relative"] == pytest.approx(0.1, rel=1e-12)
    assert found.detail["incremental"] is None
    assert found.estimand.units == "log points of sales per city and period"
    assert any("parallel trends then means equal growth rates" in warning for warning in found.warnings)


def test_effect_on_a_ratio_has_no_total():
    found = estimate(read(growth(), denominator="visits"), "did", inference="permutation")
    assert found.estimand.units == "sales (a ratio) per city and period"
    assert found.detail["incremental"] is None
    assert any("equal changes of this ratio" in warning for warning in found.warnings)


def test_flags_of_the_command_line(monkeypatch, capsys, tmp_path):
    growth().to_csv(tmp_path / "t.csv", index=False)
    words = ["estimate", "did", str(tmp_path / "t.csv"), "--unit", "city", "--period", "week", "--outcome", "sales"]
    words += ["--treated", "lima", "--start", "3", "--inference", "permutation", "--json"]
    values = {}
    for flags in (
        ["--transform", "log"],
        ["--denominator", "visits"],
        ["--denominator", "visits", "--transform", "log"],
    ):
        monkeypatch.setattr(sys, "argv", ["causalbench", *words, *flags])
        with pytest.raises(SystemExit):
            cli.main()
        values[" ".join(flags)] = json.loads(capsys.readouterr().out)["value"]
    assert values["--transform log"] == pytest.approx(math.log(1.1), rel=1e-12)
    assert values["--denominator visits --transform log"] == pytest.approx(math.log(1.1), rel=1e-12)
    assert values["--denominator visits"] == pytest.approx(0.05 * (1.05**3 + 1.05**4) / 2, rel=1e-12)


def test_study_refuses_contradictions_where_they_stand(tmp_path):
    text = """\
[study]
name = "spring"
question = "Did it work?"
[data]
source = "t.csv"
unit = "city"
period = "week"
[[metric]]
name = "conversion"
column = "orders"
denominator = "visits"
aggregate = "mean"
scale = "log"
transform = "exp"
[launch]
units = ["lima"]
start = 5
[method]
name = "did"
"""
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(StudyError) as refused:
        Study.load(tmp_path)
    assert refused.value.problems == (
        "[[metric]] transform (line 14): Input should be 'log', found 'exp'",
        "[[metric]] (line 8): a denominator makes a ratio of sums, so leave aggregate out",
        '[[metric]] (line 8): scale = "log" says that the column holds logarithms already',
    )
