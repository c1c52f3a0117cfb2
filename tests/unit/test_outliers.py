"""Days that stand out: outages and double loads are named with their robust z, effects of a launch aren't, nothing is removed."""

import time

import numpy as np
import pytest

from causalbench.data.audit import audit
from causalbench.data.outliers import outliers
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.protocols import Requirements

ANY = Requirements(min_control=1, min_pre=1, recommended_pre=1, max_cohorts=None, varying_controls=False)
N_UNITS, N_PERIODS, START = 30, 40, 32


def sales(seed=0):
    """Thirty cities of very different size that share shocks in proportion; noise of 5%."""
    rng = np.random.default_rng(seed)
    size, common = rng.normal(size=(N_UNITS, 1)), rng.normal(size=N_PERIODS)
    return np.exp(6 + size + 0.1 * common + 0.05 * rng.normal(size=(N_UNITS, N_PERIODS)))


def panel(outcome, *, n_treated=2, start=START, scale="linear"):
    n_units, n_periods = outcome.shape
    treated = (np.arange(n_units) < n_treated)[:, None] & (np.arange(n_periods) >= start)
    return Panel(
        outcome=outcome,
        treated=treated,
        units=tuple(f"u{i:02d}" for i in range(n_units)),
        periods=tuple(range(1, n_periods + 1)),
        scale=scale,
    )


def findings(data):
    _, record = audit(data, ANY, method="did", on_missing="error")
    return [finding for finding in record.findings if finding.code == "CB-D031"]


def cells(data):
    found = outliers(data)
    return set(zip(found.rows.tolist(), found.columns.tolist(), strict=True))


def test_nothing_stands_out_of_a_clean_panel():
    assert findings(panel(sales())) == []


@pytest.mark.parametrize("column", [0, 1, 20, N_PERIODS - 2, N_PERIODS - 1])
@pytest.mark.parametrize("factor", [0.0, 0.3, 2.0], ids=["zero", "partial", "double"])
def test_one_day_is_named_with_its_value_and_robust_z(column, factor):
    outcome = sales()
    outcome[7, column] *= factor
    (finding,) = findings(panel(outcome))
    assert (finding.severity, finding.count, finding.units) == ("warning", 1, ("u07",))
    assert finding.message.startswith(f"1 cell stands out from their neighbours in time: u07 at {column + 1} (")
    assert f"robust z {'+' if factor > 1 else '-'}" in finding.message
    assert finding.action == "kept; look for outages, double loads or one-off events"


def test_nothing_is_removed():
    outcome = sales()
    outcome[7, 20] = 0
    used, _ = audit(panel(outcome), ANY, method="did")
    assert used.outcome.tolist() == outcome.tolist()


def test_the_most_extreme_comes_first_and_all_are_counted():
    outcome = sales()
    for row in range(5, 12):
        outcome[row, row] *= 2 + row
    (finding,) = findings(panel(outcome))
    assert finding.count == 7
    assert finding.units == tuple(f"u{row:02d}" for row in range(5, 12))
    scores = np.abs(outliers(panel(outcome)).scores)
    assert (np.diff(scores) <= 0).all()


def test_outage_of_several_days_is_found():
    outcome = sales()
    outcome[9, 10:13] = 0
    assert cells(panel(outcome)) == {(9, 10), (9, 11), (9, 12)}


@pytest.mark.parametrize("rows", [slice(2, 30), slice(2, 12)], ids=["everybody", "a third"])
def test_outage_of_many_units_is_a_period(rows):
    outcome = sales()
    outcome[rows, 15:17] = 0
    (finding,) = findings(panel(outcome))
    n_out = len(range(30)[rows])
    each = f"({n_out} of 28 units at zero)"
    assert finding.message == f"2 periods stand out from their neighbours for most units: 16 {each}, 17 {each}"
    assert finding.count == 2


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_day_counted_twice_for_everybody_is_a_period(factor):
    outcome = sales(1)
    outcome[:, 15] *= factor
    (finding,) = findings(panel(outcome))
    assert finding.message.startswith("1 period stands out from their neighbours for most units: 16 (")
    assert finding.message.endswith(" times its neighbours)")


