"""Several metrics at once: weighted sums, prices of one metric in another, ratios, and joint placebo launches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.decision.joint import joint_of, joint_placebos
from causalbench.decision.trade import exchange_rate, ratio_effect, ratio_effect_of_placebos, weighed_sum
from causalbench.errors import RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS

COVARIANCE = np.array([[1.0, 0.6], [0.6, 4.0]])


def test_weighed_sum_counts_the_covariance():
    found = weighed_sum({"a": 2.0, "b": -1.0}, COVARIANCE, weights={"a": 3.0, "b": 2.0}, level=0.9)
    draws = np.random.default_rng(0).multivariate_normal([2.0, -1.0], COVARIANCE, 200_000) @ [3.0, 2.0]
    assert found.value == 4.0
    assert found.std_error == pytest.approx(draws.std(), rel=0.01)
    assert found.interval.lower == pytest.approx(4.0 - stats.norm.isf(0.05) * found.std_error)
    assert (found.p_value <= 0.1) == (not found.interval.contains(0.0))
    assert found.parts == {"a": 6.0, "b": -2.0}


def test_weights_of_unknown_metrics_are_refused():
    with pytest.raises(ValueError, match="no metric: c"):
        weighed_sum({"a": 2.0, "b": -1.0}, COVARIANCE, weights={"c": 1.0}, level=0.9)
    with pytest.raises(ValueError, match="has no error"):
        weighed_sum({"a": 2.0, "b": -1.0}, COVARIANCE, weights={}, level=0.9)


def rate_of(gain, loss, **more):
    return exchange_rate(("flagged", gain), ("dau", loss), more.pop("covariance", COVARIANCE), level=0.95, **more)


def test_price_is_what_is_lost_over_what_is_gained():
    found = rate_of(-90.0, -45.0, gain_side="lower")
    assert (found.gained, found.lost, found.rate) == (90.0, 45.0, 0.5)
    assert found.interval.contains(0.5)
    assert "one unit less of flagged is worth at least 0.5000 units of dau" in found.sentence


def test_price_turns_with_signs_and_not_with_the_errors():
    """Whichever way a metric is counted, the same launch has the same price."""
    turn = np.array([[1.0, -1.0], [-1.0, 1.0]])
    plain = rate_of(90.0, -45.0)
    turned = rate_of(-90.0, -45.0, gain_side="lower", covariance=COVARIANCE * turn)
    both = rate_of(-90.0, 45.0, gain_side="lower", loss_side="lower")
    assert turned.interval.segments[0] == pytest.approx(plain.interval.segments[0])
    assert both.interval.segments[0] == pytest.approx(plain.interval.segments[0])


@pytest.mark.parametrize(
    ("worth", "verdict"), [(0.1, "not worth it"), (0.5, "not shown"), (0.9, "worth it"), (None, "not shown")]
)
def test_stated_worth_is_tested_without_the_ratio(worth, verdict):
    found = rate_of(20.0, -10.0, worth=worth)
    assert found.verdict == verdict
    if worth is not None:
        inside = found.interval.contains(worth)
        assert inside == (verdict == "not shown")


def test_no_price_for_a_gain_that_is_not_shown():
    found = rate_of(1.0, -10.0)
    assert found.interval.upper is None
    assert "isn't shown" in found.sentence
    assert found.verdict == "not shown"


def test_a_gain_of_both_is_free():
    found = rate_of(20.0, 30.0)
    assert found.verdict == "free"
    assert found.interval.upper < 0


def test_ratio_by_delta_against_draws():
    draws = np.random.default_rng(1).multivariate_normal(
        [0.10, 0.04], [[0.02**2, 0.7 * 0.02 * 0.03], [0.7 * 0.02 * 0.03, 0.03**2]], 400_000
    )
    ratios = (1 + draws[:, 0]) / (1 + draws[:, 1]) - 1
    found = ratio_effect((0.10, 0.02), (0.04, 0.03), correlation=0.7, level=0.9)
    assert found.value == pytest.approx(1.10 / 1.04 - 1)
    assert found.std_error == pytest.approx(ratios.std(), rel=0.01)
    sets = [ratio_effect((a, 0.02), (b, 0.03), correlation=0.7, level=0.9).interval for a, b in draws[:20_000]]
    held = np.mean([one.contains(1.10 / 1.04 - 1) for one in sets])
    assert held == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 20_000))


def test_ratio_by_placebos_is_the_rank_set_counted_the_slow_way():
    rng = np.random.default_rng(2)
    errors = 0.05 * rng.standard_normal((2, 39))
    found = ratio_effect_of_placebos(0.2, 0.05, errors, level=0.9)
    sizes = np.abs(np.log1p(errors[0]) - np.log1p(errors[1]))
    for r in np.linspace(-0.1, 0.5, 601):
        seen = abs(math.log((1.2 / 1.05) / (1 + r)))
        p = (1 + (sizes >= seen).sum()) / 40
        assert found.interval.contains(r) == (p > 0.1 + 1e-9)


def test_ratio_with_too_few_placebos_is_unbounded():
    found = ratio_effect_of_placebos(0.2, 0.05, np.full((2, 5), 0.01), level=0.95)
    assert (found.interval.lower, found.interval.upper) == (-1.0, None)


def test_parts_that_vanish_have_no_ratio():
    with pytest.raises(ValueError, match="above -1"):
        ratio_effect((-1.0, 0.1), (0.1, 0.1), correlation=0.0, level=0.9)
    with pytest.raises(ValueError, match="above -1"):
        ratio_effect_of_placebos(0.1, 0.1, np.array([[-1.0], [0.0]]), level=0.9)


def twin(panel: Panel, share: float, seed: int) -> Panel:
    """Return a second metric whose errors correlate with the first one's."""
    noise = np.random.default_rng(seed).standard_normal(panel.outcome.shape)
    mixed = share * (panel.outcome - 10) + math.sqrt(1 - share**2) * noise
    return replace(panel, outcome=50 + mixed, metric="b")


