"""Stacked difference-in-differences against the stacked table itself, written out row by row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from rollout_cases import clustered_variance, dummies, least_squares, rollout_panel

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, staggered_panel
from causalbench.errors import RefusalError
from causalbench.estimators import GroupTime, Stacked, SunAbraham
from causalbench.workflow.estimate import estimate

PANELS: dict[str, dict[str, Any]] = {
    "balanced": {},
    "weights": {"weights": True},
    "clusters": {"n_clusters": 22},
    "both": {"weights": True, "n_clusters": 22},
    "none never treated": {"n_never": 0, "launches": (2, 4, 6)},
}


class Stack:
    """The stacked table: a row per experiment, unit and event time, with its corrective weight."""

    def __init__(self, panel: Panel, leads: int, lags: int) -> None:
        weights = np.ones(len(panel.units)) if panel.weights is None else panel.weights
        rows = []
        for launch in sorted(set(panel.first_treated.tolist()) - {len(panel.periods)}):
            clean = panel.first_treated > launch + lags
            if launch - leads < 0 or launch + lags >= len(panel.periods) or not clean.any():
                continue
            for i in np.flatnonzero(clean | (panel.first_treated == launch)):
                for e in range(-leads, lags + 1):
                    treated = panel.first_treated[i] == launch
                    rows.append((launch, i, e, treated, panel.outcome[i, launch + e], weights[i]))
        self.experiment, self.unit, self.event_time, treated, self.outcome, weight = map(
            np.array, zip(*rows, strict=True)
        )
        self.treated = treated.astype(bool)
        self.cluster = panel.cluster_codes[self.unit]
        once = self.event_time == 0
        n_treated, n_control = weight[once & self.treated].sum(), weight[once & ~self.treated].sum()
        self.weight = weight.astype(float)
        for launch in np.unique(self.experiment):
            own = self.experiment == launch
            share = weight[own & once & self.treated].sum() / n_treated
            share_of_controls = weight[own & once & ~self.treated].sum() / n_control
            self.weight[own & ~self.treated] *= share / share_of_controls


@pytest.mark.parametrize("window", [(2, 1), (1, 0), (2, 2)], ids=str)
@pytest.mark.parametrize("kind", PANELS)
def test_regression_with_corrective_weights_gives_the_same_effects(kind: str, window: tuple[int, int]) -> None:
    panel = rollout_panel(3, **PANELS[kind])
    stack = Stack(panel, *window)
    times = np.array([e for e in range(-window[0], window[1] + 1) if e != -1])
    after = stack.event_time[:, None] == times
    design = np.column_stack([after * stack.treated[:, None], after, stack.treated, np.ones(len(after))]).astype(float)
    by_hand = least_squares(design, stack.outcome, stack.weight)
    fit = Stacked(leads=window[0], lags=window[1]).fit(panel)
    assert fit.event_study is not None
    np.testing.assert_array_equal(fit.event_study.event_times, times)
    np.testing.assert_allclose(fit.event_study.values, by_hand.coefficients[: len(times)], rtol=1e-9, atol=1e-11)
    assert fit.effect == pytest.approx(by_hand.coefficients[: len(times)][times >= 0].mean(), rel=1e-10)


@pytest.mark.parametrize("kind", PANELS)
def test_covariance_is_that_of_the_regression_with_effects_by_experiment(kind: str) -> None:
    panel = rollout_panel(4, **PANELS[kind])
    stack = Stack(panel, 2, 1)
    times, experiments = np.array([-2, 0, 1]), np.unique(stack.experiment)
    cells = [(stack.experiment == a) & (stack.event_time == e) for a in experiments for e in times]
    own = np.column_stack([cell & stack.treated for cell in cells]).astype(float)
    levels = dummies(2 * stack.experiment + stack.treated)
    by_hand = least_squares(np.column_stack([own, *cells, levels]).astype(float), stack.outcome, stack.weight)
    size = np.array([stack.weight[cell & stack.treated].sum() for cell in cells])
    average = size[:, None] * (np.tile(times, len(experiments))[:, None] == times)
    average = average / average.sum(axis=0)
    scores = by_hand.scores()[:, : len(cells)] @ average
    n_rows, n_clusters = len(stack.unit), panel.n_clusters
    factor = n_clusters / (n_clusters - 1) * (n_rows - 1) / (n_rows - 2 * len(cells) - 1)
    expected = factor * clustered_variance(scores, stack.cluster)
    fit = Stacked(leads=2, lags=1).fit(panel)
    assert fit.event_study is not None
    assert fit.covariance is not None
    np.testing.assert_allclose(fit.event_study.covariance, expected, rtol=1e-7, atol=1e-12)
    assert fit.covariance[0, 0] == pytest.approx(expected[1:, 1:].mean(), rel=1e-7)


def test_one_launch_date_gives_the_event_study_of_sun_and_abraham() -> None:
    panel = factor_panel(n_units=20, n_periods=9, n_treated=8, n_post=4, effect=1.0, rho=0.3, seed=2)
    own, other = Stacked().fit(panel), SunAbraham().fit(panel)
    assert own.event_study is not None
    assert other.event_study is not None
    np.testing.assert_allclose(own.event_study.values, other.event_study.values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(own.event_study.covariance, other.event_study.covariance, rtol=1e-9)
    np.testing.assert_allclose(own.path.effect, other.path.effect, rtol=0, atol=1e-10)
    assert own.warnings == ()


def test_lag_of_a_single_period_is_the_group_time_effect_against_units_not_treated_yet() -> None:
    panel = rollout_panel(6)
    fit = Stacked(leads=1, lags=0).fit(panel)
    cells = GroupTime(control="not_yet_treated").fit(panel).diagnostics["group_time"]
    expected = {row["cohort"]: row["value"] for row in cells if row["cohort"] == row["period"]}
    for row in fit.diagnostics["group_time"]:
        assert row["value"] == pytest.approx(expected[row["cohort"]], rel=1e-10)


def test_window_trims_launch_dates_and_says_so() -> None:
    panel = rollout_panel(5)
    fit = Stacked(leads=3, lags=2).fit(panel)
    assert {row["cohort"] for row in fit.diagnostics["group_time"]} == {2004, 2006}
    n_cells = 3 * int(np.isin(panel.first_treated, [3, 5]).sum())
    assert fit.n_cells == n_cells
    expected = (
        f"event times -3 to 2: the effect is the average over {n_cells} of {int(panel.treated.sum())} treated cells"
    )
    assert any(expected in warning and "2007" in warning for warning in fit.warnings)
    assert estimate(panel, "stacked", options={"leads": 3, "lags": 2}).detail["incremental"] == pytest.approx(
        fit.effect * n_cells
    )


def test_default_window_trims_no_launch_date() -> None:
    fit = Stacked().fit(rollout_panel(5))
    assert (fit.diagnostics["leads"], fit.diagnostics["lags"]) == (3, 1)
    assert {row["cohort"] for row in fit.diagnostics["group_time"]} == {2004, 2006, 2007}
    without = Stacked().fit(rollout_panel(5, n_never=0))
    assert (without.diagnostics["leads"], without.diagnostics["lags"]) == (3, 0)
    assert {row["cohort"] for row in without.diagnostics["group_time"]} == {2004, 2006}


def test_window_that_no_launch_date_fits_is_refused() -> None:
    with pytest.raises(RefusalError, match="no launch date has 7 periods before it"):
        Stacked(leads=7).fit(rollout_panel(5))


def test_trimmed_average_is_estimated_without_bias() -> None:
    errors, covered = [], []
    for seed in range(200):
        panel = staggered_panel(
            n_units=60, n_periods=10, launches=(3, 5, 8), n_never=20, effect=1.0, growth=0.5, rho=0.3, seed=seed
        )
        result = estimate(panel, "stacked", level=0.9, options={"leads": 3, "lags": 1})
        errors.append(result.value - 1.25)  # mean of 1 and 1 + .5
        assert result.interval is not None
        covered.append(result.interval.contains(1.25))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert 0.9 - 0.07 < np.mean(covered) <= 0.98  # three Monte Carlo errors below 0.9
