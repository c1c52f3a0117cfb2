"""The t-test, placebos in time, iid conformal and prediction intervals against slow and obvious second computations."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from causalbench.checks import CATALOGUE as CHECKS
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, staggered_panel
from causalbench.errors import ConvergenceError, RefusalError
from causalbench.estimators import Did, SyntheticControl
from causalbench.inference import Conformal, PlaceboInTime, Prediction, TTest
from causalbench.inference.conformal import permuted_p_values
from causalbench.inference.prediction import mean_noise
from causalbench.numerics.persistence import LIMITS, persistence
from causalbench.values import Fit, FloatArray, Uncertainty, rejects
from causalbench.workflow.estimate import estimate

LEVELS = pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
every_time_inference = pytest.mark.parametrize(
    "inference", [TTest(), PlaceboInTime(), Prediction(), Conformal(), Conformal(scheme="iid")], ids=repr
)


@pytest.fixture
def any_persistence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the refusal of persistent gaps, where a test is about arithmetic."""
    for name in LIMITS:
        monkeypatch.setitem(LIMITS, name, (1.0, 1.0))


def simulated(
    *, n_units: int = 8, n_treated: int = 1, n_periods: int = 40, n_post: int = 6, seed: int = 0, rho: float = 0.2
) -> Panel:
    return factor_panel(
        n_units=n_units, n_periods=n_periods, n_treated=n_treated, n_post=n_post, effect=1.0, rho=rho, seed=seed
    )


def without(panel: Panel, effect: float) -> Panel:
    return replace(panel, outcome=panel.outcome - effect * panel.treated)


def infer(inference: Any, estimator: Any, panel: Panel, *, level: float = 0.9, seed: int = 0) -> Uncertainty:
    found = inference.infer(estimator, panel, estimator.fit(panel), level=level, rng=np.random.default_rng(seed))
    assert isinstance(found, Uncertainty)
    return found


def general_weights(target: FloatArray, donors: FloatArray) -> FloatArray:
    """Fit simplex weights with a general solver; target (T,), donors (n, T)."""
    n = len(donors)
    fit = minimize(
        lambda w: ((target - w @ donors) ** 2).sum(),
        np.full(n, 1 / n),
        jac=lambda w: -2 * donors @ (target - w @ donors),
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 2000},
    )
    return np.asarray(fit.x)


@pytest.mark.usefixtures("any_persistence")
@every_time_inference
@LEVELS
def test_set_is_what_testing_each_effect_gives(inference: Any, level: float) -> None:
    panel, estimator = simulated(seed=3, n_post=4), SyntheticControl()
    found = infer(inference, estimator, panel, level=level)
    assert found.interval is not None
    width = 4 * float(np.ptp(estimator.fit(panel).path.effect))
    inside = []
    for tau in estimator.fit(panel).effect + np.linspace(-width, width, 9) + 1e-3:
        p_value = infer(inference, estimator, without(panel, tau), level=level).p_value
        assert p_value is not None
        inside.append(found.interval.contains(tau))
        assert inside[-1] != rejects(p_value, level), f"effect {tau}"
    assert any(inside)


