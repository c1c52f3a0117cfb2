"""How often the checks of a launch alarm for nothing, and how often they find what is there."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from scipy import stats

from causalbench.checks.immature_window import ImmatureWindow
from causalbench.checks.other_events import Event, OtherEvents
from causalbench.checks.plan_against_actual import PlanAgainstActual
from causalbench.checks.segment_effects import SegmentEffects
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.estimators.did import Did
from causalbench.numerics.level_shifts import LevelShifts, find_level_shifts
from causalbench.values import Estimate, FloatArray
from causalbench.workflow.estimate import answer

SIZE = 0.05
N_UNITS, N_PRE, N_POST = 40, 120, 21
DAYS = tuple(dt.date(2025, 1, 6) + dt.timedelta(days=i) for i in range(N_PRE + N_POST))


def upper(share: float, n_draws: int) -> float:
    """Two Monte Carlo errors above a share."""
    return share + 2 * math.sqrt(share * (1 - share) / n_draws)


def autoregression(shape: tuple[int, int], rho: float, rng: np.random.Generator) -> FloatArray:
    """Draw stationary AR(1) rows of variance 1."""
    rows = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        rows[:, t] = rho * rows[:, t - 1] + math.sqrt(1 - rho**2) * rows[:, t]
    return rows


def markets(seed: int, *, rho: float = 0.5, noise: float = 0.02, n_treated: int = 6) -> Panel:
    """Draw markets with three factors, a weekly season and noise in shares of their level; nothing happens to any."""
    rng = np.random.default_rng(seed)
    shape = (N_UNITS, N_PRE + N_POST)
    level = 100 * np.exp(0.3 * rng.standard_normal((N_UNITS, 1)))
    common = 0.02 * rng.random((N_UNITS, 3)) @ autoregression((3, shape[1]), rho, rng)
    season = 0.08 * np.sin(2 * np.pi * np.arange(shape[1]) / 7)
    treated = (np.arange(N_UNITS) < n_treated)[:, None] & (np.arange(shape[1]) >= N_PRE)
    return Panel(
        outcome=level * (1 + common + season + noise * autoregression(shape, rho, rng)),
        treated=treated,
        units=tuple(f"m{i:02d}" for i in range(N_UNITS)),
        periods=DAYS,
        frequency="day",
        season=7,
    )


def jumps(panel: Panel, factor: float = 1.0, since: int = N_PRE - 10) -> LevelShifts:
    """Locate jumps where the first three units are multiplied by a factor from a date on."""
    outcome = panel.outcome.copy()
    outcome[:3, since:] *= factor
    treated = panel.ever_treated
    lengths = np.where(treated, N_PRE, len(panel.periods))
    return find_level_shifts(outcome, lengths, ~treated, n_fit=N_PRE, season=7, size=SIZE)


def anyone(series: FloatArray) -> bool:
    """Tell whether some series is said to jump."""
    n, length = series.shape
    found = find_level_shifts(series, np.full(n, length), np.full(n, True), n_fit=length, size=SIZE)
    return bool(found.suspect.any())


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_markets_without_a_jump(rho: float) -> None:
    """At most 5% of panels have a market named; 300 draws, Monte Carlo error .013."""
    assert np.mean([jumps(markets(s, rho=rho)).suspect.any() for s in range(300)]) <= upper(SIZE, 300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_units", "n_periods", "rho"), [(39, 31, 0.5), (61, 48, 0.8), (9, 70, 0.5), (16, 40, 0.8), (30, 194, 0.9)]
)
def test_other_panels_without_a_jump(n_units: int, n_periods: int, rho: float) -> None:
    """300 draws, Monte Carlo error .013."""
    draws = (
        factor_panel(n_units=n_units, n_periods=n_periods, n_treated=1, n_post=5, effect=0.0, rho=rho, seed=s)
        for s in range(300)
    )
    assert np.mean([anyone(panel.outcome) for panel in draws]) <= upper(SIZE, 300)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [0.1, 0.3, 1.0])
def test_random_walks_are_no_jumps(sd: float) -> None:
    """White noise about random walks with steps of this size: without the look at abruptness 26 to 33% alarm; 300 draws."""
    alarms = []
    for s in range(300):
        rng = np.random.default_rng(s)
        alarms.append(anyone(rng.standard_normal((30, 120)) + sd * rng.standard_normal((30, 120)).cumsum(axis=1)))
    assert np.mean(alarms) <= upper(SIZE, 300)


@pytest.mark.slow
def test_heavy_tails_are_no_jumps() -> None:
    """Student's t with 3 degrees of freedom; 300 draws, Monte Carlo error .013."""
    assert np.mean([anyone(stats.t.rvs(3, size=(30, 194), random_state=s)) for s in range(300)]) <= upper(SIZE, 300)


