"""Cohort moments give the answers of the panel; they are used when a table is long, and refused when units are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.data.simulate import staggered_panel
from causalbench.errors import RefusalError
from causalbench.study import Study
from causalbench.workflow import reading
from causalbench.workflow.estimate import estimate, estimate_study


@pytest.fixture
def panel() -> Panel:
    return staggered_panel(
        n_units=120, n_periods=8, launches=(3, 4, 6), n_never=40, effect=1.0, growth=0.3, rho=0.4, seed=5
    )


@pytest.fixture
def study(panel: Panel, tmp_path: Path) -> Study:
    first = np.append(panel.periods, 0)[panel.first_treated]
    pd.DataFrame(
        {
            "geo": np.repeat(panel.units, 8),
            "week": np.tile(panel.periods, 120),
            "sales": panel.outcome.ravel(),
            "launch": np.repeat(first, 8),
        }
    ).to_parquet(tmp_path / "sales.parquet")
    return Study.from_mapping(
        {
            "study": {"name": "rollout", "question": "Did it work?"},
            "data": {"source": "sales.parquet", "unit": "geo", "period": "week"},
            "metric": [{"name": "sales", "column": "sales"}],
            "launch": {"cohort": "launch"},
            "method": {"name": "group-time"},
        },
        folder=tmp_path,
    )


def test_moments_and_panel_give_one_answer(panel: Panel) -> None:
    whole, summed = estimate(panel, "group-time"), estimate(CohortMoments.from_panel(panel), "group-time")
    assert summed.value == pytest.approx(whole.value, rel=1e-12)
    assert summed.std_error == pytest.approx(whole.std_error, rel=1e-10)
    assert summed.interval is not None
    assert whole.interval is not None
    assert summed.interval.segments[0] == pytest.approx(whole.interval.segments[0], rel=1e-10)
    for key in ("incremental", "relative", "counterfactual_mean", "n_clusters", "df"):
        assert summed.detail[key] == pytest.approx(whole.detail[key], rel=1e-10)
    assert (summed.n_treated, summed.n_control, summed.n_pre, summed.n_post) == (80, 40, 3, 5)
    assert "80 units in 3 cohorts" in summed.estimand.population
    assert summed.bands is not None
    np.testing.assert_allclose(summed.path.effect, whole.path.effect, atol=1e-12)


def test_long_table_is_summed_where_it_lies(study: Study, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "read_panel", None)
    monkeypatch.setattr(reading, "_ROWS_IN_MEMORY", 959)
    found = estimate_study(study, study.metric[0])
    assert "80 units in 3 cohorts" in found.estimand.population
    assert found.value == pytest.approx(estimate(panel, "group-time").value, rel=1e-10)
    monkeypatch.setattr(reading, "_ROWS_IN_MEMORY", 960)
    assert not reading.suits_moments(study, study.metric[0])


@pytest.mark.parametrize(
    ("table", "values"),
    [("data", {"cluster": "geo"}), ("data", {"on_missing": "keep"}), ("method", {"inference": "permutation"})],
)
def test_what_needs_units_is_read_as_a_panel(
    study: Study, table: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_ROWS_IN_MEMORY", 0)
    changed = study.model_copy(update={table: getattr(study, table).model_copy(update=values)})
    assert reading.suits_moments(study, study.metric[0])
    assert not reading.suits_moments(changed, changed.metric[0])


@pytest.mark.parametrize(
    ("method", "inference"), [("did", None), ("group-time", "permutation"), ("group-time", "bootstrap")]
)
def test_methods_and_inferences_that_need_units_refuse_moments(
    panel: Panel, method: str, inference: str | None
) -> None:
    with pytest.raises(RefusalError, match="needs every unit") as caught:
        estimate(CohortMoments.from_panel(panel), method, inference=inference)
    assert caught.value.remedy == "read the table as a panel"


def test_anticipation_leaves_out_cohorts_of_moments_too(panel: Panel) -> None:
    options = {"anticipation": 3}
    whole = estimate(panel, "group-time", inference="cluster", options=options)
    summed = estimate(CohortMoments.from_panel(panel), "group-time", inference="cluster", options=options)
    assert summed.value == pytest.approx(whole.value, rel=1e-12)
    assert {cell["cohort"] for cell in summed.detail["group_time"]} == {5, 7}
