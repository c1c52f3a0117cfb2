"""The cost of a panel: read and summed like the outcome, held by the audit, and never left aside in silence."""

import json
import sys
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from causalbench import cli
from causalbench.data.audit import audit
from causalbench.data.panel import Panel
from causalbench.errors import DataError
from causalbench.protocols import Requirements
from causalbench.study import Study
from causalbench.workflow.estimate import estimate
from causalbench.workflow.reading import read_panel

CITIES = ("baku", "kyiv", "lima", "oslo")
CONNECTION = duckdb.connect(":memory:")
ENGINES = {
    "pandas": lambda table: table,
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "duckdb": CONNECTION.from_df,
}
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
USES_COST = Requirements(min_control=1, min_pre=1, recommended_pre=1, max_cohorts=1, varying_controls=False, cost=True)


def campaign(city, week):
    return 3.5 if city == "lima" and week > 4 else 0.0


def table(cost=campaign):
    """Six weeks of four cities; ``cost`` is a number for all cells, or one for each by city and week."""
    spent = cost if callable(cost) else lambda *_: cost
    rows = [
        (
            city,
            week,
            10.0 + (1 + i / 4) * week + week % 3 + (5 if city == "lima" and week > 4 else 0),
            spent(city, week),
        )
        for i, city in enumerate(CITIES)
        for week in range(1, 7)
    ]
    return pd.DataFrame(rows, columns=["city", "week", "sales", "spend"])


def read(rows, **keys):
    keys = {"cost": "spend", **keys}
    return Panel.from_table(rows, unit="city", period="week", outcome="sales", treated=["lima"], start=5, **keys)


@every_engine
def test_cost_is_read_by_cell(engine):
    panel = read(engine(table()))
    assert panel.cost.tolist() == [[0.0] * 6, [0.0] * 6, [0.0] * 4 + [3.5] * 2, [0.0] * 6]
    assert not panel.cost.flags.writeable


@every_engine
@pytest.mark.parametrize("aggregate", ["sum", "mean", "count"])
def test_cost_of_events_is_summed_whatever_the_outcome_is(engine, aggregate):
    rows = pd.concat([table(), table(0.25)])
    panel = read(engine(rows), grain="event", aggregate=aggregate)
    assert panel.cost[2].tolist() == [0.25] * 4 + [3.75] * 2
    assert panel.cost[0].tolist() == [0.25] * 6


@every_engine
def test_sums_of_cost_do_not_depend_on_the_order_of_rows(engine):
    rng = np.random.default_rng(3)
    rows = pd.concat([table(lambda *_: float(rng.normal() * 10.0 ** rng.integers(-3, 4))) for _ in range(5)])
    mixed = rows.sample(frac=1, random_state=1)
    found = [read(engine(each), grain="event").cost for each in (rows, mixed)]
    assert found[0].tobytes() == found[1].tobytes()
    np.testing.assert_allclose(found[0], rows.groupby(["city", "week"])["spend"].sum().unstack(), rtol=1e-12)


@pytest.mark.parametrize(("rule", "expected"), [("sum", 4.0), ("mean", 2.0)])
def test_cost_of_repeated_cells_follows_on_duplicate(rule, expected):
    rows = pd.concat([table(1.0), table(3.0)])
    assert read(rows, on_duplicate=rule).cost.tolist() == [[expected] * 6] * 4


def test_repeated_cells_that_differ_in_cost_alone_are_refused():
    rows = pd.concat([table(), table(1.0)])
    with pytest.raises(DataError, match=r"CB-D003: 24 cells have rows that differ in 'sales' or 'spend'"):
        read(rows, on_duplicate="exact")


def test_infinite_cost_is_refused_by_cell():
    with pytest.raises(DataError, match=r"CB-D007: column 'spend' is infinite in 1 rows: kyiv at 2"):
        read(table(lambda city, week: np.inf if (city, week) == ("kyiv", 2) else 1.0))


def test_cost_in_words_is_refused():
    with pytest.raises(DataError, match=r"cost column 'spend' holds 24 texts that aren't plain numbers"):
        read(table("much"))


def test_cost_column_that_is_missing_is_named():
    with pytest.raises(DataError, match=r"lacks cost column 'spent' \(did you mean 'spend'\?\)"):
        read(table(), cost="spent")


def test_outcome_cannot_be_its_own_cost():
    with pytest.raises(DataError, match="column 'sales' is given two roles: outcome and cost"):
        read(table(), cost="sales")


def holes():
    return table(lambda city, week: np.nan if (city, week) in {("kyiv", 2), ("lima", 6)} else 2.0)


