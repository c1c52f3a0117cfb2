"""What must hold for every estimator of a phased rollout, with holes, weights, clusters and several launch dates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rollout_cases import relabelled, rollout_panel

from causalbench.artifacts import canonical_json
from causalbench.data.panel import Panel
from causalbench.estimators import ExtendedTwoWay, Imputation, Stacked, SunAbraham
from causalbench.values import Fit
from causalbench.workflow.estimate import estimate

METHODS: dict[str, Any] = {
    "imputation": Imputation(),
    "two-stage": Imputation(variance="two_stage"),
    "clusters": Imputation(fixed_effects="cluster"),
    "sun-abraham": SunAbraham(),
    "extended-two-way": ExtendedTwoWay(),
    "stacked": Stacked(leads=2, lags=1),
}
NAMES = {"imputation": "imputation", "two-stage": "imputation", "clusters": "imputation"}
every_method = pytest.mark.parametrize("name", METHODS)


def panel_for(name: str, seed: int = 11) -> Panel:
    return rollout_panel(seed, holes=0.0 if name == "stacked" else 0.12, weights=True, n_clusters=24)


def assert_same(found: Fit, expected: Fit, *, scale: float = 1.0, rel: float = 1e-9) -> None:
    assert found.effect == pytest.approx(scale * expected.effect, rel=rel, abs=0)
    assert found.covariance is not None
    assert expected.covariance is not None
    np.testing.assert_allclose(found.covariance, scale**2 * expected.covariance, rtol=10 * rel)
    assert found.event_study is not None
    assert expected.event_study is not None
    size = scale * np.abs(expected.event_study.values).max()
    np.testing.assert_allclose(found.event_study.values, scale * expected.event_study.values, rtol=0, atol=rel * size)
    np.testing.assert_allclose(found.event_study.std_errors, scale * expected.event_study.std_errors, rtol=1e4 * rel)


@every_method
def test_period_effects_change_nothing(name: str) -> None:
    panel = panel_for(name)
    effects = np.random.default_rng(1).normal(scale=20, size=len(panel.periods))
    assert_same(METHODS[name].fit(replace(panel, outcome=panel.outcome + effects)), METHODS[name].fit(panel))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "clusters"])
def test_unit_effects_change_nothing(name: str) -> None:
    panel = panel_for(name)
    effects = np.random.default_rng(2).normal(scale=20, size=(len(panel.units), 1))
    assert_same(METHODS[name].fit(replace(panel, outcome=panel.outcome + effects)), METHODS[name].fit(panel))


def test_cluster_effects_change_nothing_where_they_are_taken_out() -> None:
    panel = panel_for("clusters")
    effects = np.random.default_rng(2).normal(scale=20, size=panel.n_clusters)[panel.cluster_codes][:, None]
    method = METHODS["clusters"]
    assert_same(method.fit(replace(panel, outcome=panel.outcome + effects)), method.fit(panel))


@every_method
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_outcome_scale_the_answer(name: str, scale: float) -> None:
    panel = panel_for(name)
    assert_same(METHODS[name].fit(replace(panel, outcome=scale * panel.outcome)), METHODS[name].fit(panel), scale=scale)


@every_method
@pytest.mark.parametrize("factor", [1e-3, 1e5])
def test_size_of_the_weights_does_not_matter(name: str, factor: float) -> None:
    panel = panel_for(name)
    assert panel.weights is not None
    assert_same(METHODS[name].fit(replace(panel, weights=factor * panel.weights)), METHODS[name].fit(panel))


@every_method
def test_weight_of_two_is_as_good_as_two_units_in_one_cluster(name: str) -> None:
    panel = replace(panel_for(name), weights=None)
    if name != "clusters":
        panel = replace(panel, cluster=panel.units)
    twice = np.arange(0, len(panel.units), 3)
    weights = np.ones(len(panel.units))
    weights[twice] = 2.0
    order = np.concatenate([np.arange(len(panel.units)), twice])
    doubled = relabelled(panel, order)
    weighted, repeated = METHODS[name].fit(replace(panel, weights=weights)), METHODS[name].fit(doubled)
    assert weighted.effect == pytest.approx(repeated.effect, rel=1e-9)
    if NAMES.get(name):  # without a factor that counts cells
        np.testing.assert_allclose(weighted.covariance, repeated.covariance, rtol=1e-8)


@every_method
def test_order_of_units_does_not_matter(name: str) -> None:
    panel = panel_for(name)
    order = np.random.default_rng(5).permutation(len(panel.units))
    moved = METHODS[name].fit(relabelled(panel, order))
    own = METHODS[name].fit(panel)
    assert_same(moved, own)
    np.testing.assert_allclose(moved.influence, np.asarray(own.influence)[order], rtol=0, atol=1e-12)


@every_method
def test_order_of_rows_leaves_no_trace(name: str) -> None:
    panel = panel_for(name)
    observed = ~np.isnan(panel.outcome)
    unit, period = np.nonzero(observed)
    table = pd.DataFrame(
        {
            "unit": np.array(panel.units)[unit],
            "year": np.array(panel.periods)[period],
            "sales": panel.outcome[observed],
            "launch": np.where(panel.first_treated < 8, 2001 + panel.first_treated, 0)[unit],
            "size": np.asarray(panel.weights)[unit],
            "region": np.array(panel.cluster)[unit],
        }
    )
    answers = []
    for rows in (table, table.sample(frac=1, random_state=3)):
        read = Panel.from_table(
            rows,
            unit="unit",
            period="year",
            outcome="sales",
            cohort="launch",
            weights="size",
            cluster="region",
        )
        options = {"leads": 2, "lags": 1} if name == "stacked" else {}
        if name == "two-stage":
            options = {"variance": "two_stage"}
        if name == "clusters":
            options = {"fixed_effects": "cluster"}
        answers.append(estimate(read, NAMES.get(name, name), on_missing="keep", options=options))
    assert canonical_json(answers[0].to_dict()) == canonical_json(answers[1].to_dict())


@every_method
def test_constant_effect_shifts_the_answer_by_itself(name: str) -> None:
    panel = panel_for(name)
    own, shifted = (METHODS[name].fit(replace(panel, outcome=panel.outcome + c * panel.treated)) for c in (0.0, 1.5))
    assert shifted.effect == pytest.approx(own.effect + 1.5, rel=1e-9)
    np.testing.assert_allclose(shifted.covariance, own.covariance, rtol=1e-8)


@every_method
def test_contributions_are_the_derivative_of_the_effect(name: str) -> None:
    """What a unit contributes is, to first order, how the effect moves when its weight does."""
    panel = panel_for(name)
    own = METHODS[name].fit(panel)
    assert own.influence is not None
    assert panel.weights is not None
    if name == "two-stage":
        pytest.skip("shares of cohorts move with weights too")
    control = int(np.flatnonzero(~panel.ever_treated)[2])
    step = 1e-6
    weights = panel.weights.copy()
    weights[control] *= 1 + step
    moved = METHODS[name].fit(replace(panel, weights=weights)).effect
    assert (moved - own.effect) / step == pytest.approx(own.influence[control], rel=1e-3, abs=1e-8)


@every_method
def test_panel_is_untouched(name: str) -> None:
    panel = panel_for(name)
    outcome = panel.outcome.copy()
    METHODS[name].fit(panel)
    np.testing.assert_array_equal(panel.outcome, outcome)
