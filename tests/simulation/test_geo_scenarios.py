"""Geo tests with a known truth through the whole readout, and the same tests with nothing in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.random import Generator

from causalbench.study import GeoStudy
from causalbench.workflow.geo_analysis import analyse_study
from causalbench.workflow.geo_design import design

LEVEL = 0.9


def markets(n: int, n_periods: int, rng: Generator) -> np.ndarray[Any, Any]:
    """Draw sales around 100 of unequal markets: three common factors, a weekly season, noise with autocorrelation .5."""
    size = rng.uniform(0.6, 1.6, n)[:, None]
    factors, noise = rng.standard_normal((3, n_periods)), rng.standard_normal((n, n_periods))
    for t in range(1, n_periods):
        factors[:, t] = 0.5 * factors[:, t - 1] + np.sqrt(0.75) * factors[:, t]
        noise[:, t] = 0.5 * noise[:, t - 1] + np.sqrt(0.75) * noise[:, t]
    season = 8 * np.sin(2 * np.pi * np.arange(n_periods) / 7)
    drawn: np.ndarray[Any, Any] = size * (100 + season + 3 * rng.random((n, 3)) @ factors + 2 * noise)
    return drawn


def names(n: int) -> list[str]:
    return [f"m{i:02d}" for i in range(n)]


def table(sales: np.ndarray[Any, Any], **more: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Write arrays of shape (n_markets, n_periods) as one long table."""
    n, n_periods = sales.shape
    columns = {"market": np.repeat(names(n), n_periods), "day": np.tile(np.arange(1, n_periods + 1), n)}
    return pd.DataFrame(columns | {name: array.ravel() for name, array in {"sales": sales, **more}.items()})


def study(folder: Path, *, geo: dict[str, Any], cost: bool = False, method: str = "did") -> GeoStudy:
    values: dict[str, Any] = {
        "study": {"name": "scenario", "question": "Did it work?"},
        "data": {"source": "t.csv", "unit": "market", "period": "day", **({"cost": "spend"} if cost else {})},
        "metric": [{"name": "sales", "column": "sales"}],
        "geo": {"level": LEVEL, **geo},
        "method": {"name": method},
    }
    return GeoStudy.from_mapping(values, folder=folder)


def readout(made: GeoStudy) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(analyse_study(made).to_json())
    return found


def agree(found: dict[str, Any]) -> None:
    """Hold every p-value of a readout against the set beside it."""
    for result in found["results"]:
        rows = [(c["effect"]["p_value"], c["effect"]["interval"]) for c in result["cells"]]
        rows += [(c["effect"]["adjusted_p"], c["effect"]["simultaneous"]) for c in result["cells"]]
        rows += [
            (row["p_value"], row["interval"])
            for row in (*result["comparisons"], *result["factors"], *result["methods"])
        ]
        for p, interval in rows:
            if p is not None and interval is not None:
                ends = [(-np.inf if a is None else a, np.inf if b is None else b) for a, b in interval["segments"]]
                assert any(a <= 0 <= b for a, b in ends) == (p > 1 - interval["level"] + 1e-9)


@pytest.mark.parametrize("lift", [0.05, 0.0])
def test_campaign_in_markets_split_at_random(lift: float, tmp_path: Path) -> None:
    """A2: lift, revenue and return; one p-value and one set that agree; a clean split ratio. Zero twin: not called an effect."""
    n, n_pre, n_test = 40, 90, 15
    rng = np.random.default_rng(20 if lift else 21)
    sales = markets(n, n_pre + n_test, rng)
    treated = np.isin(np.arange(n), rng.permutation(n)[:20])
    on = treated[:, None] & (np.arange(n_pre + n_test) >= n_pre)
    gained = lift * sales * on
    spend = np.where(on, 2.0 + rng.random(n)[:, None], 0.0)
    table(sales + gained, spend=spend).to_csv(tmp_path / "t.csv", index=False)
    chosen = [name for name, yes in zip(names(n), treated, strict=True) if yes]
    test = {"cells": {"treated": chosen}, "start": n_pre + 1, "assignment": "random"}
    found = readout(study(tmp_path, geo={"test": test}, cost=True))
    agree(found)
    (result,) = found["results"]
    (cell,) = result["cells"]
    assert found["headline"]["verdict"] == ("shown" if lift else "not shown")
    assert found["delivery"]["split_ratio"][0]["verdict"] == "pass"
    assert "drawn at random" in found["headline"]["assignment"]
    lower, upper = cell["incremental"]["interval"]["segments"][0]
    assert lower <= gained.sum() <= upper
    own = next(row for row in result["returns"] if row["planned"])
    low, high = own["interval"]["segments"][0]
    assert low <= gained.sum() / spend.sum() <= high
    assert own["cost"] == pytest.approx(spend.sum(), rel=1e-9)


