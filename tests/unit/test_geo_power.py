"""Power of a split: required effects against the planned inference itself, laws against slow oracles, and bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import AugmentedSyntheticControl, SyntheticControl
from causalbench.estimators.did import Did
from causalbench.geo.power import Power, power_of, window_starts
from causalbench.geo.required_effects import lifted, required_by_draws, required_effect, window_panel
from causalbench.geo.split import Split
from causalbench.inference.conformal import cyclic_p_values
from causalbench.numerics.overlapping_windows import n_effective, predictive, window_contrasts
from causalbench.values import BoolArray, rejects
from causalbench.workflow.estimate import estimate

PLANNED = SyntheticControl(fixed_effects="unit")


def history_of(n_units: int = 14, n_periods: int = 70, seed: int = 3, rho: float = 0.0) -> Panel:
    drawn = factor_panel(n_units=n_units, n_periods=n_periods, n_treated=2, n_post=1, effect=0.0, rho=rho, seed=seed)
    return replace(drawn, treated=np.zeros(drawn.outcome.shape, dtype=bool))


def first_two(n_units: int = 14) -> Split:
    return Split(cells=(np.arange(n_units) < 2).astype(int))


def power_from(history: Panel, **options: object) -> tuple[Power, ...]:
    given: dict[str, object] = {
        "estimator": PLANNED,
        "durations": [8],
        "first_window": 40,
        "rng": np.random.default_rng(0),
    }
    return power_of(first_two(len(history.units)), history, **{**given, **options})  # type: ignore[arg-type]


def test_lifted_residuals_are_those_of_lifted_data() -> None:
    panel = first_two().panel(history_of(), start=60)
    lifts = np.array([-0.1, 0.0, 0.07])
    for estimator in (
        PLANNED,
        SyntheticControl(),
        SyntheticControl(treated_units="each"),
        SyntheticControl(penalty=0.1),
    ):
        together = estimator.lifted_residuals(panel, lifts)
        for row, lift in zip(together, lifts.tolist(), strict=True):
            one = estimator.null_residuals(lifted(panel, lift), np.zeros(1))[0]
            assert np.allclose(row, one, atol=1e-8)  # the slow way: another panel for every lift


@pytest.mark.parametrize("sign", [1, -1])
def test_required_effect_is_where_the_readout_starts_to_reject(sign: int) -> None:
    history = history_of()
    panel = first_two().panel(history, start=62)
    rng = np.random.default_rng(0)
    found = required_effect(panel, estimator=PLANNED, inference="conformal", level=0.9, sign=sign, rng=rng)
    for factor, expected in ((0.99, False), (1.01, True)):
        readout = estimate(
            lifted(panel, sign * found.effect * factor),
            "synthetic-control",
            inference="conformal",
            level=0.9,
            options={"fixed_effects": "unit"},
        )
        assert readout.p_value is not None
        assert rejects(readout.p_value, 0.9) is expected  # workflow.estimate, what geo analyze runs


def test_slow_and_fast_paths_agree() -> None:
    panel = first_two().panel(history_of(), start=62)
    rng = np.random.default_rng(0)
    fast = required_effect(panel, estimator=PLANNED, inference="conformal", level=0.9, sign=1, rng=rng)
    p_values = []
    grid = np.linspace(fast.effect - 0.02, fast.effect + 0.02, 81)
    for effect in grid:
        residuals = PLANNED.null_residuals(lifted(panel, float(effect)), np.zeros(1))
        p_values.append(float(cyclic_p_values(residuals, 8)[0]))
    last = grid[np.flatnonzero([not rejects(p, 0.9) for p in p_values])[-1]]
    assert last <= fast.effect <= last + 5.1e-4  # grid of 5e-4
    augmented = AugmentedSyntheticControl()
    slow = required_effect(panel, estimator=augmented, inference="conformal", level=0.9, sign=1, rng=rng)
    assert slow.effect == pytest.approx(fast.effect, rel=0.5)


@pytest.mark.parametrize("inference", ["placebo-in-time", "t-test"])
def test_any_inference_of_the_estimator_can_be_planned(inference: str) -> None:
    panel = first_two().panel(history_of(), start=62)
    rng = np.random.default_rng(0)
    found = required_effect(panel, estimator=PLANNED, inference=inference, level=0.9, sign=1, rng=rng)
    for factor, expected in ((0.98, False), (1.02, True)):
        readout = estimate(
            lifted(panel, found.effect * factor),
            "synthetic-control",
            inference=inference,
            level=0.9,
            options={"fixed_effects": "unit"},
        )
        assert readout.p_value is not None
        assert rejects(readout.p_value, 0.9) is expected  # workflow.estimate


def test_a_window_on_the_circle_has_the_whole_history() -> None:
    history, split = history_of(), first_two()
    panel = window_panel(split, history, cell=1, start=30, duration=8, estimator=PLANNED, inference="conformal")
    assert (panel.n_pre, panel.n_post) == (62, 8)
    assert np.array_equal(panel.outcome[:, 62:], history.outcome[:, 30:38])
    assert np.array_equal(np.sort(panel.outcome[0]), np.sort(history.outcome[0]))
    other = window_panel(split, history, cell=1, start=30, duration=8, estimator=Did(), inference="permutation")
    assert (other.n_pre, other.n_post) == (30, 8)


def test_power_is_a_step_function_and_a_law() -> None:
    (power,) = power_from(history_of())
    assert power.n_windows == len(power.required) == 10
    assert power.mde is not None
    assert power.at(power.mde) == pytest.approx(0.8, abs=1e-6)  # what it was asked for
    assert power.claimed_power == pytest.approx(0.8, abs=1e-6)
    assert power.at(2 * power.mde) > 0.8 > power.at(power.mde / 2)
    assert power.power[-1] == 1.0
    assert (np.diff(power.effects) >= 0).all()
    assert power.mde_absolute == pytest.approx(power.mde * power.mean_outcome)
    assert power.total_outcome == pytest.approx(power.mean_outcome * 2 * 8)  # two markets, eight periods


def test_effects_scale_with_the_data() -> None:
    history = history_of()
    (power,) = power_from(history)
    (thousands,) = power_from(replace(history, outcome=history.outcome / 1000))
    assert thousands.mde == pytest.approx(power.mde, rel=1e-6)
    assert thousands.mde_absolute == pytest.approx(power.mde_absolute / 1000, rel=1e-6)  # type: ignore[operator]


def test_the_history_before_the_first_window_decides_no_window() -> None:
    history = history_of()
    (power,) = power_from(history)
    assert power.starts.min() == 40
    assert power.starts.max() == 62
    assert power.windows[0] == history.periods[40]


def test_too_short_a_history_has_no_smallest_effect() -> None:
    short = history_of(n_periods=9)
    (power,) = power_from(short, durations=[2], first_window=5)
    assert np.isinf(power.required).all()  # smallest p is 1 / 9
    assert power.mde is None
    assert power.claimed_power is None
    assert power.at(1.0) == 0.0


def test_persistent_gaps_are_counted_as_refused() -> None:
    drift = np.random.default_rng(4).normal(size=(14, 70)).cumsum(axis=1)
    history = replace(history_of(), outcome=100 + 3 * drift)
    (power,) = power_from(history)
    assert power.n_refused > 0
    assert np.isinf(power.required).sum() == power.n_refused


def test_a_loss_needs_its_own_effects() -> None:
    (gain,), (loss,) = power_from(history_of()), power_from(history_of(), sign=-1)
    assert loss.mde is not None
    assert loss.mde > 0
    assert not np.allclose(gain.required, loss.required)


def test_no_room_for_windows_is_refused() -> None:
    with pytest.raises(RefusalError, match="no window of 40 periods"):
        power_from(history_of(), durations=[40])
    with pytest.raises(RefusalError, match="a treated and a control"):
        power_of(
            Split(cells=np.ones(14, dtype=int)),
            history_of(),
            estimator=PLANNED,
            durations=[8],
            first_window=40,
            rng=np.random.default_rng(0),
        )


def test_window_starts_are_distinct() -> None:
    assert window_starts(50, 10, n_windows=10, first_window=38).tolist() == [38, 39, 40]


def slow_by_draws(history: Panel, draws: BoolArray, j: int, start: int, level: float) -> float:
    """Try lifts downwards and count draws as extreme, each with an estimate of its own."""
    launches = np.where(draws, start, len(history.periods))
    cells = draws[j][:, None] & (np.arange(len(history.periods)) >= start)
    for effect in np.linspace(0.2, -0.2, 801):
        raised = replace(history, outcome=history.outcome * (1 + effect * cells))
        sizes = np.abs([fit.effect for fit in Did().fit_many(raised, launches)])
        if not rejects(float((sizes >= sizes[j] * (1 - 1e-9)).mean()), level):
            return float(effect)
    return -0.2


def test_required_effect_of_a_randomization_test_is_exact() -> None:
    history, rng = history_of(), np.random.default_rng(2)
    draws = np.array([np.isin(np.arange(14), rng.choice(14, 7, replace=False)) for _ in range(20)])
    found = required_by_draws(
        history.only(periods=np.arange(70) < 58),
        draws.astype(int),
        np.array([0, 5]),
        cell=1,
        estimator=Did(),
        level=0.9,
        sign=1,
        start=50,
    )
    for j, one in zip((0, 5), found, strict=True):
        slow = slow_by_draws(history.only(periods=np.arange(70) < 58), draws, j, 50, 0.9)
        assert one.effect == pytest.approx(slow, abs=5.1e-4)  # grid of 5e-4


def test_power_of_a_randomized_design_counts_draws() -> None:
    rng = np.random.default_rng(2)
    draws = np.array([np.isin(np.arange(14), rng.choice(14, 7, replace=False)) for _ in range(60)]).astype(int)
    (power,) = power_of(
        Split(cells=draws[0]),
        history_of(),
        estimator=Did(),
        durations=[8],
        first_window=40,
        rng=np.random.default_rng(0),
        draws=draws,
    )
    assert len(power.required) == 60
    assert power.mde is not None
    assert power.mde == pytest.approx(np.sort(power.required)[48])  # the 49th of 60: 49 / 61 >= .8
    assert power.claimed_power == pytest.approx(49 / 61)


def test_cells_are_measured_one_by_one() -> None:
    cells = np.zeros(14, dtype=int)
    cells[:2], cells[2:4] = 1, 2
    options = {"estimator": PLANNED, "durations": [6, 8], "first_window": 40, "rng": np.random.default_rng(0)}
    found = power_of(Split(cells=cells), history_of(), **options)  # type: ignore[arg-type]
    assert [(one.cell, one.duration) for one in found] == [(1, 6), (1, 8), (2, 6), (2, 8)]
    alone = np.where(cells == 2, 1, np.where(cells == 1, -1, 0))
    (single,) = power_of(Split(cells=alone), history_of(), **{**options, "durations": [6]})  # type: ignore[arg-type]
    assert np.allclose(found[2].required, single.required)


@pytest.mark.parametrize("compared", ["all", "earlier"])
@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_predictive_law_holds_for_overlapping_windows(compared: str, phi: float) -> None:
    rng = np.random.default_rng(1)
    series = rng.normal(size=(4_000, 105))
    for t in range(1, 105):
        series[:, t] = phi * series[:, t - 1] + np.sqrt(1 - phi**2) * series[:, t]
    starts = np.arange(40, 76, 5)
    values = np.empty((4_000, len(starts)))
    for k, start in enumerate(starts):  # a window's mean less that of what it is compared with
        rest = np.arange(start) if compared == "earlier" else np.setdiff1d(np.arange(90), np.arange(start, start + 15))
        values[:, k] = series[:, start : start + 15].mean(axis=1) - series[:, rest].mean(axis=1)
    new = series[:, 90:].mean(axis=1) - series[:, :90].mean(axis=1)
    contrasts = window_contrasts(starts, 15, 90, compared=compared)
    for target in (0.5, 0.8):
        held = [new[i] <= predictive(values[i], contrasts, phi).quantile(target) for i in range(4_000)]
        assert np.mean(held) == pytest.approx(
            target, abs=0.03
        )  # Monte Carlo error .008; Satterthwaite's law is approximate


def test_effective_windows() -> None:
    apart, same = (
        window_contrasts(np.array(starts), 10, 60, compared="all") for starts in ([10, 30, 50], [10, 10, 10])
    )
    assert n_effective(apart, 0.0) == pytest.approx(3.0)  # no common period, no memory
    assert n_effective(same, 0.0) == pytest.approx(1.0)
    assert 1 < n_effective(apart, 0.9) < 3