@pytest.mark.usefixtures("any_persistence")
@pytest.mark.parametrize("n_treated", [1, 3])
@pytest.mark.parametrize(("n_periods", "n_post", "n_blocks"), [(40, 6, 3), (25, 9, 3), (41, 5, 4), (30, 4, 2)])
@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
def test_t_test_is_the_formula_with_a_general_solver(
    n_treated: int, n_periods: int, n_post: int, n_blocks: int, fixed_effects: Any
) -> None:
    panel = simulated(n_treated=n_treated, n_periods=n_periods, n_post=n_post, seed=n_periods)
    n_pre, treated = panel.n_pre, panel.outcome[panel.ever_treated].mean(axis=0)
    donors, length = panel.outcome[~panel.ever_treated], min(panel.n_pre // n_blocks, n_post)
    found, history = [], np.arange(n_pre)
    for block in np.split(history[n_pre - n_blocks * length :], n_blocks):
        rest = np.setdiff1d(history, block)
        y, x = treated[rest], donors[:, rest]
        if fixed_effects == "unit":
            y, x = y - y.mean(), x - x.mean(axis=1, keepdims=True)
        gap = treated - general_weights(y, x) @ donors
        found.append(gap[n_pre:].mean() - gap[block].mean())
    debiased = float(np.mean(found))
    std_error = math.sqrt(1 + n_blocks * length / n_post) * float(np.std(found, ddof=1)) / math.sqrt(n_blocks)
    answer = infer(TTest(n_blocks=n_blocks), SyntheticControl(fixed_effects=fixed_effects), panel, level=0.9)
    assert answer.detail["debiased"] == pytest.approx(debiased, abs=1e-5)
    assert answer.std_error == pytest.approx(std_error, rel=1e-4)
    assert answer.p_value == pytest.approx(2 * stats.t.sf(abs(debiased / std_error), n_blocks - 1), rel=1e-3)
    assert answer.interval is not None
    reach = stats.t.ppf(0.95, n_blocks - 1) * std_error
    assert answer.interval.segments[0] == pytest.approx((debiased - reach, debiased + reach), abs=1e-3)


def test_t_test_says_that_its_interval_is_around_another_number() -> None:
    panel = simulated(seed=1)
    answer = estimate(panel, "synthetic-control", inference="t-test", level=0.9)
    (warning,) = [warning for warning in answer.warnings if "debiased" in warning]
    assert f"debiased estimate {answer.detail['debiased']:.4f}"[:22] in warning
    assert answer.detail["debiased"] != pytest.approx(answer.value)
    assert answer.detail["df"] == 2.0


def test_t_test_refuses_a_history_that_leaves_nothing() -> None:
    with pytest.raises(RefusalError, match="2 periods before the launch can't be left out in 3 blocks"):
        infer(TTest(), SyntheticControl(), simulated(n_periods=8, n_post=6))
    with pytest.raises(RefusalError, match="no donor weights"):
        infer(TTest(), Did(), simulated())
    with pytest.raises(ValueError, match="must be at least 2"):
        TTest(n_blocks=1)


@pytest.mark.parametrize(("n_periods", "n_post", "n_treated"), [(40, 6, 1), (30, 3, 2), (26, 8, 1)])
def test_placebos_in_time_are_fits_on_the_periods_before(n_periods: int, n_post: int, n_treated: int) -> None:
    panel = simulated(n_periods=n_periods, n_post=n_post, n_treated=n_treated, seed=n_post)
    treated, donors = panel.outcome[panel.ever_treated].mean(axis=0), panel.outcome[~panel.ever_treated]
    mocks = []
    for start in range(panel.n_pre // 5, panel.n_pre - n_post + 1):
        weights = general_weights(treated[:start], donors[:, :start])
        mocks.append(abs(float((treated - weights @ donors)[start : start + n_post].mean())))
    answer = infer(PlaceboInTime(), SyntheticControl(), panel, level=0.8)
    effect = SyntheticControl().fit(panel).effect
    assert answer.detail["n_mock_launches"] == len(mocks)
    assert answer.p_value == pytest.approx((2 + sum(mock >= abs(effect) for mock in mocks)) / (2 + len(mocks)))
    assert answer.interval is not None
    allowed = math.floor(0.2 * (2 + len(mocks)) + 1e-9) - 2
    reach = sorted(mocks)[::-1][allowed] if allowed >= 0 else math.inf
    assert answer.interval.segments[0] == pytest.approx((effect - reach, effect + reach), abs=1e-4)


def test_placebos_in_time_work_for_every_method_that_can_be_refitted() -> None:
    panel = simulated(n_periods=60, n_post=5)
    change = panel.outcome[panel.ever_treated].mean(axis=0) - panel.outcome[~panel.ever_treated].mean(axis=0)
    mocks = [
        abs(float(change[start : start + 5].mean() - change[:start].mean())) for start in range(11, panel.n_pre - 4)
    ]
    effect = Did().fit(panel).effect
    expected = (2 + sum(mock >= abs(effect) for mock in mocks)) / (2 + len(mocks))
    assert infer(PlaceboInTime(), Did(), panel).p_value == pytest.approx(expected)


def test_placebos_in_time_are_at_most_199() -> None:
    panel = simulated(n_periods=330, n_post=5, n_units=5)
    # 325 - 65 - 5 + 1 = 256 possible starts, every second of them
    assert infer(PlaceboInTime(), SyntheticControl(), panel).detail["n_mock_launches"] == 128


def test_too_few_placebos_in_time_are_unbounded_and_say_so() -> None:
    found = infer(PlaceboInTime(), SyntheticControl(), simulated(n_periods=30, n_post=8), level=0.95)
    assert found.interval is not None
    assert (found.interval.lower, found.interval.upper) == (None, None)
    assert found.warnings == ("unbounded: 11 mock launches allow no p below 0.154",)  # 2 / (11 + 2)


def test_placebos_in_time_need_history_and_one_launch() -> None:
    with pytest.raises(RefusalError, match="8 periods before the launch leave no room for two mock launches of 7"):
        infer(PlaceboInTime(), SyntheticControl(), simulated(n_periods=15, n_post=7))
    staggered = staggered_panel(n_units=9, n_periods=20, launches=(12, 15), n_never=3, effect=1.0, rho=0.0, seed=0)
    with pytest.raises(
        RefusalError, match="placebo-in-time needs one before and after, the data have 2 launch dates: 13, 16"
    ):
        PlaceboInTime().infer(Did(), staggered, Did().fit(simulated()), level=0.9, rng=np.random.default_rng(0))


def test_the_check_of_one_mock_launch_is_one_of_them() -> None:
    panel = simulated(n_periods=46, n_post=6)
    answer = estimate(panel, "synthetic-control", inference="placebo-rank", level=0.9)
    check = CHECKS.create("placebo-in-time").run(SyntheticControl(), panel, answer, rng=np.random.default_rng(0))
    when = np.arange(len(panel.periods))
    mock = panel.only(periods=when < panel.n_pre).assigned_to(panel.ever_treated, start=panel.n_pre - 6)
    # The check's mock launch takes the last periods of the history, where the inference has its latest one.
    assert check.table["effect"] == pytest.approx(SyntheticControl().fit(mock).effect, rel=1e-12)


def test_iid_p_values_count_sums_of_drawn_periods() -> None:
    residuals = np.array([[3.0, -1.0, 2.0, -2.0, 1.0, 1.0]])
    chosen = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 1]], dtype=float)
    # Sums 2, 0, 5, -1 beside 2 after the launch: two of four are at least as large, and the launch itself.
    assert permuted_p_values(residuals, chosen).tolist() == [3 / 5]


