"""Checks of comparisons at one time: numbers against slow oracles, verdicts on data whose answer is known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from comparison_cases import answer, confounded, run
from scipy import optimize, stats

from causalbench.artifacts import plain
from causalbench.checks import CATALOGUE as CHECKS
from causalbench.checks._comparison import comparison, effective_size
from causalbench.checks.data_subset import DataSubset, subsets
from causalbench.checks.negative_control_outcome import placebo_data
from causalbench.checks.placebo_treatment import permuted_treatments
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.marginal_sensitivity import Arm, largest_strength, quantile_regression, sharp_upper_bound
from causalbench.numerics.one_step import Form, Sample, Versions, effects, fit_logit
from causalbench.numerics.rosenbaum import largest_gamma, nearest_pairs, signed_rank_p_value
from causalbench.numerics.segments import adjusted_p_values, opposite_effects
from causalbench.numerics.sensitivity import (
    adjusted,
    benchmark_bound,
    bias,
    bounding_factor,
    e_value,
    independent_columns,
    robustness_value,
    treatment_regression,
)
from causalbench.numerics.two_period import propensity
from causalbench.report import figures
from causalbench.values import FloatArray

NAMES = [name for name in CHECKS.names() if getattr(CHECKS.load(name), "shape", "panel") == "cross-section"]
MINE = {
    "overlap",
    "covariate-balance",
    "robustness",
    "e-value",
    "rosenbaum-bounds",
    "marginal-sensitivity",
    "negative-control-outcome",
    "placebo-treatment",
    "random-common-cause",
    "data-subset",
    "segments",
}


class TestSensitivity:
    def test_regression_is_least_squares(self) -> None:
        data = confounded(60)
        design = np.column_stack([np.ones(60), data.covariates, data.treatment])
        found = treatment_regression(data.outcome, data.treatment.astype(float), data.covariates)
        beta, rest = np.linalg.lstsq(design, data.outcome, rcond=None)[:2]
        error = np.sqrt(rest[0] / (60 - 6) * np.linalg.inv(design.T @ design)[-1, -1])
        assert (found.effect, found.std_error, found.dof) == (pytest.approx(beta[-1]), pytest.approx(error), 54)

    def test_partial_r2_is_the_share_of_the_rest(self) -> None:
        data = confounded(60)
        others = np.column_stack([np.ones(60), data.covariates[:, 1:], data.treatment])

        def left(design: FloatArray, y: FloatArray) -> float:
            return float(np.linalg.lstsq(design, y, rcond=None)[1][0])

        found = treatment_regression(data.outcome, data.treatment.astype(float), data.covariates)
        expected = 1 - left(np.column_stack([others, data.covariates[:, 0]]), data.outcome) / left(others, data.outcome)
        assert found.partial_outcome[0] == pytest.approx(expected)

    def test_weights_are_repeated_rows(self) -> None:
        data = confounded(40)
        twice = np.r_[np.arange(40), np.arange(20)]
        counts = np.bincount(twice).astype(float)
        given = (data.outcome, data.treatment.astype(float), data.covariates)
        weighted = treatment_regression(*given, weights=counts)
        repeated = treatment_regression(*(array[twice] for array in given))
        assert weighted.effect == pytest.approx(repeated.effect)

    def test_columns_that_others_determine_are_left_out(self) -> None:
        x = np.random.default_rng(0).normal(size=(30, 2))
        columns = np.column_stack([x, x[:, 0] + x[:, 1], np.full(30, 7.0)])
        assert independent_columns(columns).tolist() == [True, True, False, False]

    def test_bias_bound_is_attained(self) -> None:
        """A confounder that is built to have its partial R2 moves the coefficient by exactly the bound."""
        rng = np.random.default_rng(1)
        n = 200
        d = rng.normal(size=n)
        y = d + rng.normal(size=n)
        d, y = d - d.mean(), y - y.mean()
        rest = y - d * (d @ y) / (d @ d)
        other = rng.normal(size=n)
        other -= other.mean()
        for column in (d, rest):
            other -= column * (column @ other) / (column @ column)
        unit = [v / np.linalg.norm(v) for v in (d, rest, other)]
        z = 0.5 * unit[0] + 0.6 * unit[1] + np.sqrt(1 - 0.25 - 0.36) * unit[2]
        short = treatment_regression(y, d, np.empty((n, 0)))
        long = treatment_regression(y, d, z[:, None])
        # R2 of z with d is .25; with y given d: the share of the rest of z along the rest of y.
        bound = bias(short.std_error, short.dof, with_treatment=0.25, with_outcome=0.36 / 0.75)
        assert abs(short.effect - long.effect) == pytest.approx(float(bound))

    def test_robustness_value_takes_all_of_the_effect(self) -> None:
        """Identities of Cinelli and Hazlett 2020, section 4: at (RV, RV) nothing is left, at half of it half."""
        found = treatment_regression(*_arrays(confounded(300)))
        value, half = (robustness_value(found.t_value, found.dof, share=share) for share in (1.0, 0.5))
        assert adjusted(found, with_treatment=value, with_outcome=value)[0] == pytest.approx(0, abs=1e-12)
        assert adjusted(found, with_treatment=half, with_outcome=half)[0] == pytest.approx(found.effect / 2)

    @pytest.mark.parametrize("t_value", [2.5, 5.0, 60.0])
    def test_robustness_value_at_a_level_leaves_the_critical_t(self, t_value: float) -> None:
        """Oracle: the smallest r at which some confounder with both shares at most r leaves a t at the critical value."""
        dof, level = 100, 0.95
        critical = stats.t.ppf(0.975, dof - 1)

        def worst_t(r: float) -> float:
            y = np.linspace(0, r, 4001)[:-1]
            left = t_value - np.sqrt(dof) * np.sqrt(y * r / (1 - r))
            return float((left / np.sqrt((1 - y) / (1 - r) * dof / (dof - 1))).min())

        oracle = optimize.brentq(lambda r: worst_t(r) - critical, 1e-6, 0.9999)
        assert robustness_value(t_value, dof, level=level) == pytest.approx(oracle, rel=2e-3)

    def test_nothing_is_left_to_overturn_below_the_critical_value(self) -> None:
        assert robustness_value(1.5, 100, level=0.95) == 0

    def test_impossible_benchmarks_have_no_bound(self) -> None:
        found = treatment_regression(*_arrays(confounded(300, strength=4.0)))
        assert benchmark_bound(found, 0, multiple=30, level=0.95) is None

    def test_e_value_solves_the_bounding_factor(self) -> None:
        """E is where a confounder with both risk ratios at E just explains RR (Ding, VanderWeele 2016)."""
        for ratio in (1.1, 2.0, 9.0):
            assert bounding_factor(e_value(ratio), e_value(ratio)) == pytest.approx(ratio)
            assert e_value(1 / ratio) == pytest.approx(e_value(ratio))
        with pytest.raises(ValueError, match="positive"):
            e_value(0.0)


def _arrays(data: CrossSection) -> tuple[FloatArray, FloatArray, FloatArray]:
    return data.outcome, data.treatment.astype(float), data.covariates


class TestRosenbaum:
    def test_without_bias_it_is_the_signed_rank_test(self) -> None:
        differences = np.random.default_rng(2).normal(0.3, size=40)
        expected = stats.wilcoxon(differences, alternative="greater", method="asymptotic", correction=False).pvalue
        assert signed_rank_p_value(differences) == pytest.approx(expected)

    def test_largest_gamma_is_where_the_p_value_reaches_the_level(self) -> None:
        differences = np.random.default_rng(3).normal(0.6, size=60)
        gamma = largest_gamma(differences, level=0.95)
        assert gamma > 1
        assert signed_rank_p_value(differences, gamma=gamma) == pytest.approx(0.05)

    def test_nothing_shown_is_zero(self) -> None:
        assert largest_gamma(np.array([1.0, -1.0, 2.0, -2.0]), level=0.95) == 0
        assert largest_gamma(np.zeros(12), level=0.95) == 0
        with pytest.raises(ValueError, match="at least 1"):
            signed_rank_p_value(np.ones(12), gamma=0.5)

    def test_bias_of_probabilities_is_bounded_exactly(self) -> None:
        """Oracle: thirty pairs whose signs are drawn under p = gamma / (1 + gamma), the tail with half of its ties."""
        differences, gamma = np.arange(1.0, 31.0) * np.r_[np.ones(24), -np.ones(6)], 1.5
        rng = np.random.default_rng(4)
        ranks = np.arange(1.0, 31.0)
        signs = rng.random((200_000, 30)) < gamma / (1 + gamma)
        drawn, found = signs @ ranks, ranks[differences > 0].sum()
        exact = (drawn > found).mean() + (drawn == found).mean() / 2
        # Monte Carlo error .0011 at p about .3; the rest is the normal approximation's.
        assert signed_rank_p_value(differences, gamma=gamma) == pytest.approx(exact, abs=0.01)

    def test_pairs_are_the_nearest_free_ones(self) -> None:
        rng = np.random.default_rng(5)
        treated, control = rng.normal(0.5, 1, 30), rng.normal(size=50)
        free, expected = set(range(50)), []
        for i in np.argsort(-treated):
            j = min(free, key=lambda j: abs(control[j] - treated[i]))
            if abs(control[j] - treated[i]) <= 0.3:
                expected.append([int(i), j])
                free.remove(j)
        assert nearest_pairs(treated, control, caliper=0.3).tolist() == expected


class TestMarginalSensitivity:
    @pytest.mark.parametrize("strength", [1.0, 1.3, 4.0])
    def test_extremes_are_those_over_all_corners(self, strength: float) -> None:
        rng = np.random.default_rng(6)
        y, fixed, variable = rng.normal(size=11), rng.random((3, 11)), rng.random((3, 11))
        arm = Arm.of(y, fixed=fixed, variable=variable)
        for row in range(3):
            corners = itertools.product((1 / strength, strength), repeat=11)
            weights = fixed[row] + variable[row] * np.array(list(corners))
            means = weights @ y / weights.sum(axis=1)
            assert arm.highest(strength)[row] == pytest.approx(means.max())
            assert arm.lowest(strength)[row] == pytest.approx(means.min())

    def test_sharp_bound_is_the_linear_programme_with_balanced_covariates(self) -> None:
        """Dorn, Guo 2023: primal by HiGHS; the dual at an approximate quantile regression is above by less than 1e-3."""
        rng = np.random.default_rng(7)
        n, strength = 300, 2.0
        x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
        y, w = x @ [0.0, 1.0, 2.0] + rng.normal(size=n), rng.random(n)
        solved = optimize.linprog(
            -(w * y), A_eq=(x * w[:, None]).T, b_eq=x.T @ w, bounds=[(1 / strength, strength)] * n
        )
        primal = -solved.fun / w.sum()
        fitted = quantile_regression(y, x, weights=w, share=strength / (1 + strength))
        dual = sharp_upper_bound(y, fitted, fixed=0.0, variable=w[None], total=w.sum(), strength=strength)[0]
        loose = Arm.of(y, fixed=np.zeros((1, n)), variable=w[None]).highest(strength)[0]
        assert primal <= dual + 1e-9
        assert dual - primal < 1e-3
        assert dual < loose

    def test_any_quantile_gives_a_bound(self) -> None:
        rng = np.random.default_rng(8)
        y, w = rng.normal(size=50), rng.random((1, 50))
        at = [
            sharp_upper_bound(y, np.full(50, q), fixed=0.0, variable=w, total=w.sum(), strength=1.5)[0]
            for q in np.linspace(-2, 2, 41)
        ]
        primal = optimize.linprog(-(w[0] * y), A_eq=w, b_eq=[w.sum()], bounds=[(1 / 1.5, 1.5)] * 50)
        assert min(at) >= -primal.fun / w.sum() - 1e-9

    def test_strength_is_found_between_its_ends(self) -> None:
        assert largest_strength(lambda _: True, most=20.0) == 1
        assert largest_strength(lambda _: False, most=20.0) == 20
        assert largest_strength(lambda value: value > 7, most=20.0) == pytest.approx(7, rel=1e-3)


def exact_effect(data: CrossSection, treatment: FloatArray, weights: FloatArray, form: Form, estimand: str) -> float:
    """Refit everything to convergence: the oracle of the one-step versions."""
    x = np.column_stack([np.ones(len(treatment)), data.covariates])
    if form == "common":
        root, both = np.sqrt(weights), np.column_stack([x, treatment])
        return float(np.linalg.lstsq(both * root[:, None], data.outcome * root, rcond=None)[0][-1])
    odds = x @ fit_logit(x, treatment, weights)
    p = np.full(len(x), 0.5) if form == "regression" else 1 / (1 + np.exp(-odds))
    fits = [np.zeros(len(x))] * 2
    if form != "ipw":
        roots = [np.sqrt(weights * arm) for arm in (1 - treatment, treatment)]
        fits = [x @ np.linalg.lstsq(x * r[:, None], data.outcome * r, rcond=None)[0] for r in roots]
    y0, y1 = (data.outcome - fit for fit in fits)
    if estimand == "att":
        first = np.average(y0, weights=weights * treatment)
        return float(first - np.average(y0, weights=weights * (1 - treatment) * p / (1 - p)))
    base = np.average(fits[1] - fits[0], weights=weights)
    first = np.average(y1, weights=weights * treatment / p)
    return float(base + first - np.average(y0, weights=weights * (1 - treatment) / (1 - p)))


@pytest.mark.parametrize("estimand", ["att", "ate"])
@pytest.mark.parametrize("form", ["aipw", "ipw", "regression", "common"])
def test_versions_are_those_of_full_refits(form: Form, estimand: str) -> None:
    data = confounded(1500, n_covariates=3, seed=9)
    rng = np.random.default_rng(10)
    d, ones = data.treatment.astype(float), np.ones(1500)
    sample = Sample(design=np.column_stack([ones, data.covariates]), outcome=data.outcome, treatment=d, weights=ones)
    masks = (rng.random((6, 1500)) < 0.8).astype(float)
    permuted = np.array([rng.permutation(d) for _ in range(6)])
    noise = rng.normal(size=(6, 1500))
    near = {"rtol": 0, "atol": 2e-4}  # a fraction of a percent of the standard error, about .06
    found = {
        "weights": effects(sample, Versions(weights=masks), form=form, estimand=estimand)[:, 0],
        "treatment": effects(sample, Versions(treatment=permuted), form=form, estimand=estimand)[:, 0],
        "extra": effects(sample, Versions(extra=noise), form=form, estimand=estimand)[:, 0],
    }
    np.testing.assert_allclose(found["weights"], [exact_effect(data, d, m, form, estimand) for m in masks], **near)
    np.testing.assert_allclose(
        found["treatment"], [exact_effect(data, v, ones, form, estimand) for v in permuted], **near
    )
    wider = [
        replace(data, covariates=np.column_stack([data.covariates, z]), names=(*data.names, "noise")) for z in noise
    ]
    np.testing.assert_allclose(found["extra"], [exact_effect(w, d, ones, form, estimand) for w in wider], **near)


def test_logit_is_fitted_to_the_end_where_a_unit_lies_far_out() -> None:
    """Log odds of -100 at a finite optimum: only the likelihood tells that nothing is left to gain."""
    data = confounded(300, seed=11)
    x = data.covariates.copy()
    x[np.flatnonzero(~data.treatment)[0], 0] = -150.0
    design = np.column_stack([np.ones(300), x])
    exact = propensity(data.treatment, design, np.ones(300)).coefficients
    assert np.abs(design @ exact).max() > 60
    np.testing.assert_allclose(fit_logit(design, data.treatment.astype(float), np.ones(300)), exact, atol=1e-5)


def test_versions_near_separation_are_fitted_to_the_end() -> None:
    data = confounded(300, strength=4.0, seed=11)
    d = data.treatment.astype(float)
    sample = Sample(
        design=np.column_stack([np.ones(300), data.covariates]), outcome=data.outcome, treatment=d, weights=np.ones(300)
    )
    masks = (np.random.default_rng(12).random((20, 300)) < 0.8).astype(float)
    found = effects(sample, Versions(weights=masks), form="aipw", estimand="att")
    exact = [exact_effect(data, d, mask, "aipw", "att") for mask in masks]
    np.testing.assert_allclose(found[:, 0], exact, rtol=0, atol=0.2 * found[:, 1].max())


class TestGroups:
    def test_false_discovery_rate_is_scipys(self) -> None:
        p = np.random.default_rng(13).random(9) ** 2
        np.testing.assert_allclose(adjusted_p_values(p), stats.false_discovery_control(p))
        assert adjusted_p_values(np.empty(0)).shape == (0,)

    def test_opposite_signs_statistic_is_the_distance_to_the_nearer_orthant(self) -> None:
        effects_, errors = np.array([1.0, -2.0, 3.0]), np.array([0.5, 1.0, 2.0])
        z = effects_ / errors
        distances = [optimize.nnls(np.eye(3), sign * z)[1] ** 2 for sign in (1, -1)]
        assert opposite_effects(effects_, errors)[0] == pytest.approx(min(distances))

    def test_effects_of_one_sign_are_never_opposite(self) -> None:
        assert opposite_effects(np.array([1.0, 5.0, 0.2]), np.ones(3)) == (0.0, 1.0)


def test_every_check_says_which_data_it_is_about() -> None:
    assert set(NAMES) >= MINE


class TestVerdicts:
    @pytest.mark.parametrize("name", sorted(MINE - {"segments", "rosenbaum-bounds"}))
    @pytest.mark.parametrize("estimand", ["att", "ate"])
    def test_a_sound_comparison_passes(self, name: str, estimand: str) -> None:
        data = confounded(1500, effect=2.0, past=True, seed=14)
        result = run(name, data, estimand=estimand)
        assert result is not None
        assert (result.name, result.verdict) == (name, "pass"), result.reason
        assert result.reason.endswith(".")
        plain(result)  # holds nothing but what JSON can

    def test_no_overlap_fails(self) -> None:
        result = run("overlap", confounded(600, strength=6.0))
        assert result is not None
        assert result.verdict == "fail"
        assert result.statistic is not None
        assert result.statistic < 30

    def test_a_small_experiment_is_reviewed_not_failed(self) -> None:
        """Twenty controls that all count the same are few, but they overlap."""
        rng = np.random.default_rng(15)
        data = replace(confounded(40), treatment=np.arange(40) % 2 == 0, covariates=rng.normal(size=(40, 4)))
        result = run("overlap", data)
        assert result is not None
        assert result.verdict == "review"

    @pytest.mark.parametrize("estimand", ["att", "ate"])
    def test_arms_that_a_covariate_separates_do_not_overlap(self, estimand: str) -> None:
        """For everybody all weights are one then, so that the effective numbers alone look sound."""
        data = confounded(400)
        apart = data.covariates + 20 * data.treatment[:, None]
        result = run("overlap", replace(data, covariates=apart), method="regression", estimand=estimand)
        assert result is not None
        assert (result.verdict, result.table["share_outside"]) == ("fail", 1.0)
        assert "nobody in the other group comes near" in result.reason

    @pytest.mark.parametrize("estimand", ["att", "ate"])
    def test_matches_are_weighed_by_how_often_they_are_used(self, estimand: str) -> None:
        data = confounded(400)
        estimator, _ = answer(data, method="matching", estimand=estimand)
        found = comparison(estimator, data)
        assert found is not None
        control = ~data.treatment
        about = data.n_treated if estimand == "att" else 400
        assert found.weights[control].sum() == pytest.approx(about)
        result, balance = (
            run(name, data, method="matching", estimand=estimand) for name in ("overlap", "covariate-balance")
        )
        assert result is not None
        assert result.table["ess_control"] == pytest.approx(effective_size(found.weights[control]))
        assert balance is not None
        row = next(row for row in balance.table["covariates"] if row["name"] == "x0")
        sizes = [np.average(data.covariates[arm, 0], weights=found.weights[arm]) for arm in (data.treatment, control)]
        spread = np.sqrt(np.mean([data.covariates[arm, 0].var() for arm in (data.treatment, control)]))
        assert row["after"] == pytest.approx((sizes[0] - sizes[1]) / spread)

    def test_effective_size_counts_equal_weights(self) -> None:
        assert effective_size(np.full(7, 3.0)) == pytest.approx(7)
        assert effective_size(np.array([1.0, 0.0, 0.0])) == 1

    def test_missing_confounder_fails_the_placebo(self) -> None:
        data = confounded(1500, past=True, strength=1.0)
        blind = replace(data, covariates=data.covariates[:, 2:], names=data.names[2:])
        result = run("negative-control-outcome", blind)
        assert result is not None
        assert result.verdict == "fail"
        assert result.table["effect"] > 0

    def test_placebo_that_says_little_is_reviewed(self) -> None:
        data = confounded(120, past=True, effect=0.1)
        noisy = replace(data, before=20 * np.random.default_rng(16).normal(size=120))
        result = run("negative-control-outcome", noisy)
        assert result is not None
        assert result.verdict == "review"

    def test_placebo_leaves_out_the_past_in_another_guise(self) -> None:
        data = confounded(100, past=True)
        assert data.before is not None
        guises = [data.before, -(data.before**3), (data.before > 0).astype(float), data.covariates[:, 0]]
        wide = replace(data, covariates=np.column_stack(guises), names=("same", "cube", "sign", "other"))
        placebo, left_out = placebo_data(wide)
        assert left_out == ("same", "cube", "sign")
        assert placebo.names == ("other",)
        assert placebo.before is None

    def test_squares_of_what_the_placebo_leaves_out_go_with_it(self) -> None:
        data = confounded(400, past=True)
        assert data.before is not None
        wide = replace(data, covariates=np.column_stack([data.covariates, data.before]), names=(*data.names, "past"))
        result = run("negative-control-outcome", wide, squares=("x0", "past"))
        assert result is not None
        assert result.table["left_out"] == ["past"]

    @pytest.mark.parametrize("learner", ["forest", "boosting"])
    def test_overlap_is_that_of_the_learner(self, learner: str) -> None:
        """A treatment that a logit can't see, and trees can: the middle of a covariate is all but always treated."""
        rng = np.random.default_rng(19)
        x = rng.normal(size=(1200, 1))
        taken = rng.random(1200) < np.where(np.abs(x[:, 0]) < 0.7, 0.97, 0.03)
        data = CrossSection(outcome=rng.normal(size=1200), treatment=taken, covariates=x, names=("x",))
        plainly, learned = (run("overlap", data, learner=name) for name in ("linear", learner))
        assert plainly is not None
        assert learned is not None
        assert plainly.verdict == "pass"
        assert learned.table["ess_control"] < plainly.table["ess_control"] / 3

    def test_trimmed_units_are_left_out_of_checks(self) -> None:
        data = confounded(600, strength=2.0)
        every, some = (run("overlap", data, trim=trim) for trim in (0.0, 0.1))
        assert every is not None
        assert some is not None
        assert some.table["n_treated"] < every.table["n_treated"]
        assert some.table["quantiles_treated"][-1] <= 0.95

    def test_placebo_outcome_needs_a_past(self) -> None:
        for data, options in ((confounded(), {}), (confounded(past=True), {"method": "dr-did"})):
            result = run("negative-control-outcome", data, **options)
            assert result is not None
            assert result.verdict == "not_evaluable"
            assert result.remedy

    def test_clusters_taken_for_units_are_noticed(self) -> None:
        """Treatment and outcome share whole clusters: errors by unit reject placebos far too often, by cluster they don't."""
        rng = np.random.default_rng(17)
        codes = np.repeat(np.arange(60), 20)
        data = CrossSection(
            outcome=rng.normal(size=60)[codes] + 0.5 * rng.normal(size=1200),
            treatment=codes % 2 == 0,
            covariates=rng.normal(size=(1200, 1)),
            names=("x",),
            cluster=tuple(f"c{code:02d}" for code in codes),
        )
        estimator, _ = answer(data)
        found = comparison(estimator, data)
        assert found is not None
        permuted = permuted_treatments(found, 200, rng)
        assert permuted is not None
        by_unit = effects(replace(found.sample, codes=None), Versions(treatment=permuted), form="aipw", estimand="att")
        assert (np.abs(by_unit[:, 0] / by_unit[:, 1]) > 1.96).mean() > 0.3
        result = run("placebo-treatment", data)
        assert result is not None
        assert result.verdict == "pass"

    def test_permutations_keep_the_number_of_treated(self) -> None:
        data = confounded(50)
        found = comparison(answer(data)[0], data)
        assert found is not None
        permuted = permuted_treatments(found, 5, np.random.default_rng(0))
        assert permuted is not None
        assert permuted.sum(axis=1).tolist() == [data.n_treated] * 5

    def test_subsets_have_their_size(self) -> None:
        data = confounded(50)
        found = comparison(answer(data)[0], data)
        assert found is not None
        masks, share = subsets(found, 4, np.random.default_rng(0))
        assert share == 0.8
        assert masks.sum(axis=1).tolist() == [40] * 4

    def test_covariates_of_a_rare_outcome_are_measured_as_the_effect_is(self) -> None:
        """An outcome of 0 and 1 has risk ratios; 2% against 1% are twice as many, and hardly a tenth of a deviation."""
        rng = np.random.default_rng(17)
        old, taken = rng.random(40_000) < 0.5, rng.random(40_000) < 0.5
        hit = rng.random(40_000) < np.where(old, 0.04, 0.01) * np.where(taken, 1.5, 1.0)
        data = CrossSection(
            outcome=hit.astype(float), treatment=taken, covariates=old[:, None].astype(float), names=("old",)
        )
        result = run("e-value", data)
        assert result is not None
        among = [(hit & old & arm).sum() / (old & arm).sum() for arm in (taken, ~taken)]
        rest = [(hit & ~old & arm).sum() / (~old & arm).sum() for arm in (taken, ~taken)]
        ratio = max(a / b for a, b in zip(among, rest, strict=True))
        shares = [old[taken].mean(), old[~taken].mean()]
        imbalance = max(max(shares) / min(shares), (1 - min(shares)) / (1 - max(shares)))
        assert result.table["covariates"][0]["factor"] == pytest.approx(bounding_factor(imbalance, ratio))

    def test_matching_is_not_judged_by_what_stands_in_for_it(self) -> None:
        data = confounded(400, past=True)
        subset = run("data-subset", data, method="matching")
        assert subset is not None
        assert subset.verdict == "not_evaluable"
        for name in ("placebo-treatment", "random-common-cause"):
            matched, trees = run(name, data, method="matching"), run(name, data, learner="boosting", folds=2)
            assert matched is not None
            assert "Regression by arm stands in" in matched.reason
            assert trees is not None
            assert "stand in for the learner" in trees.reason

    def test_an_error_that_is_too_small_is_noticed(self) -> None:
        data = confounded(800)
        estimator, estimate = answer(data)
        assert estimate.std_error is not None
        halved = replace(estimate, std_error=estimate.std_error / 2)
        result = DataSubset().run(estimator, data, halved, rng=np.random.default_rng(0))
        assert result is not None
        assert result.verdict == "fail"

    def test_noise_moves_a_fit_with_few_units(self) -> None:
        result = run("random-common-cause", confounded(24, n_covariates=7, strength=0.1))
        assert result is not None
        assert result.verdict != "pass"

    @pytest.mark.parametrize("outcome", ["constant", "a covariate", "the treatment"])
    def test_an_outcome_without_anything_left_is_no_evidence(self, outcome: str) -> None:
        data = confounded(400)
        values = {"constant": np.full(400, 5.0), "a covariate": data.covariates[:, 0], "the treatment": data.treatment}
        for name in ("robustness", "placebo-treatment"):
            result = run(name, replace(data, outcome=values[outcome].astype(float)))
            assert result is not None
            assert result.verdict == "not_evaluable", name

    def test_no_effect_leaves_nothing_to_overturn(self) -> None:
        for name in ("robustness", "e-value", "marginal-sensitivity"):
            result = run(name, confounded(400, effect=0.0, seed=1))
            assert result is not None
            assert result.verdict == "not_evaluable", name

    def test_rosenbaum_is_asked_of_matched_pairs_only(self) -> None:
        data = confounded(1500, effect=2.0)
        assert run("rosenbaum-bounds", data) is None
        result = run("rosenbaum-bounds", data, method="matching")
        assert result is not None
        assert result.verdict == "pass"
        assert run("marginal-sensitivity", data, method="matching") is None

    def test_rosenbaum_follows_the_sign(self) -> None:
        data = confounded(600, effect=2.0)
        turned = replace(data, outcome=-data.outcome)
        both = [run("rosenbaum-bounds", d, method="matching") for d in (data, turned)]
        assert both[0] is not None
        assert both[1] is not None
        assert both[0].statistic == pytest.approx(both[1].statistic)

    def test_balance_finds_the_covariate_that_drives_treatment(self) -> None:
        result = run("covariate-balance", confounded(2000, strength=1.0))
        assert result is not None
        rows = {row["name"]: row for row in result.table["covariates"]}
        assert min(rows["x0"]["before"], rows["x1"]["before"]) > 0.3
        assert abs(rows["x0"]["after"]) < 0.1

    def test_without_covariates_balance_has_no_question(self) -> None:
        data = replace(confounded(200), covariates=np.empty((200, 0)), names=())
        result = run("covariate-balance", data)
        assert result is not None
        assert result.verdict == "not_evaluable"

    def test_e_value_of_zeros_and_ones_is_that_of_the_risk_ratio(self) -> None:
        rng = np.random.default_rng(18)
        taken = np.arange(4000) % 2 == 0
        outcome = (rng.random(4000) < np.where(taken, 0.4, 0.2)).astype(float)
        data = CrossSection(outcome=outcome, treatment=taken, covariates=rng.normal(size=(4000, 1)), names=("x",))
        result = run("e-value", data)
        assert result is not None
        ratio = outcome[taken].mean() / outcome[~taken].mean()
        assert result.table["risk_ratio"] == pytest.approx(ratio, rel=0.03)  # up to the regression on x
        assert result.table["e_value"] == pytest.approx(e_value(result.table["risk_ratio"]))

    def test_unknown_estimators_are_not_asked(self) -> None:
        _, estimate = answer(confounded())
        for name in MINE:
            assert CHECKS.create(name).run(object(), confounded(), estimate, rng=np.random.default_rng(0)) is None

    def test_row_order_and_seed_decide_nothing_else(self) -> None:
        data = confounded(300, past=True)
        for name in sorted(MINE):
            first, second = (run(name, data) for _ in range(2))
            assert plain(first) == plain(second)


