"""Triple differences against the four means they are made of, and against least squares with every dummy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rollout_cases import Cells, clustered_variance, dummies, least_squares, rollout_panel

from causalbench.artifacts import canonical_json
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import GroupTime, SunAbraham, TripleDifferences
from causalbench.values import FloatArray
from causalbench.workflow.estimate import estimate

METHOD = TripleDifferences(partition="eligible")


def grouped_panel(seed: int = 0, **options: Any) -> Panel:
    """Draw a rollout over groups in which every other unit is eligible; groups and the eligible have trends of their own."""
    panel = rollout_panel(seed, n_units=60, n_never=20, **options)
    rng = np.random.default_rng(seed + 1)
    eligible = np.zeros(60)
    for first in np.unique(panel.first_treated):
        own = rng.permutation(np.flatnonzero(panel.first_treated == first))
        eligible[own[::2]] = 1
    time = np.arange(len(panel.periods))
    # The effect drawn with the panel stands for what launching groups do anyway; eligible units react by 2 + period / 4.
    effect = (2 + 0.25 * time) * (panel.treated & (eligible[:, None] == 1))
    outcome = panel.outcome + 0.5 * time * eligible[:, None] + effect
    return replace(
        panel,
        outcome=outcome,
        covariates=np.repeat(eligible, len(time)).reshape(60, len(time), 1),
        covariate_names=("eligible",),
    )


PANELS: dict[str, dict[str, Any]] = {
    "balanced": {},
    "weights": {"weights": True},
    "clusters": {"n_clusters": 25},
    "holes": {"holes": 0.1},
    "everything": {"holes": 0.1, "weights": True, "n_clusters": 25},
}


def by_means(panel: Panel, launch: int, period: int) -> float:
    """Compute one effect from the eight weighted means it is made of."""
    weights = np.ones(len(panel.units)) if panel.weights is None else panel.weights
    change = panel.outcome[:, period] - panel.outcome[:, launch - 1]
    eligible = panel.unit_covariates[:, 0] == 1

    def mean(first: int, flag: bool) -> float:
        own = (panel.first_treated == first) & (eligible == flag)
        return float(np.average(change[own], weights=weights[own]))

    never = len(panel.periods)
    return (mean(launch, True) - mean(never, True)) - (mean(launch, False) - mean(never, False))


@pytest.mark.parametrize("kind", ["balanced", "weights", "clusters"])
def test_every_effect_is_a_difference_of_differences_of_mean_changes(kind: str) -> None:
    panel = grouped_panel(1, **PANELS[kind])
    fit = METHOD.fit(panel)
    for row in fit.diagnostics["group_time"]:
        launch, period = panel.periods.index(row["cohort"]), panel.periods.index(row["period"])
        assert row["value"] == pytest.approx(by_means(panel, launch, period), rel=1e-9)
    weights = np.ones(60) if panel.weights is None else panel.weights
    eligible = panel.unit_covariates[:, 0] == 1
    pairs = [
        (weights[(panel.first_treated == g) & eligible].sum(), by_means(panel, g, t))
        for g in (3, 5, 6)
        for t in range(g, 8)
    ]
    size, value = np.array(pairs).T
    assert fit.effect == pytest.approx(size @ value / size.sum(), rel=1e-9)


class ByHand:
    """The regression with unit effects, eligibility and launch by period, and a dummy of every eligible treated cell."""

    def __init__(self, panel: Panel) -> None:
        self.rows = rows = Cells.of(panel)
        eligible = rows.covariates[:, 0]
        since = np.where(rows.first < len(panel.periods), rows.period - rows.first, -1)
        pairs = {(f, e) for f, e in zip(rows.first, since, strict=True) if e != -1}
        self.keys = np.array(sorted(pairs))
        own = np.column_stack([(rows.first == f) & (since == e) & (eligible == 1) for f, e in self.keys]).astype(float)
        periods = dummies(rows.period)
        design = [own, periods, periods * eligible[:, None], dummies(rows.unit)]
        design += [periods * (rows.first == f)[:, None] for f in np.unique(rows.first)[:-1]]
        matrix = np.hstack(design)
        fit = least_squares(matrix, rows.outcome, rows.weight)
        k = own.shape[1]
        self.values, self.scores, self.sizes = fit.coefficients[:k], fit.scores()[:, :k], rows.weight @ own
        n_cells, n_clusters = len(rows.unit), len(np.unique(rows.cluster))
        n_columns = np.linalg.matrix_rank(matrix) - len(panel.units) + 1
        self.factor = n_clusters / (n_clusters - 1) * (n_cells - 1) / (n_cells - n_columns)

    def average(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        weights = weights / weights.sum(axis=0)
        return weights.T @ self.values, self.factor * clustered_variance(self.scores @ weights, self.rows.cluster)


@pytest.mark.parametrize("kind", PANELS)
def test_effect_event_study_and_errors_are_those_of_the_regression(kind: str) -> None:
    panel = grouped_panel(2, **PANELS[kind])
    by_hand, fit = ByHand(panel), METHOD.fit(panel)
    value, variance = by_hand.average((by_hand.sizes * (by_hand.keys[:, 1] >= 0))[:, None])
    assert fit.effect == pytest.approx(value[0], rel=1e-9)
    assert fit.covariance is not None
    np.testing.assert_allclose(fit.covariance, variance, rtol=1e-7)
    assert fit.event_study is not None
    times = np.unique(by_hand.keys[:, 1])
    values, covariance = by_hand.average(by_hand.sizes[:, None] * (by_hand.keys[:, 1][:, None] == times))
    np.testing.assert_allclose(fit.event_study.values, values, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(fit.event_study.covariance, covariance, rtol=1e-6, atol=1e-9)


def test_effect_is_the_difference_of_the_two_group_time_averages() -> None:
    panel = grouped_panel(3)
    eligible = panel.unit_covariates[:, 0] == 1
    plain = replace(panel, covariates=np.empty((60, 8, 0)), covariate_names=())
    pairs = [GroupTime().fit(plain.only(units=side)).diagnostics["group_time"] for side in (eligible, ~eligible)]
    expected = {(a["cohort"], a["period"]): a["value"] - b["value"] for a, b in zip(pairs[0], pairs[1], strict=True)}
    for row in METHOD.fit(panel).diagnostics["group_time"]:
        assert row["value"] == pytest.approx(expected[row["cohort"], row["period"]], rel=1e-9)


def test_contributions_subtract_those_of_the_ineligible() -> None:
    panel = grouped_panel(4)
    fit = METHOD.fit(panel)
    eligible = panel.unit_covariates[:, 0] == 1
    sub = replace(panel, covariates=np.empty((60, 8, 0)), covariate_names=()).only(units=eligible)
    assert fit.influence is not None
    np.testing.assert_allclose(fit.influence[eligible], SunAbraham().fit(sub).influence, atol=1e-12)
    assert fit.influence.sum() == pytest.approx(0, abs=1e-12)


def test_only_eligible_units_count_as_treated() -> None:
    panel = grouped_panel(5)
    result = estimate(panel, "triple-differences", options={"partition": "eligible"})
    eligible = panel.unit_covariates[:, 0] == 1
    cells = panel.treated & eligible[:, None]
    assert result.detail["incremental"] == pytest.approx(result.value * cells.sum())
    assert result.detail["counterfactual_mean"] == pytest.approx(panel.outcome[cells].mean() - result.value)
    assert result.detail["relative"] == pytest.approx(result.value / result.detail["counterfactual_mean"])
    assert result.detail["n_eligible_treated"] == int((eligible & panel.ever_treated).sum())
    np.testing.assert_allclose(result.path.observed, panel.outcome[eligible & panel.ever_treated].mean(axis=0))
    found = f"{(eligible & panel.ever_treated).sum()} eligible of 40 units in launching groups"
    assert any(found in warning for warning in result.warnings)


def test_trends_of_groups_and_of_the_eligible_are_taken_off() -> None:
    panel = grouped_panel(6)
    rng = np.random.default_rng(1)
    eligible = panel.unit_covariates[:, 0] == 1
    of_launch = {first: rng.normal(size=8) for first in np.unique(panel.first_treated)}
    trends = np.stack([of_launch[first] for first in panel.first_treated]) + np.outer(eligible, rng.normal(size=8))
    moved = replace(panel, outcome=panel.outcome + 10 * trends + rng.normal(size=(60, 1)))
    own, other = METHOD.fit(panel), METHOD.fit(moved)
    assert other.effect == pytest.approx(own.effect, rel=1e-9)
    np.testing.assert_allclose(other.covariance, own.covariance, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_outcome_scale_the_answer(scale: float) -> None:
    panel = grouped_panel(7)
    own, other = METHOD.fit(panel), METHOD.fit(replace(panel, outcome=scale * panel.outcome))
    assert other.effect == pytest.approx(scale * own.effect, rel=1e-9)
    np.testing.assert_allclose(other.covariance, scale**2 * np.asarray(own.covariance), rtol=1e-8)


def test_same_panel_gives_the_same_bytes() -> None:
    panel = grouped_panel(7)
    first, second = (
        estimate(panel, "triple-differences", options={"partition": "eligible"}).to_dict() for _ in range(2)
    )
    assert canonical_json(first) == canonical_json(second)


def test_one_launch_date_has_the_mean_of_its_path_as_its_effect() -> None:
    panel = grouped_panel(8, launches=(4,))
    fit = METHOD.fit(panel)
    assert fit.effect == pytest.approx(fit.path.effect[4:].mean(), rel=1e-10)


@pytest.mark.parametrize(
    ("partition", "message"), [("eligibl", "did you mean 'eligible'"), ("other", "which is no covariate")]
)
def test_partition_that_is_no_covariate_is_refused(partition: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TripleDifferences(partition=partition).fit(grouped_panel())


def test_partition_of_other_values_is_refused() -> None:
    panel = grouped_panel()
    with pytest.raises(DataError, match=r"must be 0 or 1, found 2\.0"):
        METHOD.fit(replace(panel, covariates=2 * panel.covariates))


def test_other_covariates_are_refused() -> None:
    panel = grouped_panel()
    wider = replace(panel, covariates=np.repeat(panel.covariates, 2, axis=2), covariate_names=("eligible", "income"))
    with pytest.raises(RefusalError, match="no covariate but the partition, found income"):
        METHOD.fit(wider)


def test_missing_kind_of_unit_is_refused() -> None:
    panel = grouped_panel()
    eligible = panel.unit_covariates[:, 0] == 1
    lacking = panel.only(units=~(eligible & (panel.first_treated == 5)))
    with pytest.raises(RefusalError, match="no eligible unit in groups launching at 2006"):
        METHOD.fit(lacking)
    never = panel.only(units=eligible | panel.ever_treated)
    with pytest.raises(RefusalError, match="no ineligible unit in groups that never launch"):
        METHOD.fit(never)


def test_few_clusters_of_one_kind_leave_no_standard_error() -> None:
    panel = grouped_panel()
    eligible = panel.unit_covariates[:, 0] == 1
    few = panel.ever_treated | ~eligible
    few[np.flatnonzero(~few)[:4]] = True
    fit = METHOD.fit(panel.only(units=few))
    assert fit.covariance is None
    assert any("fewer than five clusters" in warning for warning in fit.warnings)
    assert math.isfinite(fit.effect)


def test_effect_is_estimated_without_bias_where_differences_are_biased() -> None:
    errors, naive, covered = [], [], []
    for seed in range(100):
        panel = grouped_panel(seed)
        eligible = panel.unit_covariates[:, 0] == 1
        cells = panel.treated & eligible[:, None]
        truth = float((2 + 0.25 * np.arange(8) * np.ones((60, 1)))[cells].mean())
        result = estimate(panel, "triple-differences", level=0.9, options={"partition": "eligible"})
        plain = replace(panel, covariates=np.empty((60, 8, 0)), covariate_names=()).only(units=eligible)
        naive.append(SunAbraham().fit(plain).effect - truth)
        errors.append(result.value - truth)
        assert result.interval is not None
        covered.append(result.interval.contains(truth))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert np.mean(naive) > 1
    assert np.mean(covered) > 0.9 - 0.1  # three Monte Carlo errors below 0.9