def test_empty_cost_is_a_missing_cell_for_a_method_that_uses_it():
    panel = read(holes())
    assert np.argwhere(np.isnan(panel.cost)).tolist() == [[1, 1], [2, 5]]
    with pytest.raises(DataError) as refused:
        audit(panel, USES_COST, method="trimmed-match")
    assert str(refused.value).startswith(
        "CB-D004: column 'spend' is empty in 2 cells: kyiv at 2, lima at 6; 2 cells are missing, in 2 units (kyiv, lima)"
    )


def test_empty_cost_becomes_zero_and_outcomes_stay():
    panel = read(holes())
    used, record = audit(panel, USES_COST, method="trimmed-match", on_missing="zero")
    assert used.cost.tolist() == [[2.0] * 6, [2, 0, 2, 2, 2, 2], [2, 2, 2, 2, 2, 0], [2.0] * 6]
    np.testing.assert_array_equal(used.outcome, panel.outcome)
    assert [finding.code for finding in record.findings][:2] == ["CB-D004", "CB-D001"]


def test_empty_cost_is_interpolated_or_its_unit_or_period_left_out():
    panel = read(table(lambda city, week: np.nan if (city, week) == ("kyiv", 2) else float(week)))
    assert audit(panel, USES_COST, method="m", on_missing="impute")[0].cost[1].tolist() == [1, 2, 3, 4, 5, 6]
    assert audit(panel, USES_COST, method="m", on_missing="drop_unit")[0].units == ("baku", "lima", "oslo")
    assert audit(panel, USES_COST, method="m", on_missing="drop_period")[0].periods == (1, 3, 4, 5, 6)
    with pytest.raises(DataError, match="can't be interpolated: lima"):
        audit(read(holes()), USES_COST, method="m", on_missing="impute")


def test_cost_is_part_of_the_fingerprint():
    marks = {read(rows).fingerprint for rows in (table(), table(1.0))}
    assert len(marks | {read(table(), cost=None).fingerprint}) == 3


def test_cost_follows_units_and_periods():
    panel = read(table())
    kept = panel.only(units=np.array([0, 1, 1, 0], dtype=bool), periods=np.arange(6) > 3)
    assert kept.cost.tolist() == [[0, 0], [3.5, 3.5]]
    assert panel.without(["baku"]).cost.shape == (3, 6)


def test_panel_holds_no_infinite_and_no_misshapen_cost():
    parts = {"outcome": np.ones((1, 2)), "treated": [[False, True]], "units": ("a",), "periods": (1, 2)}
    with pytest.raises(ValueError, match="must be finite or NaN"):
        Panel(**parts, cost=[[0.0, np.inf]])
    with pytest.raises(ValueError, match="cost has shape"):
        Panel(**parts, cost=[[0.0]])


def test_method_without_use_for_cost_says_so():
    used, record = audit(read(holes()), replace(USES_COST, cost=False), method="did")
    assert used.cost is None
    (finding,) = [finding for finding in record.findings if finding.code == "CB-D066"]
    assert finding.severity == "info"
    assert finding.message == "the study names a cost, did doesn't use it"
    assert "time-based-regression" in finding.action


def test_study_reads_the_cost_and_not_for_the_metric_that_is_the_cost(tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    study = Study.from_mapping(
        {
            "study": {"name": "s", "question": "q"},
            "data": {"source": "t.csv", "unit": "city", "period": "week", "cost": "spend"},
            "metric": [
                {"name": "sales", "column": "sales"},
                {"name": "spend", "column": "spend", "role": "driver"},
            ],
            "launch": {"units": ["lima"], "start": 5},
            "method": {"name": "did"},
        },
        folder=tmp_path,
        where="test",
    )
    costs = [read_panel(study, metric).cost for metric in study.metric]
    assert costs[0].sum() == 7.0
    assert costs[1] is None


def test_command_line_takes_a_cost(tmp_path, monkeypatch, capsys):
    path = tmp_path / "t.csv"
    table().to_csv(path, index=False)
    flags = {"unit": "city", "period": "week", "outcome": "sales", "treated": "lima", "start": "5", "cost": "spend"}
    named = [word for key, value in flags.items() for word in (f"--{key}", value)]
    monkeypatch.setattr(sys, "argv", ["causalbench", "estimate", "time-based-regression", str(path), *named, "--json"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (0, None)
    detail = json.loads(capsys.readouterr().out)["detail"]
    assert detail["cost"] == 7.0
    assert detail["iroas"] == pytest.approx(detail["incremental"] / 7.0, rel=1e-12)


def test_estimate_without_cost_says_nothing_of_it():
    assert (
        not {"cost", "iroas", "iroas_interval"}
        & estimate(read(table(), cost=None), "time-based-regression").detail.keys()
    )