def two_groups(effects_: tuple[float, float], *, n: int = 2000, seed: int = 0) -> CrossSection:
    """Scenario A8: new users and power users, with effects of their own."""
    rng = np.random.default_rng(seed)
    power, x = np.arange(n) % 2 == 1, rng.normal(size=n)
    taken = rng.random(n) < 1 / (1 + np.exp(-0.5 * x))
    outcome = 100 + 5 * x + np.where(power, effects_[1], effects_[0]) * taken + 15 * rng.normal(size=n)
    covariates = np.column_stack([x, power])
    return CrossSection(outcome=outcome, treatment=taken, covariates=covariates, names=("x", "users=power"))


class TestSegments:
    def test_a_null_that_hides_two_effects(self) -> None:
        """A8: +6% and -6% average to nothing, and that isn't a null."""
        data = two_groups((6.0, -6.0))
        _, estimate = answer(data)
        assert estimate.interval is not None
        assert estimate.interval.contains(0.0)
        result = run("segments", data)
        assert result is not None
        assert result.verdict == "review"
        assert result.reason.startswith("Not null: opposite effects")
        assert [row["segment"] for row in result.table["segments"]] == ["another", "power"]
        assert all(row["adjusted_p_value"] < 0.05 for row in result.table["segments"])

    def test_effects_alike_pass(self) -> None:
        result = run("segments", two_groups((6.0, 6.0)))
        assert result is not None
        assert result.verdict == "pass"

    def test_small_groups_are_named_not_judged(self) -> None:
        data = two_groups((6.0, -6.0), n=400)
        rare = np.zeros(400)
        rare[:10] = 1
        data = replace(data, covariates=np.column_stack([data.covariates, rare]), names=(*data.names, "rare"))
        result = run("segments", data)
        assert result is not None
        assert result.table["left_out"] == ["rare = 1"]

    def test_groups_of_a_text_column_have_the_names_of_its_levels(self) -> None:
        drawn = two_groups((6.0, 6.0))
        table = pd.DataFrame(
            {
                "sales": drawn.outcome,
                "took": drawn.treatment,
                "users": np.where(drawn.covariates[:, 1] == 1, "power", "light"),
                "a=b": drawn.covariates[:, 0],
            }
        )
        data = CrossSection.from_table(table, outcome="sales", treatment="took", covariates=["users", "a=b"])
        result = run("segments", data)
        assert result is not None
        assert [row["segment"] for row in result.table["segments"]] == ["light", "power"]

    def test_numbers_are_no_groups(self) -> None:
        assert run("segments", confounded()) is None


class TestFigures:
    def evidence(self, data: CrossSection) -> dict[str, object]:
        _, estimate = answer(data)
        results = [run(name, data) for name in sorted(MINE)]
        return {
            "estimates": [estimate.to_dict()],
            "checks": {data.metric: [plain(result) for result in results if result is not None]},
        }

    @pytest.mark.parametrize(
        "name", ["refutation_card", "propensity_overlap", "love_plot", "sensitivity_contours", "segments"]
    )
    def test_each_is_drawn_from_its_check_and_says_it_in_words(self, name: str) -> None:
        module = {m.__name__.rpartition(".")[2]: m for m in figures._modules()}[name]
        drawing = module.draw(self.evidence(two_groups((6.0, -6.0), n=400)), "outcome")
        assert drawing is not None
        assert drawing.name == name
        assert drawing.svg.startswith("<?xml")
        assert len(drawing.alt) > 40
        assert module.draw({"estimates": [], "checks": {"outcome": []}}, "outcome") is None
