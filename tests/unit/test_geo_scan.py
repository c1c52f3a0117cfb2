"""The scan of many sets and windows against slow, obvious loops; and GeoLift's selection on input that isn't right."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators import SyntheticControl
from causalbench.geo.geolift import alike_sets, market_selection, score_cells
from causalbench.geo.scan import Window, last_windows, scan
from causalbench.geo.split import Split
from causalbench.inference.conformal import cyclic_p_values
from causalbench.numerics.inversion import needed_draws
from causalbench.numerics.window_scan import lift_p_values, required_lifts
from causalbench.values import BoolArray, FloatArray, rejects


def history_of(n_units: int = 12, n_periods: int = 60, seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n_units, 3)) @ rng.normal(size=(3, n_periods))
    outcome = 100 * np.exp(rng.normal(size=(n_units, 1))) + 3 * common + rng.normal(size=(n_units, n_periods))
    units = tuple(f"m{i:02}" for i in range(n_units))
    return Panel(outcome=outcome, treated=outcome < -1e9, units=units, periods=tuple(range(n_periods)))


def pairs(n_units: int) -> BoolArray:
    sets = np.zeros((n_units - 1, n_units), dtype=bool)
    for i in range(n_units - 1):
        sets[i, i : i + 2] = True
    return sets


def test_gaps_are_those_of_the_demeaned_synthetic_control() -> None:
    history, window = history_of(), Window(start=45, duration=7)
    sets = pairs(12)
    found = scan(history, sets, windows=[window])
    before = history.only(periods=np.arange(60) < window.end)
    for i, members in enumerate(sets):
        panel = Split(cells=members.astype(int)).panel(before, start=window.start)
        fit = SyntheticControl(fixed_effects="unit").fit(panel)
        error = fit.path.effect[45:].sum() / fit.path.counterfactual[45:].sum()
        assert found.rel_error[i, 0] == pytest.approx(error, rel=1e-8)  # the estimator itself


def test_p_values_are_those_of_the_conformal_statistic() -> None:
    rng = np.random.default_rng(1)
    gaps, treated, lifts = rng.normal(size=(4, 40)), rng.uniform(5, 9, size=(4, 6)), np.array([0.0, 0.03, 0.2])
    found = lift_p_values(gaps, treated, lifts)
    for i in range(4):
        for k, lift in enumerate(lifts):
            lifted = gaps[i].copy()
            lifted[-6:] += lift * treated[i]
            assert found[i, k] == cyclic_p_values(lifted[None], 6)[0]  # inference/conformal.py, block permutations


def slow_required(gap: FloatArray, treated: FloatArray, level: float, top: float) -> float:
    """Scan lifts downwards for the first that isn't rejected."""
    for lift in np.linspace(top, 0, 20_001):
        lifted = gap.copy()
        lifted[-len(treated) :] += lift * treated
        if not rejects(float(cyclic_p_values(lifted[None], len(treated))[0]), level):
            return float(lift)
    return 0.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", [0.9, 0.8])
def test_required_lift_is_where_the_test_starts_to_reject(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    gap, treated = rng.normal(size=50).cumsum() * 0.3 + rng.normal(size=50), rng.uniform(5, 9, size=8)
    found = required_lifts(gap[None], treated[None], needed_draws(level, 50))[0]
    assert found == pytest.approx(slow_required(gap, treated, level, 2.0), abs=1.1e-4)  # grid of 1e-4


def test_required_lift_is_infinite_where_the_history_is_too_short() -> None:
    gap, treated = np.array([1.0, -1.0, 0.5, 0.0, 0.0]), np.array([10.0, 10.0])
    assert np.isinf(required_lifts(gap[None], treated[None], needed_draws(0.9, 5))[0])  # smallest p is 1 / 5


def test_a_loss_is_a_gain_upside_down() -> None:
    history, windows = history_of(), last_windows(60, [6], 3)
    sets = pairs(12)
    gain = scan(history, sets, windows=windows, lifts=[0.05], sign=1)
    loss = scan(history, sets, windows=windows, lifts=[-0.05], sign=-1)
    mirrored = scan(history, sets, windows=windows, lifts=[-0.05], sign=1)
    assert not np.allclose(gain.required, loss.required)
    assert not np.allclose(loss.p_values, mirrored.p_values)


def test_threads_and_row_order_change_nothing() -> None:
    history, windows = history_of(), last_windows(60, [5, 9], 2)
    sets = pairs(12)
    one, two = (scan(history, sets, windows=windows, lifts=[0.0, 0.1], n_jobs=n) for n in (1, 2))
    turned = scan(history, sets[::-1], windows=windows, lifts=[0.0, 0.1])
    for name in ("scaled_l2", "rel_error", "required", "p_values"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
        assert np.allclose(getattr(turned, name)[::-1], getattr(one, name), rtol=1e-8)


def test_donors_can_be_restricted() -> None:
    history, window = history_of(), Window(start=40, duration=5)
    sets = pairs(12)[:3]
    few = scan(history, sets, windows=[window], donors=np.arange(12) >= 6)
    assert (few.scaled_l2 >= scan(history, sets, windows=[window]).scaled_l2 * 0).all()
    with pytest.raises(RefusalError, match="no market is left"):
        scan(history, sets, windows=[window], donors=np.arange(12) < 1)


def test_bad_windows_and_missing_outcomes_are_refused() -> None:
    history = history_of()
    with pytest.raises(RefusalError, match="doesn't fit"):
        scan(history, pairs(12), windows=[Window(start=58, duration=5)])
    holes = history.outcome.copy()
    holes[3, 4] = np.nan
    gappy = Panel(outcome=holes, treated=holes < -1e9, units=history.units, periods=history.periods)
    with pytest.raises(DataError, match="m03"):
        scan(gappy, pairs(12), windows=last_windows(60, [5], 1))


def test_market_selection_tells_what_is_wrong() -> None:
    history = history_of()
    with pytest.raises(StudyError, match="no such market: 'm1'"):
        market_selection(history, durations=[5], market_counts=[2], effects=[0.1], include=["m1"])
    with pytest.raises(StudyError, match="one sign"):
        market_selection(history, durations=[5], market_counts=[2], effects=[-0.1, 0.1])
    with pytest.raises(RefusalError, match="hold all of include"):
        alike_sets(history, [2], include=["m01", "m02", "m03"])


def test_estimates_share_the_fit_and_tests_refit() -> None:
    history, window = history_of(), Window(start=50, duration=10)
    sets = pairs(12)[:4]
    cells = score_cells(history, sets, windows=[window], lifts=np.array([0.0, 0.1]))
    for i, members in enumerate(sets):
        for k, lift in enumerate((0.0, 0.1)):
            outcome = history.outcome.copy()
            outcome[members, 50:] *= 1 + lift
            lifted = Panel(outcome=outcome, treated=history.treated, units=history.units, periods=history.periods)
            panel = Split(cells=members.astype(int)).panel(lifted, start=50)
            estimator = SyntheticControl(fixed_effects="unit")
            assert cells.average_att[i, 0, k] == pytest.approx(estimator.fit(panel).effect, rel=1e-7, abs=1e-9)
            sizes = np.abs(estimator.null_residuals(panel, np.zeros(1))[0])
            rng = np.random.default_rng(99)
            drawn = np.array([rng.permutation(sizes)[:10].sum() for _ in range(4000)])
            p = float((drawn >= sizes[50:].sum()).mean())
            assert cells.p_values[i, 0, k] == pytest.approx(p, abs=4 * np.sqrt(0.25 / 1000))  # Monte Carlo error .016
