"""Adjustment and its inferences against slow, obvious computations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.cross_section import CrossSection
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators.adjustment import Adjustment
from causalbench.inference.abadie_imbens import AbadieImbens
from causalbench.inference.cluster_bootstrap import ClusterBootstrap
from causalbench.inference.influence import Influence
from causalbench.numerics.matching import matched_effect, nearest, whitened
from causalbench.values import Uncertainty
from causalbench.workflow.estimate import estimate


def people(n: int = 200, *, seed: int = 0, discrete: bool = False, **changes: Any) -> CrossSection:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, size=(n, 2)).astype(float) if discrete else rng.normal(size=(n, 2))
    treated = rng.random(n) < 1 / (1 + np.exp(0.3 - 0.6 * (x[:, 0] - x[:, 0].mean())))
    before = x @ [1.0, -1.0] + rng.normal(size=n)
    outcome = before + 1 + x[:, 0] ** 2 + treated * (1 + x[:, 1]) + rng.normal(size=n)
    made = CrossSection(outcome=outcome, treatment=treated, covariates=x, names=("a", "b"), before=before)
    return replace(made, **changes)


def infer(estimator: Adjustment, data: CrossSection, inference: Any = None, *, level: float = 0.95) -> Uncertainty:
    found: Uncertainty = (inference or Influence()).infer(
        estimator, data, estimator.fit(data), level=level, rng=np.random.default_rng(0)
    )
    return found


SMOOTH = [
    Adjustment(),
    Adjustment(estimand="ate"),
    Adjustment(method="ipw"),
    Adjustment(method="ipw", estimand="ate"),
    Adjustment(method="dr-did"),
    Adjustment(squares=("a",)),
]


@pytest.mark.parametrize("estimator", SMOOTH, ids=str)
def test_influence_is_what_reweighting_a_unit_does(estimator: Adjustment) -> None:
    # d effect / d log w_i is unit i's contribution exactly: fitted coefficients move as well.
    data = people(80)
    influence = np.asarray(estimator.fit(data).influence)
    step = 1e-4
    for unit in range(0, 80, 7):
        moved = []
        for sign in (1, -1):
            weights = np.ones(80)
            weights[unit] += sign * step
            moved.append(estimator.fit(replace(data, weights=weights)).effect)
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(influence[unit], rel=1e-5, abs=1e-8)
    assert influence.sum() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("estimand", ["att", "ate"])
def test_influence_of_imputation_is_that_of_reweighting_with_leverage(estimand: Any) -> None:
    data, estimator, step = people(80), Adjustment(method="regression", estimand=estimand), 1e-4
    influence = np.asarray(estimator.fit(data).influence)
    for unit in range(0, 80, 7):
        moved = []
        for sign in (1, -1):
            weights = np.ones(80)
            weights[unit] += sign * step
            moved.append(estimator.fit(replace(data, weights=weights)).effect)
        plain = (moved[0] - moved[1]) / (2 * step)
        # HC2 makes residuals a little larger, never smaller; with 40 units and 3 columns by less than a fifth.
        assert plain == pytest.approx(influence[unit], rel=0.2, abs=2e-3)


def test_common_slopes_are_ols_with_hc2() -> None:
    api = pytest.importorskip("statsmodels.api")
    data = people()
    fit = api.OLS(data.outcome, np.column_stack([np.ones(200), data.treatment, data.covariates])).fit(cov_type="HC2")
    found = Adjustment(method="regression", slopes="common")
    assert found.fit(data).effect == pytest.approx(fit.params[1], rel=1e-10)
    assert infer(found, data).std_error == pytest.approx(fit.bse[1], rel=1e-10)
    assert infer(found, data).p_value == pytest.approx(fit.pvalues[1], rel=1e-8)


def test_average_by_arm_is_the_interacted_regression() -> None:
    api = pytest.importorskip("statsmodels.api")
    data = people()
    centred = data.covariates - data.covariates.mean(axis=0)
    design = np.column_stack([np.ones(200), data.treatment, centred, centred * data.treatment[:, None]])
    fit = api.OLS(data.outcome, design).fit(cov_type="HC2")  # Lin 2013
    found = Adjustment(method="regression", estimand="ate")
    assert found.fit(data).effect == pytest.approx(fit.params[1], rel=1e-10)
    # The regression takes the covariates' means for known; the influence function adds their own spread.
    inverse = np.linalg.inv(design.T @ design)
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    rows = (design @ inverse)[:, 1] * fit.resid / np.sqrt(1 - leverage)
    assert fit.bse[1] == pytest.approx(math.sqrt((rows**2).sum()), rel=1e-10)
    own = rows + centred @ np.asarray(fit.params[4:]) / 200
    assert infer(found, data).std_error == pytest.approx(math.sqrt((own**2).sum()), rel=1e-10)


@pytest.mark.parametrize("estimand", ["ate", "att"])
@pytest.mark.parametrize("method", ["aipw", "ipw", "regression"])
def test_second_implementation(method: Any, estimand: Any) -> None:
    effects = pytest.importorskip("statsmodels.treatment.treatment_effects")
    api = pytest.importorskip("statsmodels.api")
    if (method, estimand) == ("aipw", "att"):
        pytest.skip("statsmodels has no doubly robust effect on the treated; held by test_two_period")
    data = people(400)
    x, took = np.column_stack([np.ones(400), data.covariates]), data.treatment.astype(int)
    logit = api.Logit(took, x).fit(disp=0, tol=1e-12)
    other = effects.TreatmentEffect(api.OLS(data.outcome, x), took, results_select=logit)
    group = {} if method == "aipw" else {"effect_group": "all" if estimand == "ate" else 1}
    name = {"regression": "ra"}.get(method, method)
    theirs = float(getattr(other, name)(return_results=False, **group)[0])
    error = float(np.sqrt(getattr(other, name)(**group).results_gmm.cov_params()[0, 0]))
    ours = Adjustment(method=method, estimand=estimand)
    # statsmodels' aipw has weights that don't sum to one: the same to first order, not to the digit.
    assert ours.fit(data).effect == pytest.approx(theirs, rel=0.02 if method == "aipw" else 1e-6)
    assert infer(ours, data).std_error == pytest.approx(error, rel=0.03)


def test_weights_count_units() -> None:
    data = people(80)
    counts = np.random.default_rng(1).integers(1, 4, size=80)
    rows = np.repeat(np.arange(80), counts)
    repeated = replace(
        data,
        outcome=data.outcome[rows],
        treatment=data.treatment[rows],
        covariates=data.covariates[rows],
        before=None if data.before is None else data.before[rows],
    )
    weighted = replace(data, weights=counts.astype(float))
    for estimator in (*SMOOTH, Adjustment(method="regression"), Adjustment(method="regression", estimand="ate")):
        assert estimator.fit(weighted).effect == pytest.approx(estimator.fit(repeated).effect, rel=1e-8)


def test_clusters_are_summed() -> None:
    data = people()
    cluster = tuple(f"{i % 40:02d}" for i in range(200))
    clustered = replace(data, cluster=cluster)
    influence = np.asarray(Adjustment().fit(data).influence)
    sums = np.array([influence[i::40].sum() for i in range(40)])
    found = infer(Adjustment(), clustered)
    assert found.std_error == pytest.approx(math.sqrt(40 / 39 * (sums**2).sum()), rel=1e-12)
    assert found.detail["df"] == 39
    # Every unit twice, as a cluster: the same error as once.
    twice = replace(
        data,
        **{
            name: np.concatenate([getattr(data, name)] * 2) for name in ("outcome", "treatment", "covariates", "before")
        },
        cluster=tuple(map(str, range(200))) * 2,
    )
    alone = infer(Adjustment(), data).std_error
    assert alone is not None
    assert infer(Adjustment(), twice).std_error == pytest.approx(alone * math.sqrt(200 / 199), rel=1e-8)


def test_cluster_bootstrap_is_near_the_normal_one_with_many_units() -> None:
    data = people(600)
    normal, drawn = infer(Adjustment(), data), infer(Adjustment(), data, ClusterBootstrap())
    assert drawn.interval is not None
    assert normal.interval is not None
    for end in ("lower", "upper"):
        assert getattr(drawn.interval, end) == pytest.approx(getattr(normal.interval, end), abs=0.1 * normal.std_error)
    assert infer(Adjustment(), data, ClusterBootstrap()).interval == drawn.interval


def brute_force_matches(places: np.ndarray, of: list[int], among: list[int], m: int) -> np.ndarray:
    """Return shares by sorting all distances; everything as far as the m-th shares."""
    shares = np.zeros((len(of), len(among)))
    for row, i in enumerate(of):
        far = np.array([math.dist(places[i], places[j]) for j in among])
        near = far <= np.sort(far)[m - 1] + 1e-8
        shares[row, near] = 1 / near.sum()
    return shares


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("whom", ["att", "ate"])
def test_matching_is_brute_force(discrete: bool, m: int, whom: Any) -> None:
    data = people(120, discrete=discrete)
    y, d, x = data.outcome, data.treatment, data.covariates
    inverse = np.linalg.inv(np.cov(x.T))
    places = x @ np.linalg.cholesky(inverse)
    control, treated = np.flatnonzero(~d).tolist(), np.flatnonzero(d).tolist()
    design = np.column_stack([np.ones(120), x])
    gaps, factor = np.zeros(120), np.zeros(120)
    for of, among, sign in ((treated, control, 1), (control, treated, -1)):
        if whom == "att" and sign == -1:
            continue
        shares = brute_force_matches(places, of, among, m)
        used = shares.sum(axis=0)
        root = np.sqrt(used)[:, None]
        beta = np.linalg.lstsq(design[among] * root, y[among] * root[:, 0], rcond=None)[0]
        for row, i in enumerate(of):
            missing = sum(s * (y[j] + (design[i] - design[j]) @ beta) for s, j in zip(shares[row], among, strict=True))
            gaps[i] = sign * (y[i] - missing)
        factor[among] = used**2 - (shares**2).sum(axis=0) + (2 * used if whom == "ate" else 0)
    about = treated if whom == "att" else list(range(120))
    value = gaps[about].mean()
    total, j_neighbours = ((gaps[about] - value) ** 2).sum(), max(2, m)
    for i in range(120):
        own = [k for k in (treated if d[i] else control) if k != i]
        shares = brute_force_matches(places, [i], own, j_neighbours)[0]
        n_ties = (shares > 0).sum()
        total += factor[i] * n_ties / (n_ties + 1) * (y[i] - shares @ y[own]) ** 2
    estimator = Adjustment(method="matching", matches=m, estimand=whom)
    fit = estimator.fit(data)
    assert fit.effect == pytest.approx(value, rel=1e-9)
    found = infer(estimator, data, AbadieImbens())
    assert found.std_error == pytest.approx(math.sqrt(total) / len(about), rel=1e-9)


def test_exact_matches_are_cell_means() -> None:
    data = people(400, discrete=True)
    fit = Adjustment(method="matching").fit(data)
    expected = 0.0
    for i in np.flatnonzero(data.treatment).tolist():
        alike = (~data.treatment) & (data.covariates == data.covariates[i]).all(axis=1)
        assert alike.any()
        expected += data.outcome[i] - data.outcome[alike].mean()
    assert fit.effect == pytest.approx(expected / data.n_treated)
    assert fit.diagnostics["mean_distance"] == pytest.approx(0, abs=1e-9)


def test_neighbours_far_out_share_their_ties() -> None:
    # Eleven places at the same distance are more than the tree is first asked for.
    angles = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    places = np.vstack([[0.0, 0.0], np.column_stack([np.cos(angles), np.sin(angles)]), [[3.0, 0.0]] * 5])
    shares, distance = nearest(places, of=np.array([0]), among=np.arange(1, 17), n_matches=1)
    np.testing.assert_allclose(shares.toarray()[0], [1 / 11] * 11 + [0] * 5)
    assert distance == pytest.approx(1)


def test_mahalanobis_distance_ignores_units_of_measurement() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    far, other = whitened(x), whitened(x @ [[2.0, 0, 0], [5, 0.1, 0], [0, 0, 30]] + 4)
    for rows in ([0, 1], [3, 9]):
        assert np.linalg.norm(np.diff(far[rows], axis=0)) == pytest.approx(np.linalg.norm(np.diff(other[rows], axis=0)))


def test_match_without_regression_columns_is_a_plain_match() -> None:
    x = np.array([[0.0], [1.0], [0.1], [0.9]])
    found = matched_effect(
        np.array([1.0, 2.0, 10.0, 20.0]),
        np.array([False, False, True, True]),
        x,
        np.ones((4, 1)),
        n_matches=1,
        n_neighbours=1,
        whom="att",
    )
    assert found.value == pytest.approx(((10 - 1) + (20 - 2)) / 2)


def test_effect_and_mean_with_the_treatment_go_together() -> None:
    data = people()
    for estimator in (*SMOOTH[:4], Adjustment(method="regression", estimand="ate"), Adjustment(method="matching")):
        fit = estimator.fit(data)
        assert fit.treated_mean is not None
        if estimator.estimand == "att":
            assert fit.treated_mean == pytest.approx(data.outcome[data.treatment].mean())
            assert fit.n_cells == data.n_treated
        else:
            # The mean without it is that with the arms' names exchanged.
            other = estimator.fit(replace(data, treatment=~data.treatment))
            assert fit.treated_mean - fit.effect == pytest.approx(other.treated_mean, rel=1e-8)
            assert fit.n_cells == 200


def test_trimming_leaves_units_out_and_says_so() -> None:
    data = people()
    full = Adjustment().fit(data)
    cut = Adjustment(trim=0.4).fit(data)
    p = full.diagnostics["propensity"]["treated"]
    assert p[-1] > 0.6
    assert cut.diagnostics["n_trimmed"] > 0
    assert any("propensity beyond 0.6 are left out" in warning for warning in cut.warnings)
    assert cut.influence is not None
    assert (cut.influence == 0).sum() == cut.diagnostics["n_trimmed"]
    assert cut.effect != full.effect
    with pytest.raises(RefusalError, match=r"trim = 0\.49 leaves"):
        Adjustment(trim=0.49, estimand="ate").fit(people(12))


def test_regression_goes_on_where_covariates_separate_the_arms() -> None:
    data = people()
    x = np.column_stack([data.covariates, 2 * data.treatment + np.random.default_rng(0).random(200)])
    separated = replace(data, covariates=x, names=("a", "b", "z"))
    with pytest.raises(RefusalError, match="CB-D044"):
        Adjustment().fit(separated)
    fit = Adjustment(method="matching").fit(separated)
    assert fit.diagnostics["ess_control"] is None
    assert any("overlap isn't measured" in warning for warning in fit.warnings)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "ipw", "learner": "forest"}, "known error only with the linear learner"),
        ({"method": "matching", "folds": 5}, "known error only with the linear learner"),
        ({"learner": "boosting", "folds": 1}, "needs at least 2 folds"),
        ({"method": "dr-did", "estimand": "ate"}, "parallel changes say nothing about the others"),
        ({"slopes": "common"}, "slopes belongs to method = regression"),
        ({"trim": 0.5}, "less than 0.5"),
        ({"matches": 0}, "greater than or equal to 1"),
        ({"method": "psm"}, "'aipw', 'regression'"),
        ({"seed": 3}, "seed under"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        estimate(people(), "adjustment", options=options)


@pytest.mark.parametrize(
    ("changes", "options", "error", "words"),
    [
        ({"before": None}, {"method": "dr-did"}, DataError, "no outcome before the treatment"),
        ({"weights": np.ones(200)}, {"method": "matching"}, RefusalError, "the data have sampling weights"),
        ({"cluster": ("x",) * 200}, {"method": "matching"}, RefusalError, "the data have clusters"),
        ({"covariates": np.empty((200, 0)), "names": ()}, {"method": "matching"}, RefusalError, "no covariates"),
        ({"covariates": np.full((200, 1), 0.1), "names": ("x",)}, {"method": "matching"}, RefusalError, "that vary"),
        (
            {"covariates": np.empty((200, 0)), "names": ()},
            {"learner": "forest"},
            RefusalError,
            "no covariates to learn",
        ),
    ],
)
def test_data_that_cannot_answer_are_refused(
    changes: dict[str, Any], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Adjustment(**options).fit(people(**changes))


def test_inferences_refuse_what_they_cannot_do() -> None:
    data = people()
    with pytest.raises(RefusalError, match="a match changes by leaps"):
        infer(Adjustment(method="matching"), data)
    with pytest.raises(RefusalError, match="a match changes by leaps"):
        infer(Adjustment(method="matching"), data, ClusterBootstrap())
    with pytest.raises(RefusalError, match="this method doesn't match"):
        infer(Adjustment(), data, AbadieImbens())
    few = tuple("t" if took else f"c{i % 30}" for i, took in enumerate(data.treatment.tolist()))
    for inference in (Influence(), ClusterBootstrap()):
        with pytest.raises(RefusalError, match="5 clusters with and 5 without the treatment, the data have 1 and 30"):
            infer(Adjustment(), replace(data, cluster=few), inference)


def test_a_perfect_fit_has_no_error() -> None:
    data = people()
    exact = replace(data, outcome=data.covariates[:, 0] + data.treatment)
    for inference in (Influence(), ClusterBootstrap()):
        found = infer(Adjustment(method="regression"), exact, inference)
        assert (found.interval, found.p_value) == (None, None)
        assert "not computed" in found.warnings[0]


def test_default_inference_follows_method_and_clusters() -> None:
    data = people()
    many = replace(data, cluster=tuple(f"{i % 50}" for i in range(200)))
    few = replace(data, cluster=tuple(f"{i % 10}" for i in range(200)))
    assert Adjustment().default_inference(data) == "influence"
    assert Adjustment().default_inference(many) == "influence"
    assert Adjustment().default_inference(few) == "cluster-bootstrap"
    assert Adjustment(method="matching").default_inference(data) == "abadie-imbens"


def test_cross_fitted_effects_are_the_averaged_scores() -> None:
    from causalbench.estimators._nuisances import nuisances

    data = people()
    for whom in ("att", "ate"):
        estimator = Adjustment(folds=4, estimand=whom)
        fit, found = estimator.fit(data), nuisances(data, estimator)
        d, y, p, m0 = data.treatment, data.outcome, found.propensity, found.outcome0
        if whom == "att":
            odds = np.where(d, 0, p / (1 - p))
            expected = (y - m0)[d].mean() - np.average(y - m0, weights=odds)
        else:
            m1 = found.outcome1
            assert m1 is not None
            up, down = np.where(d, 1 / p, 0), np.where(d, 0, 1 / (1 - p))
            expected = (m1 - m0).mean() + np.average(y - m1, weights=up) - np.average(y - m0, weights=down)
        assert fit.effect == pytest.approx(expected, rel=1e-10)
        assert fit.diagnostics["n_folds"] == 4
