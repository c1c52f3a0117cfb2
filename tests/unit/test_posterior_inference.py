"""Credible intervals, tails and bands against the draws that they come from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.estimators import Did
from causalbench.estimators.causal_impact import CausalImpact
from causalbench.inference.posterior import Posterior
from causalbench.values import EffectPath, Fit, FloatArray, Uncertainty
from causalbench.values import Posterior as Draws

N_PRE = 3


def panel_of(observed: list[float]) -> Panel:
    treated = np.arange(len(observed))[None] >= N_PRE
    return Panel(outcome=np.array([observed]), treated=treated, units=("a",), periods=tuple(range(len(observed))))


def infer(observed: list[float], draws: FloatArray, *, level: float = 0.8) -> Uncertainty:
    panel = panel_of(observed)
    counterfactual = draws.mean(axis=0)
    after = np.isfinite(observed) & (np.arange(len(observed)) >= N_PRE)
    fit = Fit(
        effect=float((np.array(observed) - counterfactual)[after].mean()),
        path=EffectPath(periods=panel.periods, observed=np.array(observed), counterfactual=counterfactual),
        posterior=Draws(draws=draws),
    )
    return Posterior().infer(CausalImpact(), panel, fit, level=level, rng=default_rng(0))


@pytest.fixture
def draws() -> FloatArray:
    return 10 + default_rng(1).standard_normal((999, 6))


def test_interval_lies_between_quantiles_of_the_average(draws: FloatArray) -> None:
    found = infer([10, 10, 10, 12, 11, 13], draws)
    average = 12 - draws[:, N_PRE:].mean(axis=1)
    assert found.interval is not None
    assert found.interval.kind == "credible"
    assert found.interval.segments[0] == pytest.approx(tuple(np.quantile(average, [0.1, 0.9])), rel=1e-12)
    assert found.std_error == pytest.approx(average.std(ddof=1), rel=1e-12)
    assert found.p_value is None


def test_tail_counts_the_draws_on_the_other_side(draws: FloatArray) -> None:
    for shift in (0.5, -0.5):
        level = draws[:, N_PRE:].mean()
        found = infer([10, 10, 10, *[level + shift] * 3], draws)
        average = level + shift - draws[:, N_PRE:].mean(axis=1)
        others = int((average <= 0).sum() if shift > 0 else (average >= 0).sum())
        assert 0 < others < 400
        assert found.posterior_tail == pytest.approx((1 + others) / 1000, abs=1e-15)


def test_tail_is_never_zero(draws: FloatArray) -> None:
    assert infer([10, 10, 10, 99, 99, 99], draws).posterior_tail == pytest.approx(1 / 1000)


def test_cumulative_effect_and_bands(draws: FloatArray) -> None:
    observed = [10, 10, 10, 12, 11, 13]
    found = infer(observed, draws)
    running = (np.array(observed) - draws)[:, N_PRE:].cumsum(axis=1)
    bands = found.path_bands
    assert bands is not None
    np.testing.assert_allclose(bands.cumulative_lower[N_PRE:], np.quantile(running, 0.1, axis=0), rtol=1e-12)
    np.testing.assert_allclose(bands.cumulative_upper[N_PRE:], np.quantile(running, 0.9, axis=0), rtol=1e-12)
    assert np.isnan(bands.cumulative_lower[:N_PRE]).all()
    np.testing.assert_allclose(bands.lower, np.quantile(observed - draws, 0.1, axis=0), rtol=1e-12)
    total = found.detail["cumulative"]
    assert total["value"] == pytest.approx(running[:, -1].mean(), rel=1e-9)
    assert (total["lower"], total["upper"]) == pytest.approx((bands.cumulative_lower[-1], bands.cumulative_upper[-1]))
    assert total["sd"] == pytest.approx(running[:, -1].std(ddof=1))


def test_missing_periods_add_nothing(draws: FloatArray) -> None:
    with_hole = infer([10, 10, 10, 12, np.nan, 13], draws)
    without = infer([10, 10, 10, 12, 13], draws[:, [0, 1, 2, 3, 5]])
    assert with_hole.interval == without.interval
    assert with_hole.posterior_tail == without.posterior_tail
    assert with_hole.detail["cumulative"] == pytest.approx(without.detail["cumulative"], rel=1e-12)
    assert with_hole.path_bands is not None
    assert with_hole.path_bands.cumulative_upper[4] == with_hole.path_bands.cumulative_upper[3]


def test_relative_interval_divides_each_draw_by_its_own_path(draws: FloatArray) -> None:
    found = infer([10, 10, 10, 12, 11, 13], draws).detail["relative_interval"]
    without = draws[:, N_PRE:].sum(axis=1)
    low, high = np.quantile(36 / without - 1, [0.1, 0.9])
    assert (found["lower"], found["upper"]) == pytest.approx((low, high), rel=1e-12)


def test_there_is_no_relative_interval_where_a_path_sums_to_nothing(draws: FloatArray) -> None:
    assert infer([0, 0, 0, 2, 1, 3], draws - 10).detail["relative_interval"] is None


def test_a_fit_without_posterior_is_refused() -> None:
    panel = panel_of([1.0, 2.0, 3.0, 4.0])
    fit = Fit(
        effect=1.0,
        path=EffectPath(periods=panel.periods, observed=panel.outcome[0], counterfactual=panel.outcome[0]),
    )
    with pytest.raises(RefusalError, match="no posterior"):
        Posterior().infer(Did(), panel, fit, level=0.9, rng=default_rng(0))
