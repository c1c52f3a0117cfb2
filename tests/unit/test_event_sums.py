"""Sums of event rows have the same bits in any order of rows, at any number of threads, in any engine."""

import math

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from causalbench.data.panel import Panel

N = 200_000


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(5)
    unit, week = rng.integers(0, 12, N), rng.integers(0, 10, N)
    return pd.DataFrame({"unit": unit, "week": week, "amount": np.exp(rng.normal(size=N) * 3) - 1})


def fingerprint(table, aggregate):
    launch = {"treated": ["0"], "start": 6}
    return Panel.from_table(
        table, unit="unit", period="week", outcome="amount", grain="event", aggregate=aggregate, **launch
    )


@pytest.mark.parametrize("aggregate", ["sum", "mean"])
def test_order_engine_and_threads_leave_no_trace(events, aggregate):
    shuffled = events.sample(frac=1, random_state=1)
    connection = duckdb.connect()
    connection.register("shuffled", shuffled)
    tables = [events, shuffled, pl.from_arrow(pa.Table.from_pandas(shuffled)), pa.Table.from_pandas(events)]
    found = [fingerprint(table, aggregate).fingerprint for table in tables]
    for threads in (1, 2, 4):
        connection.execute(f"SET threads = {threads}")
        found.append(fingerprint(connection.sql("SELECT * FROM shuffled"), aggregate).fingerprint)
    assert len(set(found)) == 1


def test_sums_are_as_exact_as_a_double_holds(events):
    panel = fingerprint(events, "sum")
    cell = events[(events.unit == 3) & (events.week == 4)].amount
    assert panel.outcome[panel.units.index("3"), 4] == pytest.approx(math.fsum(cell), rel=1e-14)