@pytest.mark.slow
def test_three_markets_that_log_more_are_named_with_the_date() -> None:
    """+8% in the last 10 of 120 days before the launch: all three named and dated in 92%; 200 draws, error .019."""
    found = [jumps(markets(s), 1.08) for s in range(200)]
    named = [bool(one.suspect[:3].all()) and set(one.date[:3].tolist()) <= {109, 110, 111} for one in found]
    assert np.mean(named) >= 0.92 - 2 * math.sqrt(0.92 * 0.08 / 200)
    assert np.mean([one.suspect[3:].any() for one in found]) <= upper(SIZE, 200)


def estimate_of(panel: Panel) -> Estimate:
    return answer(panel, "did").estimate


@pytest.mark.slow
@pytest.mark.parametrize(("missing", "low", "high"), [(0.0, 0.0, 0.01), (0.2, 0.95, 1.0)])
def test_last_day_that_is_not_complete(missing: float, low: float, high: float) -> None:
    """A complete last day is taken for a drop in at most 1%, a fifth missing is found in 95%; 400 draws, error .005 and .011."""
    drops, some = [], estimate_of(markets(0))
    for s in range(400):
        panel = markets(1000 + s)
        outcome = panel.outcome.copy()
        outcome[:, -1] *= 1 - missing
        cut = Panel(outcome=outcome, treated=panel.treated, units=panel.units, periods=DAYS, frequency="day", season=7)
        result = ImmatureWindow().run(Did(), cut, some, rng=np.random.default_rng(0))
        drops.append(result is not None and result.table["n_dropped"] > 0)
    share = np.mean(drops)
    assert low - 2 * math.sqrt(0.05 * 0.95 / 400) * (low > 0) <= share <= upper(high, 400)


def test_every_departure_from_the_plan_is_found_and_none_where_there_is_none() -> None:
    """100 plans with one departure each, at random; cells are compared exactly, so there is no Monte Carlo error."""
    panel, rng = markets(0), np.random.default_rng(0)
    some = estimate_of(panel)
    for _ in range(100):
        got = panel.treated.astype(float)
        i, t = int(rng.integers(N_UNITS)), int(rng.integers(1, len(DAYS)))
        got[i, t:] = 1 - got[i, t:]
        changed = (got != panel.treated).any(axis=1)
        result = PlanAgainstActual(actual=got).run(Did(), panel, some, rng=rng)
        assert result is not None
        assert {row["unit"] for row in result.table["departures"]} == {f"m{j:02d}" for j in np.flatnonzero(changed)}
    kept = PlanAgainstActual(actual=panel.treated.astype(float)).run(Did(), panel, some, rng=rng)
    assert kept is not None
    assert (kept.verdict, kept.table["departures"]) == ("pass", [])


def test_events_are_sorted_as_by_hand() -> None:
    """1,000 events at random dates in random units; dates are compared exactly, so there is no Monte Carlo error."""
    panel, rng = markets(0), np.random.default_rng(1)
    some = estimate_of(panel)
    for _ in range(1000):
        first = int(rng.integers(-20, len(DAYS) + 20))
        last = first + int(rng.integers(0, 15))
        units = tuple(f"m{j:02d}" for j in rng.choice(N_UNITS, size=int(rng.integers(1, 5)), replace=False))
        start, end = (DAYS[0] + dt.timedelta(days=day) for day in (first, last))
        result = OtherEvents(events=(Event(name="e", start=start, end=end, units=units),)).run(
            Did(), panel, some, rng=rng
        )
        touches = any(first <= t <= last for t in range(N_PRE, len(DAYS)))
        treated = sum(int(unit[1:]) < 6 for unit in units) / 6
        unequal = treated != (len(units) - 6 * treated) / (N_UNITS - 6)
        assert result is not None
        assert (result.verdict == "pass") == (not (touches and unequal))


def segments(seed: int, effect: float) -> tuple[tuple[str, Panel], ...]:
    """Draw three segments of 40 markets, 12 of them treated: one gains, one loses, one is untouched."""
    found = []
    for k, size in enumerate((effect, -effect, 0.0)):
        panel = markets(10 * seed + k, n_treated=12)
        outcome = panel.outcome * (1 + size * panel.treated)
        units = tuple(f"{unit}-{k}" for unit in panel.units)
        found.append(
            (
                f"s{k}",
                Panel(outcome=outcome, treated=panel.treated, units=units, periods=DAYS, frequency="day", season=7),
            )
        )
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize("disjoint", [True, False])
@pytest.mark.parametrize(("effect", "low", "high"), [(0.0, 0.0, SIZE), (0.06, 0.95, 1.0)])
def test_opposite_segments(effect: float, low: float, high: float, disjoint: bool) -> None:
    """Claimed in at most 5% without effects, in 95% with +6 and -6%; 100 draws, Monte Carlo error .022."""
    claimed = []
    for s in range(100):
        panels = segments(s, effect)
        check = SegmentEffects(column="s", panels=panels, disjoint=disjoint)
        result = check.run(Did(), panels[0][1], estimate_of(panels[0][1]), rng=np.random.default_rng(0))
        claimed.append(result is not None and result.verdict == "review")
    assert low <= np.mean(claimed) <= upper(high, 100)