@pytest.mark.usefixtures("any_persistence")
def test_iid_conformal_approaches_all_permutations() -> None:
    panel, estimator = simulated(n_periods=16, n_post=3, seed=5), SyntheticControl()
    residuals = estimator.null_residuals(panel, np.zeros(1))[0]
    every = np.array([[float(bits >> t & 1) for t in range(16)] for bits in range(2**16)])
    sums = np.abs(every[every.sum(axis=1) == 3] @ residuals)
    exact = float((sums >= abs(residuals[-3:].sum()) - 1e-9).mean())
    found = infer(Conformal(scheme="iid"), estimator, panel).p_value
    assert found == pytest.approx(exact, abs=3 * math.sqrt(exact * (1 - exact) / 2000) + 1 / 2000)


@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
@pytest.mark.parametrize("n_treated", [1, 3])
def test_prediction_bands_end_in_the_interval_of_the_average(fixed_effects: Any, n_treated: int) -> None:
    panel = simulated(n_treated=n_treated)
    found = infer(Prediction(), SyntheticControl(fixed_effects=fixed_effects), panel)
    bands, interval = found.path_bands, found.interval
    assert bands is not None
    assert interval is not None
    n_pre, n_post = panel.n_pre, panel.n_post
    assert np.isnan(bands.lower[:n_pre]).all()
    assert bands.cumulative_lower[-1] / n_post == pytest.approx(interval.segments[0][0], rel=1e-12)
    assert bands.cumulative_upper[-1] / n_post == pytest.approx(interval.segments[0][1], rel=1e-12)
    assert bands.lower[n_pre] == pytest.approx(bands.cumulative_lower[n_pre], rel=1e-9)
    effect = SyntheticControl(fixed_effects=fixed_effects).fit(panel).path.effect
    assert (bands.lower[n_pre:] < effect[n_pre:]).all()
    assert (bands.upper[n_pre:] > effect[n_pre:]).all()