EFFECTS = {
    "a large one that stays": lambda since: 5.0 + 0 * since,
    "one that fades": lambda since: 1 + 4 * 0.5**since,
    "one that comes and goes": lambda since: 1 + 3 * (since % 2),
    "of one period": lambda since: 1 + 5.0 * (since == 0),
    "that ends all sales": lambda since: 0.0 * since,
}


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
@pytest.mark.parametrize("start", [1, 2, START, N_PERIODS - 3, N_PERIODS - 2, N_PERIODS - 1])
def test_effect_of_a_launch_doesnt_stand_out(effect, start):
    outcome = sales()
    outcome[:2, start:] *= np.vectorize(effect)(np.arange(N_PERIODS - start))
    assert findings(panel(outcome, start=start)) == []


def test_outage_of_a_treated_unit_after_the_launch_does():
    outcome = sales()
    outcome[:2, START:] *= 1.5
    outcome[1, START + 3] = 0
    assert cells(panel(outcome)) == {(1, START + 3)}


def test_shift_that_stays_isnt_an_outlier_of_a_control_unit_either():
    outcome = sales()
    outcome[9, 12:] *= 3
    assert cells(panel(outcome)) == set()


@pytest.mark.parametrize("factor", [1e-6, 1e9])
def test_unit_of_the_outcome_changes_nothing(factor):
    outcome = sales()
    outcome[7, 20], outcome[9, 9] = 0, 4 * outcome[9, 9]
    one, other = outliers(panel(outcome)), outliers(panel(factor * outcome))
    assert cells(panel(factor * outcome)) == cells(panel(outcome)) == {(7, 20), (9, 9)}
    assert other.scores == pytest.approx(one.scores, rel=1e-9)


def test_logarithms_are_judged_as_they_are():
    outcome = sales()
    outcome[7, 20] *= 3
    assert cells(panel(np.log(outcome), scale="log")) == {(7, 20)}


def test_missing_cells_are_no_outliers_and_hide_none():
    outcome = sales()
    outcome[5, 4:9] = outcome[6, 0] = outcome[7, 18] = np.nan
    outcome[7, 25] = 0
    assert cells(panel(outcome)) == {(7, 25)}


@pytest.mark.parametrize("shape", [(2, 40), (30, 9)], ids=["two units", "nine periods"])
def test_too_small_a_panel_isnt_judged(shape):
    outcome = sales()[: shape[0], : shape[1]].copy()
    outcome[1, 3] = 0
    assert cells(panel(outcome, n_treated=1, start=shape[1] - 2)) == set()


def test_units_that_are_often_at_zero_arent_judged():
    outcome = sales()
    outcome[9, ::3] = 0
    assert cells(panel(outcome)) == set()


def test_counts_with_zeros_by_chance_dont_stand_out():
    outcome = np.random.default_rng(4).poisson(4, (N_UNITS, N_PERIODS)).astype(float)
    assert (outcome == 0).any()
    assert findings(panel(outcome)) == []


@pytest.mark.parametrize("name", ["geolift", "prop99"])
def test_shipped_launches(name, request):
    found = findings(request.getfixturevalue(name))
    # Tucson sold 839 on that Monday, between 4,560 and 2,891.
    expected = {"geolift": ["tucson at 2021-01-04 (839.0, robust z -5.4)"], "prop99": []}[name]
    assert [finding.message.partition(": ")[2] for finding in found] == expected


def test_cost_on_a_hundred_thousand_units():
    data = factor_panel(n_units=100_000, n_periods=20, n_treated=100, n_post=4, effect=1.0, rho=0.5, seed=0)
    _ = data.first_treated
    began = time.process_time()
    found = outliers(data)
    assert time.process_time() - began < 1.5  # about 0.25 s where nothing else runs
    assert len(found.rows) == 0
