"""Predictions on the way to an adjusted effect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.cross_section import CrossSection
from causalbench.errors import DataError, RefusalError
from causalbench.estimators._nuisances import design_of, folds_of, nuisances
from causalbench.estimators.adjustment import Adjustment


def people(n: int = 300, *, seed: int = 0, **changes: Any) -> CrossSection:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(40, 10, n), rng.integers(0, 4, n)])
    treated = rng.random(n) < 1 / (1 + np.exp(0.4 - 0.05 * (x[:, 0] - 40)))
    outcome = 3 + 0.1 * x[:, 0] + x[:, 1] + treated + rng.normal(size=n)
    made = CrossSection(outcome=outcome, treatment=treated, covariates=x, names=("age", "visits"))
    return replace(made, **changes)


def reordered(data: CrossSection, order: np.ndarray) -> CrossSection:
    return replace(
        data,
        outcome=data.outcome[order],
        treatment=data.treatment[order],
        covariates=data.covariates[order],
        weights=None if data.weights is None else data.weights[order],
        cluster=None if data.cluster is None else tuple(data.cluster[i] for i in order.tolist()),
    )


def test_linear_learner_is_scikit_learn_s_without_penalty() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    data = people()
    found = nuisances(data, Adjustment(estimand="ate", squares=("age",)))
    x = design_of(data, ("age",)).matrix[:, 1:]
    logit = linear_model.LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(x, data.treatment)
    np.testing.assert_allclose(found.propensity, logit.predict_proba(x)[:, 1], atol=1e-6)
    for arm, predicted in ((False, found.outcome0), (True, found.outcome1)):
        rows = data.treatment == arm
        ols = linear_model.LinearRegression().fit(x[rows], data.outcome[rows])
        np.testing.assert_allclose(predicted, ols.predict(x), rtol=1e-9)


def test_weights_balance_and_sum_to_one() -> None:
    data = people()
    for whom in ("att", "ate"):
        found = nuisances(data, Adjustment(estimand=whom))
        assert found.weights[data.treatment].sum() == pytest.approx(1)
        assert found.weights[~data.treatment].sum() == pytest.approx(1)
    found, control = nuisances(data, Adjustment()), ~data.treatment
    odds = (found.propensity / (1 - found.propensity))[control]
    np.testing.assert_allclose(found.weights[control], odds / odds.sum(), rtol=1e-12)
    np.testing.assert_allclose(found.weights[data.treatment], 1 / data.n_treated, rtol=1e-12)
    # The logit's own equations: treated and predicted covariate sums are equal.
    sums = found.propensity @ data.covariates
    np.testing.assert_allclose(sums, data.covariates[data.treatment].sum(axis=0), rtol=1e-9)


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    data, order = people(), np.random.default_rng(1).permutation(300)
    mixed = reordered(data, order)
    np.testing.assert_array_equal(folds_of(mixed, n_folds=5, seed=3), folds_of(data, n_folds=5, seed=3)[order])
    assert (folds_of(data, n_folds=5, seed=3) != folds_of(data, n_folds=5, seed=4)).any()


def test_folds_spread_the_arms_and_keep_clusters_whole() -> None:
    data = people()
    folds = folds_of(data, n_folds=5, seed=0)
    for arm in (True, False):
        counts = np.bincount(folds[data.treatment == arm])
        assert counts.max() - counts.min() <= 1
    cluster = tuple(f"c{i % 30}" for i in range(300))
    folds = folds_of(replace(data, cluster=cluster), n_folds=5, seed=0)
    assert all(len(set(folds[np.array(cluster) == name])) == 1 for name in set(cluster))
    assert set(folds) == set(range(5))


@pytest.mark.parametrize("learner", ["linear", "forest", "boosting"])
def test_a_unit_s_outcome_does_not_move_its_own_prediction(learner: Any) -> None:
    # Rows far apart in every other column keep their canonical places when one outcome changes.
    data = people()
    options = Adjustment(learner=learner, folds=3)
    unit = int(np.flatnonzero(~data.treatment)[0])
    changed = data.outcome.copy()
    changed[unit] += 1e-3
    before, after = nuisances(data, options), nuisances(replace(data, outcome=changed), options)
    folds = folds_of(data, n_folds=3, seed=0)
    np.testing.assert_array_equal(folds, folds_of(replace(data, outcome=changed), n_folds=3, seed=0))
    np.testing.assert_array_equal(before.outcome0[folds == folds[unit]], after.outcome0[folds == folds[unit]])
    assert (before.outcome0[folds != folds[unit]] != after.outcome0[folds != folds[unit]]).any()


def test_cross_fitting_is_the_loop_over_folds() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    data = people()
    found = nuisances(data, Adjustment(estimand="ate", folds=4))
    folds, x = folds_of(data, n_folds=4, seed=0), design_of(data, ()).matrix[:, 1:]
    for k in range(4):
        learn, rows = folds != k, folds == k
        logit = linear_model.LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000)
        logit.fit(x[learn], data.treatment[learn])
        np.testing.assert_allclose(found.propensity[rows], logit.predict_proba(x[rows])[:, 1], atol=1e-6)
        control = linear_model.LinearRegression().fit(x[learn & ~data.treatment], data.outcome[learn & ~data.treatment])
        np.testing.assert_allclose(found.outcome0[rows], control.predict(x[rows]), rtol=1e-9)


@pytest.mark.parametrize("learner", ["forest", "boosting"])
def test_trees_leave_the_same_bytes_whatever_the_order(learner: Any) -> None:
    data, order = people(), np.random.default_rng(1).permutation(300)
    options = Adjustment(learner=learner, estimand="ate", folds=2, seed=5)
    first, again = nuisances(data, options), nuisances(reordered(data, order), options)
    for name in ("propensity", "outcome0", "outcome1"):
        assert (getattr(first, name)[order] == getattr(again, name)).all()
    other = nuisances(data, replace(options, seed=6))
    assert (other.propensity != first.propensity).any()


def test_propensities_of_trees_are_held_away_from_the_ends() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    data = CrossSection(
        outcome=x[:, 0], treatment=(x[:, 0] + 0.1 * rng.normal(size=400)) > 0, covariates=x, names=("x",)
    )
    both = nuisances(data, Adjustment(learner="boosting", estimand="ate"))
    assert (both.propensity.min(), both.propensity.max()) == (0.01, 0.99)
    assert both.n_clipped > 0
    treated = nuisances(data, Adjustment(learner="boosting"))
    assert treated.propensity.min() < 0.01
    assert 0 < treated.n_clipped < both.n_clipped


def test_columns_that_follow_from_others_are_left_out_and_named() -> None:
    data = people()
    x = np.column_stack([data.covariates, 2 * data.covariates[:, 0] + 1, np.full(300, 7.0)])
    design = design_of(replace(data, covariates=x, names=("age", "visits", "months", "seven")), ())
    assert design.names == ("age", "visits")
    assert design.dropped == ("'months' follows from 'age'", "'seven' is constant")


def test_separation_is_refused_with_the_columns_that_do_it() -> None:
    data = people()
    for column, words in (
        (data.treatment * 1.0, "'z' differs between all treated and all control units"),
        (data.treatment * (np.arange(300) % 2) * 1.0, "'z' has one value among control units"),
    ):
        x = np.column_stack([data.covariates, column])
        with pytest.raises(RefusalError, match=words):
            nuisances(replace(data, covariates=x, names=("age", "visits", "z")), Adjustment())


@pytest.mark.parametrize("estimand", ["att", "ate"])
def test_a_unit_that_other_folds_take_for_certain_is_refused(estimand: Any) -> None:
    """Its weight would be infinite; in its own fold it would hold the logit down."""
    data = people(n=400)
    x = data.covariates.copy()
    x[np.flatnonzero(data.treatment != (estimand == "att"))[0], 0] = 1e4 if estimand == "att" else -1e4
    with pytest.raises(RefusalError, match="no chance of being otherwise"):
        nuisances(replace(data, covariates=x), Adjustment(estimand=estimand, folds=2))


def test_too_few_units_for_the_folds_are_refused() -> None:
    treatment = np.arange(300) < 3
    with pytest.raises(RefusalError, match="5 folds need 5 treated and 5 control units, the data have 3 and 297"):
        nuisances(people(treatment=treatment), Adjustment(folds=5))


def test_too_few_units_for_a_regression_are_refused() -> None:
    with pytest.raises(RefusalError, match="2 treated units can't determine 3 coefficients"):
        nuisances(people(treatment=np.arange(300) % 150 == 7), Adjustment(estimand="ate"))


def test_square_of_an_unknown_covariate_is_refused() -> None:
    with pytest.raises(DataError, match="no covariate 'aeg'"):
        nuisances(people(), Adjustment(squares=("aeg",)))


def test_predictions_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        nuisances(people(), Adjustment()).propensity[0] = 0.5