def test_prediction_with_two_donors_is_a_search_along_their_line() -> None:
    panel, estimator = simulated(n_units=3, n_periods=34, n_post=4, seed=6), SyntheticControl()
    fit = estimator.fit(panel)
    assert fit.weights is not None
    n_pre, gap = panel.n_pre, fit.path.effect
    weights, donors = fit.weights[1:], panel.outcome[1:]
    assert weights.min() > 0.2  # neither weight is held at its lower bound
    freedom = n_pre - 1
    shocks = np.random.default_rng(0).standard_normal((200, n_pre)) * gap[:n_pre] * math.sqrt(n_pre / freedom)
    difference = donors[0] - donors[1]
    curve, lines = (difference[:n_pre] ** 2).sum(), shocks @ difference[:n_pre]
    # Moving d from one donor to the other is allowed from 0 to 2 G / curve, inside the simplex.
    ends = np.clip(np.sort(np.stack([np.zeros(200), 2 * lines / curve]), axis=0), -weights[0], weights[1])
    changes = np.sort(ends * difference[n_pre:].mean(), axis=0)
    centred = gap[:n_pre] - gap[:n_pre].mean()
    noise = math.sqrt((centred**2).sum() / freedom) * mean_noise(persistence(gap[:n_pre]), 4)[-1]
    reach = noise * math.sqrt(2 * math.log(4 / 0.1))
    expected = (
        fit.effect - gap[:n_pre].mean() + np.quantile(changes[0], 0.025) - reach,
        fit.effect - gap[:n_pre].mean() + np.quantile(changes[1], 0.975) + reach,
    )
    found = infer(Prediction(), estimator, panel, level=0.9)
    assert found.interval is not None
    assert found.interval.segments[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.6, 0.95])
def test_noise_of_a_mean_is_that_of_an_autoregression(rho: float) -> None:
    n = 7
    used = max(rho, 0.0)
    covariance = used ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    assert mean_noise(rho, n)[-1] == pytest.approx(math.sqrt(covariance.mean()), rel=1e-12)


def test_prediction_knows_no_p_value_below_its_draws() -> None:
    far = replace(simulated(), outcome=simulated().outcome + 50.0 * simulated().treated)
    found = infer(Prediction(), SyntheticControl(), far, level=0.95)
    assert found.p_value == pytest.approx(
        4 / 201, rel=1e-9
    )  # the smallest quantile of 200 draws, on one of two sides, for half of alpha
    assert found.warnings == ()
    surer = infer(Prediction(), SyntheticControl(), far, level=0.99)
    assert surer.interval is not None
    assert (surer.interval.lower, surer.interval.upper) == (None, None)
    assert surer.warnings == ("unbounded: 200 draws allow no p below 0.0199",)


def test_prediction_refuses_weights_that_solve_another_problem() -> None:
    panel, estimator = simulated(), SyntheticControl()
    fit = estimator.fit(panel)
    even = replace(fit, weights=np.where(panel.ever_treated, 0.0, 1 / 7))
    with pytest.raises(RefusalError, match="fitted to the outcomes before the launch alone"):
        Prediction().infer(estimator, panel, even, level=0.9, rng=np.random.default_rng(0))
    with pytest.raises(RefusalError, match="no donor weights"):
        infer(Prediction(), Did(), panel)


def perfect(panel: Panel) -> Panel:
    """Make the treated unit the mean of two donors before the launch, and one more than it after."""
    outcome = panel.outcome.copy()
    outcome[0] = outcome[1:3].mean(axis=0) + panel.treated[0]
    return replace(panel, outcome=outcome)


def test_prediction_has_no_noise_to_learn_from_a_perfect_fit() -> None:
    few, many = simulated(), simulated(n_units=30, n_periods=14, n_post=4)
    for panel in (perfect(few), perfect(replace(few, outcome=1e6 * few.outcome)), perfect(many)):
        found = infer(Prediction(), SyntheticControl(), panel)
        assert (found.interval, found.p_value, found.path_bands) == (None, None, None)
        (warning,) = found.warnings
        assert warning.startswith("not computed: the fit before the launch is perfect")
    nearly = replace(few, outcome=perfect(few).outcome + 1e-5 * few.outcome * few.ever_treated[:, None])
    assert infer(Prediction(), SyntheticControl(), nearly).interval is not None


def test_prediction_says_which_options_it_takes() -> None:
    panel, each = simulated(n_treated=3), SyntheticControl(treated_units="each")
    with pytest.raises(RefusalError, match="fitted to the outcomes before the launch alone") as refusal:
        infer(Prediction(), each, panel)
    for name in ("predictors", "penalties", "treated_units = mean", "compat = none"):
        assert name in refusal.value.remedy