@pytest.mark.slow
def test_controls_that_got_the_campaign_take_back_the_claim(tmp_path: Path) -> None:
    """A10: a sealed random design; three controls get the campaign on day 9 and one market is merged away."""
    n, n_pre, n_test = 24, 60, 14
    rng = np.random.default_rng(10)
    sales = markets(n, n_pre + n_test, rng)
    table(sales[:, :n_pre]).to_csv(tmp_path / "t.csv", index=False)
    geo = {"durations": [n_test], "market_counts": [12], "selector": "stratified", "windows": 2}
    made = design(study(tmp_path, geo=geo))
    (tmp_path / "design.json").write_text(made.ledger.to_json())
    split = made.ledger.split(names(n))
    leaked = np.flatnonzero(split.control)[:3]
    got = np.where(split.treated[:, None] & (np.arange(n_pre + n_test) >= n_pre), "treated", "")
    got[leaked, n_pre + 8 :] = "treated"
    written = table(sales * (1 + 0.06 * (got == "treated")), got=got)
    written.to_csv(tmp_path / "t.csv", index=False)
    test = {"ledger": "design.json", "start": n_pre + 1, "actual": "got"}
    found = readout(study(tmp_path, geo={**geo, "test": test}))
    agree(found)
    assert found["plan"]["history_unchanged"] is True
    assert found["plan"]["deviations"] == []
    assert found["delivery"]["verdict"] == "fail"
    assert [row["market"] for row in found["delivery"]["departures"]] == [names(n)[i] for i in leaked]
    assert {row["since"] for row in found["delivery"]["departures"]} == {n_pre + 9}
    assert found["delivery"]["grade_cap"]
    assert "withdrawn" in found["headline"]["assignment"]
    (received,) = found["results"][0]["received"]
    planned = found["results"][0]["cells"][0]["effect"]["value"]
    assert abs(received["per_exposure"]["value"]) > abs(
        planned
    )  # controls were treated too, so the plan's effect is diluted
    merged = names(n)[int(np.flatnonzero(split.control)[5])]
    written[written["market"] != merged].to_csv(tmp_path / "t.csv", index=False)
    without = readout(study(tmp_path, geo={**geo, "test": test}))
    assert (merged, "missing") in [(row["market"], row["kind"]) for row in without["delivery"]["departures"]]
    assert without["results"][0]["randomized"] is False
    assert without["headline"]["stamp"] == "EXPLORATORY"
    assert any("inference: planned randomization" in deviation for deviation in without["plan"]["deviations"])


@pytest.mark.parametrize("lift", [0.08, 0.0])
def test_four_weekly_looks(lift: float, tmp_path: Path) -> None:
    """A11: an effect of 8% stops the test early; with none it runs to its end, and the family error stays below the level's."""
    n, n_pre, n_test = 40, 60, 28
    rng = np.random.default_rng(31 if lift else 33)
    sales = markets(n, n_pre + n_test, rng)
    treated = np.isin(np.arange(n), rng.permutation(n)[:20])
    on = treated[:, None] & (np.arange(n_pre + n_test) >= n_pre)
    table(sales * (1 + lift * on)).to_csv(tmp_path / "t.csv", index=False)
    chosen = [name for name, yes in zip(names(n), treated, strict=True) if yes]
    looks = [n_pre + 7, n_pre + 14, n_pre + 21, n_pre + 28]
    test = {"cells": {"treated": chosen}, "start": n_pre + 1, "assignment": "random", "looks": looks}
    found = readout(study(tmp_path, geo={"level": 0.95, "test": test}))
    (row,) = found["looks"]
    monitoring = row["monitoring"]
    assert monitoring["family_error"] <= 0.05
    if lift:
        assert monitoring["stop_look"] is not None
        assert monitoring["stop_look"] < 4
    else:
        assert monitoring["stop_look"] is None
        assert len(monitoring["looks"]) == 4
    assert found["headline"]["verdict"] == ("shown" if lift else "not shown")
    assert f"p = {monitoring['uncertainty']['p_value']:.3g} (adjusted for 4 planned looks" in found["headline"]["why"]


@pytest.mark.parametrize("size", [1.0, 0.0])
def test_two_changes_at_once(size: float, tmp_path: Path) -> None:
    """A13: main effects and interaction of 48 markets in 2 x 2 cells, adjusted for all three."""
    n, n_pre, n_test = 48, 60, 21
    rng = np.random.default_rng(40 if size else 41)
    sales = markets(n, n_pre + n_test, rng)
    cell = rng.permutation(np.repeat([0, 1, 2, 3], 12))
    effects = size * np.array([0.0, 5.0, 4.0, 12.0])
    on = np.arange(n_pre + n_test) >= n_pre
    table(sales + effects[cell][:, None] * on).to_csv(tmp_path / "t.csv", index=False)
    cells = {
        label: [names(n)[i] for i in np.flatnonzero(cell == k)] for k, label in enumerate(("ads", "mail", "both"), 1)
    }
    test = {
        "cells": cells,
        "start": n_pre + 1,
        "assignment": "random",
        "factors": {"ads": ["ads", "both"], "mail": ["mail", "both"]},
    }
    found = readout(study(tmp_path, geo={"cells": list(cells), "test": test}))
    agree(found)
    factors = {row["name"]: row for row in found["results"][0]["factors"]}
    # by the definition of main effects and interaction from the three effects above
    truth = {"ads": size * (5 + 12 - 4) / 2, "mail": size * (4 + 12 - 5) / 2, "ads x mail": size * (12 - 5 - 4)}
    for name, value in truth.items():
        lower, upper = factors[name]["simultaneous"]["segments"][0]
        assert lower <= value <= upper
    assert found["headline"]["verdict"] == ("shown" if size else "not shown")