PANEL = factor_panel(n_units=30, n_periods=60, n_treated=3, n_post=6, effect=0.5, rho=0.3, seed=4)


@pytest.mark.parametrize("method", ["did", "synthetic-did"])
def test_joint_placebos_are_the_same_launches_for_every_metric(method):
    estimator = ESTIMATORS.create(method, {})
    both = {"a": estimator, "b": estimator}
    found = joint_placebos(
        {"a": PANEL, "b": replace(PANEL, metric="b")}, both, n_placebos=60, rng=np.random.default_rng(0)
    )
    assert found.where == "history"
    assert found.errors[0].tolist() == found.errors[1].tolist()
    assert found.correlation == pytest.approx(np.ones((2, 2)))


def test_joint_placebos_find_the_correlation_and_not_the_launch():
    estimator = ESTIMATORS.create("did", {})
    other, rng = twin(PANEL, 0.0, 9), np.random.default_rng(0)
    found = joint_placebos({"a": PANEL, "b": other}, {"a": estimator, "b": estimator}, n_placebos=300, rng=rng)
    assert abs(found.correlation[0, 1]) < 3 * found.mc_errors[0, 1]
    lifted = replace(PANEL, outcome=PANEL.outcome + 100.0 * PANEL.treated)
    again = joint_placebos(
        {"a": lifted, "b": other}, {"a": estimator, "b": estimator}, n_placebos=300, rng=np.random.default_rng(0)
    )
    assert again.errors.tolist() == found.errors.tolist()


def test_joint_placebos_do_not_see_units_that_one_metric_lacks():
    estimator = ESTIMATORS.create("did", {})
    fewer = twin(PANEL, 0.5, 3).without(["u029"])
    spoilt = replace(PANEL, outcome=PANEL.outcome + 1e6 * (np.array(PANEL.units) == "u029")[:, None])
    made = [
        joint_placebos(
            {"a": panel, "b": fewer}, {"a": estimator, "b": estimator}, n_placebos=40, rng=np.random.default_rng(0)
        )
        for panel in (PANEL, spoilt)
    ]
    assert made[0].errors.tolist() == made[1].errors.tolist()


def test_short_history_puts_placebos_into_controls():
    estimator = ESTIMATORS.create("did", {})
    short = PANEL.only(periods=np.arange(60) >= 51)
    found = joint_placebos(
        {"a": short, "b": short}, {"a": estimator, "b": estimator}, n_placebos=40, rng=np.random.default_rng(0)
    )
    assert found.where == "controls"


def test_no_room_for_placebos_is_refused():
    estimator = ESTIMATORS.create("did", {})
    tiny = PANEL.only(units=np.arange(30) < 4, periods=np.arange(60) >= 51)
    with pytest.raises(RefusalError, match="leave no placebo launches"):
        joint_placebos({"a": tiny}, {"a": estimator}, n_placebos=40, rng=np.random.default_rng(0))


def test_covariance_has_the_metrics_own_errors():
    found = joint_of({"a": np.array([1.0, 2.0, -1.0]), "b": np.array([0.0, 1.0, -1.0]), "still": np.zeros(3)})
    covariance = found.covariance({"b": 3.0, "unknown": 5.0, "still": 1.0, "a": 2.0})
    assert np.sqrt(np.diag(covariance)).tolist() == [3.0, 5.0, 1.0, 2.0]
    expected = 3.0 / math.sqrt(6.0 * 2.0)
    assert covariance[0, 3] == pytest.approx(expected * 6.0)
    assert np.count_nonzero(covariance - np.diag(np.diag(covariance))) == 2