@pytest.mark.parametrize("n_pre", [2, 3])
def test_prediction_needs_a_history_that_has_an_autocorrelation(n_pre: int) -> None:
    with pytest.raises(RefusalError, match=f"takes at least 4 periods, the data have {n_pre}"):
        infer(Prediction(), SyntheticControl(), simulated(n_units=3, n_periods=6 + n_pre))
    assert infer(Prediction(), SyntheticControl(), simulated(n_units=3, n_periods=10)).interval is not None


def test_a_perfect_fit_has_no_errors_to_rank_or_to_test() -> None:
    panel, estimator = perfect(simulated(n_periods=60)), SyntheticControl()
    ranked, tested = infer(PlaceboInTime(), estimator, panel), infer(TTest(), estimator, panel)
    assert (ranked.interval, ranked.p_value) == (tested.interval, tested.p_value) == (None, None)
    assert ranked.warnings[0].startswith("not computed: the fit before the launch is perfect")
    assert tested.warnings == (
        "not computed: the standard error is zero, as with a perfect fit or placebos that are all alike",
    )


def test_methods_bound_to_calendar_periods_are_refused_by_inferences_that_move_them() -> None:
    panel = simulated(n_periods=40, n_post=6)
    labels = [str(period) for period in panel.periods]
    bound = SyntheticControl(match="predictors", outcome_lags=(labels[3], f"{labels[20]}..{labels[25]}"))
    early = SyntheticControl(match="predictors", outcome_lags=(labels[3], labels[10]))
    fit = bound.fit(panel)
    # 34 periods before the launch, in three blocks of six: the first one holds period 20.
    refused = "where SyntheticControl can't be applied: outcome_lags"
    left_out = f"leaves out {labels[16]} to {labels[21]}, {refused} names {labels[20]},"
    # The first mock launch comes after a fifth of them.
    mock = f"puts a mock launch at {labels[6]}, {refused} names {labels[20]}, {labels[25]},"
    inferences: list[tuple[Any, str]] = [(TTest(), left_out), (PlaceboInTime(), mock)]
    for inference, message in inferences:
        with pytest.raises(RefusalError, match=re.escape(message)) as refusal:
            inference.infer(bound, panel, fit, level=0.9, rng=np.random.default_rng(0))
        assert refusal.value.code == "CB-D065"
        assert "placebo-rank" in refusal.value.remedy
    assert infer(TTest(), early, panel).interval is not None


def test_a_search_without_a_certificate_is_no_matter_of_periods() -> None:
    panel = simulated()
    fit = SyntheticControl().fit(panel)

    class Uncertified(SyntheticControl):
        def fit(self, data: Panel) -> Fit:
            raise ConvergenceError("no certificate")

    for inference in (TTest(), PlaceboInTime()):
        with pytest.raises(ConvergenceError, match="no certificate"):
            inference.infer(Uncertified(), panel, fit, level=0.9, rng=np.random.default_rng(0))


def trending(panel: Panel) -> Panel:
    """Add a slow wave to the treated unit, which no donor has."""
    wave = 8 * np.sin(np.arange(len(panel.periods)) / 6)
    return replace(panel, outcome=panel.outcome + wave * panel.ever_treated[:, None])


@pytest.mark.parametrize("inference", [TTest(), PlaceboInTime(), Conformal(), Conformal(scheme="iid")], ids=repr)
def test_persistent_gaps_are_refused_with_reason_and_remedy(inference: Any) -> None:
    panel = trending(simulated(n_periods=50, n_post=8))
    with pytest.raises(
        RefusalError,
        match=r"autocorrelation (0\.9|1\.0)\d?, where at most 0\.\d+ keeps.* 42 periods before and 8 after",
    ) as refusal:
        infer(inference, SyntheticControl(), panel)
    assert refusal.value.exit_code == 3
    assert "placebo-rank" in refusal.value.remedy
    assert ('scheme = "blocks"' in refusal.value.remedy) == (inference == Conformal(scheme="iid"))


def test_default_inference_avoids_what_would_be_refused() -> None:
    panel = simulated(n_periods=50, n_post=8)
    assert SyntheticControl().default_inference(panel) == "conformal"
    assert SyntheticControl().default_inference(trending(panel)) == "placebo-rank"
