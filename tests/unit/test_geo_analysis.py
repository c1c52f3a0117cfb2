"""The readout of a geo experiment, on simulated tests whose truth is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from causalbench.artifacts import canonical_json
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.estimators.did import Did
from causalbench.geo.analysis import _misfit, analyse
from causalbench.geo.delivery import delivery
from causalbench.geo.result import GeoResult
from causalbench.geo.split import Split
from causalbench.values import Interval, Uncertainty, rejects

N_PRE, N_TEST = 90, 15


def sales(n_units: int, n_periods: int, *, seed: int) -> np.ndarray:
    """Markets of very different size that share a week and a trend, with their own persistent noise."""
    rng = np.random.default_rng(seed)
    noise = np.zeros((n_units, n_periods))
    steps = rng.normal(0, 0.03, size=(n_units, n_periods))
    for t in range(n_periods):
        noise[:, t] = (0.5 * noise[:, t - 1] if t else 0.0) + steps[:, t]
    week = 1 + 0.1 * np.sin(2 * np.pi * np.arange(n_periods) / 7)
    size = rng.lognormal(6, 0.4, size=(n_units, 1))
    grown: np.ndarray = size * week * np.exp(noise)
    return grown


def as_panel(outcome: np.ndarray) -> Panel:
    n_units, n_periods = outcome.shape
    return Panel(
        outcome=outcome,
        treated=np.zeros(outcome.shape, dtype=bool),
        units=tuple(f"m{i:02d}" for i in range(n_units)),
        periods=tuple(range(1, n_periods + 1)),
        metric="sales",
        unit_name="market",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experiment:
    panel: Panel
    split: Split
    draws: np.ndarray
    truth: np.ndarray
    cost: np.ndarray


def experiment(
    cells: np.ndarray, lifts: tuple[float, ...], *, seed: int = 0, n_periods: int = N_PRE + N_TEST, n_draws: int = 999
) -> Experiment:
    rng = np.random.default_rng(seed)
    cells = rng.permutation(cells)
    without = sales(len(cells), n_periods, seed=seed)
    test = np.arange(n_periods) >= N_PRE
    effect = without * np.array([0.0, *lifts])[cells][:, None] * test
    return Experiment(
        panel=as_panel(without + effect),
        split=Split(cells=cells),
        draws=np.array([rng.permutation(cells) for _ in range(n_draws)]),
        truth=effect,
        cost=effect / 3.0,
    )


def read(case: Experiment, method: str = "did", **changes: Any) -> GeoResult:
    options = changes.pop("options", {})
    given: dict[str, Any] = {
        "estimator": ESTIMATORS.create(method, options),
        "start": N_PRE,
        "draws": case.draws,
        "rng": np.random.default_rng(0),
    }
    return analyse(case.panel, case.split, **{**given, **changes})


@pytest.fixture(scope="module")
def a2() -> Experiment:
    """Scenario A2: 40 markets, 90 + 15 days, randomly split, +8%, three units of sales per unit of cost."""
    return experiment(np.repeat([0, 1], 20), (0.08,), seed=11)


METHODS = [("did", {}), ("synthetic-control", {"fixed_effects": "unit"})]


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_lift_revenue_and_return_of_a_random_split(a2: Experiment, method: str, options: dict[str, Any]) -> None:
    delivered = delivery(
        a2.split,
        np.where(np.arange(105) >= N_PRE, a2.split.cells[:, None], 0),
        markets=a2.panel.units,
        panel=a2.panel,
        names=("ads",),
        start=N_PRE,
        end=104,
        randomized=True,
        draws=a2.draws,
        spend=a2.cost,
        planned_spend={"ads": float(a2.cost.sum())},
    )
    result = read(a2, method, options=options, cost=a2.cost, delivered=delivered, constant="proportional")
    (cell,) = result.cells
    assert result.randomized
    assert delivered.verdict == "pass"
    assert delivered.split_ratio[0].verdict == "pass"
    assert (result.first, result.last, result.last_counted, result.n_draws) == (91, 105, 105, 1000)
    # The truth lies inside every set.
    mine = a2.split.cells == 1
    assert cell.effect.interval.contains(a2.truth[mine][:, N_PRE:].mean())
    assert cell.incremental.interval.contains(a2.truth.sum())
    assert cell.lift.interval.contains(0.08)
    assert cell.returned.interval.contains(3.0)
    assert cell.return_inference == "randomization"
    assert cell.cost == pytest.approx(a2.cost.sum(), rel=1e-9)
    assert cell.returned.value == pytest.approx(cell.incremental.value / cell.cost)
    # One p-value and one set that agree, and the return's with them.
    assert rejects(cell.effect.p_value, 0.9)
    for found in (cell.effect.interval, cell.incremental.interval, cell.lift.interval, cell.returned.interval):
        assert not found.contains(0.0)
    assert (cell.effect.adjusted_p, cell.effect.adjustment) == (None, "none")
    assert cell.incremental.value == pytest.approx(cell.effect.value * 20 * 15)
    assert cell.misfit.verdict == "not_evaluable"


def test_result_is_plain_and_the_same_bytes_whatever_the_order_of_markets(a2: Experiment) -> None:
    order = np.random.default_rng(5).permutation(40)
    turned = replace(
        a2,
        panel=a2.panel.only(units=np.ones(40, dtype=bool)),
        split=Split(cells=a2.split.cells[order]),
        draws=a2.draws[:, order],
        cost=a2.cost[order],
    )
    moved = replace(
        turned.panel, outcome=a2.panel.outcome[order], units=tuple(a2.panel.units[i] for i in order.tolist())
    )
    one, other = read(a2, cost=a2.cost), read(replace(turned, panel=moved), cost=turned.cost)
    assert json.loads(canonical_json(one.to_dict()))["cells"][0]["effect"]["p_value"] == one.cells[0].effect.p_value
    assert one.cells[0].effect.p_value == other.cells[0].effect.p_value
    assert one.cells[0].effect.interval.lower == pytest.approx(other.cells[0].effect.interval.lower, rel=1e-9)
    assert canonical_json(read(a2).to_dict()) == canonical_json(read(a2).to_dict())


def test_cooldown_counts_and_its_effect_is_shown_apart() -> None:
    case = experiment(np.repeat([0, 1], 20), (0.2,), seed=3, n_periods=N_PRE + N_TEST + 10)
    outcome = case.panel.outcome.copy()
    stop = N_PRE + N_TEST
    outcome[:, stop:] -= case.truth[:, stop:] * np.linspace(0.5, 1.0, 10)  # half of it is left, then less, then nothing
    case = replace(case, panel=as_panel(outcome))
    result = read(case, end=stop - 1, cooldown=5)
    (cell,) = result.cells
    assert (result.last, result.last_counted) == (105, 110)
    assert cell.in_cooldown < 0.6 * cell.in_test
    assert cell.effect.value == pytest.approx((15 * cell.in_test + 5 * cell.in_cooldown) / 20)
    assert len(cell.path.periods) == 110
    shorter = read(case, end=stop - 1)
    assert shorter.cells[0].effect.value == pytest.approx(cell.in_test)
    assert shorter.cells[0].in_cooldown is None


@pytest.fixture(scope="module")
def three_cells() -> Experiment:
    return experiment(np.repeat([0, 1, 2, 3], 12), (0.0, 0.03, 0.12), seed=6)


def test_cells_share_controls_and_leave_each_other_out(three_cells: Experiment) -> None:
    names = ("search", "video", "radio")
    result = read(three_cells, names=names)
    assert [cell.cell for cell in result.cells] == list(names)
    for k, cell in enumerate(result.cells, 1):
        alone = Split(cells=np.where(np.isin(three_cells.split.cells, (0, k)), three_cells.split.cells > 0, -1))
        panel = alone.panel(three_cells.panel, start=N_PRE)
        assert cell.effect.value == pytest.approx(Did().fit(panel).effect)
        assert len(cell.controls) == 12
        assert cell.effect.adjustment == "max-t"
        assert cell.effect.adjusted_p >= cell.effect.p_value
        assert rejects(cell.effect.adjusted_p, 0.9) != cell.effect.simultaneous.contains(0.0)
        assert cell.effect.simultaneous.level == 0.9
    assert rejects(result.cells[2].effect.adjusted_p, 0.9)
    assert [pair.name for pair in result.comparisons] == ["search - video", "search - radio", "video - radio"]
    values = [cell.effect.value for cell in result.cells]
    assert result.comparisons[1].value == pytest.approx(values[0] - values[2])


def test_chosen_split_takes_the_house_inference_and_bonferroni(three_cells: Experiment) -> None:
    result = read(three_cells, draws=None, inference="cluster")
    assert (result.inference, result.randomized, result.n_draws) == ("cluster", False, 0)
    for cell in result.cells:
        assert cell.effect.adjustment == "bonferroni"
        assert cell.effect.adjusted_p == min(1.0, 3 * cell.effect.p_value)
        assert cell.effect.simultaneous.level == 0.9
        assert rejects(cell.effect.adjusted_p, 0.9) != cell.effect.simultaneous.contains(0.0)
        assert cell.std_error > 0
    assert len(result.comparisons) == 3


def test_known_cost_divides_the_set_of_a_chosen_split(a2: Experiment) -> None:
    result = read(a2, draws=None, inference="cluster", cost=a2.cost)
    (cell,) = result.cells
    assert cell.return_inference == "cost-known"
    assert cell.returned.interval.lower == pytest.approx(cell.incremental.interval.lower / cell.cost)
    dark = read(a2, draws=None, inference="cluster", cost=-a2.cost).cells[0]
    assert dark.returned.interval.lower == pytest.approx(-cell.returned.interval.upper)
    idle = read(a2, cost=np.ones(a2.cost.shape)).cells[0]
    assert idle.returned is None
    assert "spent no more than their controls" in " ".join(idle.warnings)


def test_a_method_that_tests_the_return_itself_does_so_for_a_chosen_split(a2: Experiment) -> None:
    result = read(a2, "time-based-regression", draws=None, cost=a2.cost)
    (cell,) = result.cells
    assert (result.inference, cell.return_inference) == ("predictive-t", "ratio")
    assert cell.returned.value == cell.detail["iroas"]
    assert cell.returned.interval == cell.detail["iroas_interval"]
    assert cell.returned.interval.contains(3.0)
    assert cell.cost == pytest.approx(a2.cost.sum())
    drawn = read(replace(a2, panel=replace(a2.panel, cost=a2.cost)), "time-based-regression").cells[0]
    assert drawn.return_inference == "randomization"
    assert drawn.returned.value == pytest.approx(cell.returned.value)


def test_missing_cells_leave_their_periods_out_of_cost_and_outcome_alike(a2: Experiment) -> None:
    outcome, cost = a2.panel.outcome.copy(), a2.cost.copy()
    outcome[3, [20, 95]] = np.nan
    with pytest.raises(DataError, match="2 cells are missing"):
        read(replace(a2, panel=as_panel(outcome)), cost=cost)
    kept = ~np.isin(np.arange(105), [20, 95])
    short = replace(a2, panel=as_panel(a2.panel.outcome[:, kept]), cost=cost[:, kept])
    one = read(replace(a2, panel=as_panel(outcome)), cost=cost, on_missing="drop_period").cells[0]
    other = read(short, cost=short.cost, start=89).cells[0]
    assert (one.effect.value, one.cost) == pytest.approx((other.effect.value, other.cost))
    cost[5, 100] = np.nan
    with pytest.raises(DataError, match="cost is missing in 1 cells of 1 markets: m05"):
        read(a2, cost=cost)


def test_two_by_two_gives_main_effects_and_interaction() -> None:
    # Scenario A13: 48 markets; ads +8%, mail +3%, nothing more together.
    case = experiment(np.repeat([0, 1, 2, 3], 12), (0.08, 0.03, 0.11), seed=21)
    factors = {"ads": ("ads", "both"), "mail": ("mail", "both")}
    result = read(case, names=("ads", "mail", "both"), factors=factors, constant="proportional")
    assert [tested.name for tested in result.factors] == ["ads", "mail", "ads x mail"]
    ads, _, interaction = result.factors
    assert rejects(ads.adjusted_p, 0.9)
    assert not rejects(interaction.adjusted_p, 0.9)
    for tested in result.factors:
        assert tested.adjustment == "max-t"
        assert rejects(tested.adjusted_p, 0.9) != tested.simultaneous.contains(0.0)
    untested = read(case, names=("ads", "mail", "both"), factors=factors, draws=None, inference="cluster").factors
    assert [t.value for t in untested] == pytest.approx([t.value for t in result.factors])
    assert {t.p_value for t in untested} == {None}


def test_departures_withdraw_randomized_and_give_both_effects() -> None:
    # Scenario A10: 20 / 20, three controls got it from day 9 of the test, one control is merged away.
    case = experiment(np.repeat([0, 1], 20), (0.2,), seed=9)
    got = np.where(np.arange(105) >= N_PRE, case.split.cells[:, None], 0)
    controls = np.flatnonzero(case.split.cells == 0)
    outcome = case.panel.outcome.copy()
    for i in controls[:3]:
        got[i, N_PRE + 8 :] = 1
        outcome[i, N_PRE + 8 :] *= 1.2
    kept = np.arange(40) != controls[5]
    panel = as_panel(outcome).only(units=kept)
    found = delivery(
        case.split,
        got[kept],
        markets=case.panel.units,
        panel=panel,
        names=("ads",),
        start=N_PRE,
        end=104,
        randomized=True,
        draws=case.draws,
    )
    assert (found.verdict, found.still_random) == ("fail", False)
    moved = replace(case, panel=panel, split=Split(cells=case.split.cells[kept]), draws=case.draws[:, kept])
    result = read(moved, delivered=found, constant="proportional")
    assert not result.randomized
    (received,) = result.received
    intention = result.cells[0].effect.value
    assert received.planned_exposure == pytest.approx(1 - 3 / 19 * 7 / 15)
    assert received.per_exposure.value == pytest.approx(intention / received.planned_exposure)
    assert received.as_treated > intention
    assert rejects(result.cells[0].effect.p_value, 0.9) != received.per_exposure.interval.contains(0.0)
    chosen = read(moved, delivered=found, draws=None, inference="cluster").received[0]
    assert (chosen.per_exposure.value, chosen.per_exposure.interval) == (
        pytest.approx(received.per_exposure.value),
        None,
    )


def test_misfit_says_when_no_constant_effect_fits() -> None:
    def uncertainty(*segments: tuple[float, float]) -> Uncertainty:
        interval = Interval(segments=segments, level=0.9, kind="conformal")
        return Uncertainty(interval=interval, p_value=0.01, detail={"p_maximising_effect": 2.0})

    assert _misfit(5.0, uncertainty()).verdict == "fail"
    missed = _misfit(5.0, uncertainty((1.0, 3.0)))
    assert missed.verdict == "review"
    assert "estimate is 5" in missed.reason
    assert "fits best is 2" in missed.reason
    assert _misfit(2.5, uncertainty((1.0, 3.0))).verdict == "pass"


def test_geolift_showcase_by_cyclic_blocks(geolift: Panel) -> None:
    # DESIGN section 7 and the reference manifest: signed sum, cyclic blocks: p(0) = 12/105, 90% set -15 to 282.5 a day and
    # city, largest p at 122.5; estimate 155.556 (GeoLift 2.7.5's walkthrough).
    split = Split(cells=geolift.ever_treated.astype(int))
    estimator = ESTIMATORS.create("synthetic-control", {"fixed_effects": "unit"})
    rng = np.random.default_rng(0)
    result = analyse(geolift, split, estimator=estimator, start=90, inference="conformal", rng=rng)
    (cell,) = result.cells
    assert cell.effect.value == pytest.approx(155.556, abs=1e-3)
    assert cell.effect.p_value == pytest.approx(12 / 105)
    assert cell.effect.interval.lower == pytest.approx(-15, abs=5)
    assert cell.effect.interval.upper == pytest.approx(282.5, abs=5)
    assert cell.misfit.verdict == "pass"
    assert not result.randomized


def test_impossible_readouts_are_refused(a2: Experiment) -> None:
    with pytest.raises(StudyError, match="3 periods before it does"):
        read(a2, end=102, cooldown=5)
    with pytest.raises(StudyError, match="history before it"):
        read(a2, start=0)
    with pytest.raises(RefusalError, match="wasn't drawn"):
        read(a2, draws=None, inference="randomization")
    with pytest.raises(StudyError, match="'conformal' doesn't go with did"):
        read(a2, inference="conformal")
    with pytest.raises(StudyError, match="1 treated cells, 2 names"):
        read(a2, names=("a", "b"))
    with pytest.raises(RefusalError, match="weighs periods"):
        read(a2, "synthetic-did")


def test_unit_weights_of_the_design_are_those_of_the_estimate(a2: Experiment) -> None:
    weights = np.random.default_rng(1).uniform(0.5, 2, size=40)
    split = Split(cells=a2.split.cells, unit_weights=weights)
    result = read(replace(a2, split=split))
    changes = a2.panel.outcome[:, N_PRE:].mean(axis=1) - a2.panel.outcome[:, :N_PRE].mean(axis=1)
    mine = split.cells == 1
    by_hand = np.average(changes[mine], weights=weights[mine]) - np.average(changes[~mine], weights=weights[~mine])
    assert result.cells[0].effect.value == pytest.approx(by_hand)
    assert result.cells[0].incremental is None
