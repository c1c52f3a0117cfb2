"""Wild bootstrap, cluster bootstrap, permutation of clusters and of launch dates, against slow second computations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import Did
from causalbench.inference import Bootstrap, Cluster, Permutation, Wild
from causalbench.numerics.covariance import arms, t_quantile
from causalbench.numerics.resampling import arrangements, n_arrangements, stratified_t_ratios
from causalbench.numerics.wild_bootstrap import WEBB, cluster_weights, wild_test
from causalbench.values import EffectPath, Fit, FloatArray, IntArray, Uncertainty, rejects

LEVELS = pytest.mark.parametrize("level", [0.8, 0.9, 0.95])


def simulated(*, n_units: int, n_treated: int, n_periods: int = 12, seed: int = 0, effect: float = 1.0) -> Panel:
    return factor_panel(
        n_units=n_units, n_periods=n_periods, n_treated=n_treated, n_post=4, effect=effect, rho=0.3, seed=seed
    )


def clustered(panel: Panel, codes: Any, *, weights: Any = None) -> Panel:
    return replace(panel, cluster=tuple(f"c{code:02d}" for code in codes), weights=weights)


def infer(inference: Any, panel: Panel, *, estimator: Any = None, level: float = 0.9, seed: int = 0) -> Uncertainty:
    estimator = estimator or Did()
    found = inference.infer(estimator, panel, estimator.fit(panel), level=level, rng=np.random.default_rng(seed))
    assert isinstance(found, Uncertainty)
    return found


# Wild bootstrap ------------------------------------------------------------------------------------------------------


class LongWild:
    """The restricted wild bootstrap on the long regression, every sample fitted again."""

    def __init__(self, panel: Panel) -> None:
        n_units, n_periods = panel.outcome.shape
        self.treatment = panel.treated.ravel().astype(float)
        self.effects = np.column_stack(
            [
                np.kron(np.eye(n_units), np.ones((n_periods, 1))),
                np.kron(np.ones((n_units, 1)), np.eye(n_periods))[:, 1:],
            ]
        )
        weights = np.ones(n_units) if panel.weights is None else panel.weights
        self.root = np.sqrt(np.repeat(weights, n_periods))
        self.cluster = np.repeat(panel.cluster_codes, n_periods)
        self.outcome = panel.outcome.ravel()
        self.design = np.column_stack([self.treatment, self.effects]) * self.root[:, None]
        self.bread = np.linalg.inv(self.design.T @ self.design)

    def t_ratio(self, outcome: FloatArray, null: float) -> float:
        target = outcome * self.root
        coefficients = self.bread @ self.design.T @ target
        errors = target - self.design @ coefficients
        groups = [self.cluster == g for g in np.unique(self.cluster)]
        scores = np.array([self.bread[0] @ self.design[g].T @ errors[g] for g in groups])
        return float((coefficients[0] - null) / math.sqrt((scores**2).sum()))

    def p_value(self, null: float, weights: FloatArray) -> float:
        rest = self.outcome - null * self.treatment
        restricted, *_ = np.linalg.lstsq(self.effects * self.root[:, None], rest * self.root, rcond=None)
        fitted = self.effects @ restricted + null * self.treatment
        errors, own = self.outcome - fitted, abs(self.t_ratio(self.outcome, null))
        draws = [abs(self.t_ratio(fitted + row[self.cluster] * errors, null)) for row in weights]
        return float((np.array(draws) >= own - 1e-9).mean())


def layouts() -> Iterator[Any]:
    rng = np.random.default_rng(8)
    for seed, (n_units, n_treated) in enumerate([(8, 3), (7, 1), (9, 4)]):
        yield pytest.param(simulated(n_units=n_units, n_treated=n_treated, n_periods=6, seed=seed), id=f"units-{seed}")
    panel = simulated(n_units=12, n_treated=4, n_periods=6, seed=5)
    yield pytest.param(clustered(panel, np.arange(12) // 2), id="nested")
    yield pytest.param(clustered(panel, np.arange(12) % 5, weights=rng.integers(1, 6, 12) + 0.5), id="mixed-weighted")


@pytest.mark.parametrize("panel", list(layouts()))
def test_wild_p_value_at_each_effect_is_that_of_the_long_regression(panel: Panel) -> None:
    n = panel.n_clusters
    (weights,) = cluster_weights(n, few=1, enumerated=1000, n_drawn=0, rng=np.random.default_rng(0))
    assert weights.shape == (2 ** (n - 1), n)
    sides = arms(panel.ever_treated, weights=panel.weights, codes=panel.cluster_codes, n_clusters=n)
    test = wild_test(Did().changes(panel), sides, [weights])
    long = LongWild(panel)
    for null in Did().fit(panel).effect + np.linspace(-6, 6, 13) + 1e-3:
        assert test.found.count(null) / test.n_draws == pytest.approx(long.p_value(null, weights), abs=1e-12)


@LEVELS
def test_wild_set_holds_the_effects_that_are_not_rejected(level: float) -> None:
    panel = simulated(n_units=12, n_treated=5, n_periods=6, seed=3)
    found, long = infer(Wild(), panel, level=level), LongWild(panel)
    weights = np.array([(1.0, *signs) for signs in itertools.product([1.0, -1.0], repeat=11)])
    assert found.detail["n_draws"] == len(weights)
    assert found.detail["exact"]
    assert found.interval is not None
    ends = [end for segment in found.interval.segments for end in segment]
    for end in ends:
        for null in (end - 1e-4, end + 1e-4):
            assert found.interval.contains(null) != rejects(long.p_value(null, weights), level)
    assert found.p_value == pytest.approx(long.p_value(0.0, weights), abs=1e-12)


def test_wild_draws_webb_weights_below_twelve_clusters() -> None:
    found = infer(Wild(), simulated(n_units=10, n_treated=5))
    assert (found.detail["cluster_weights"], found.detail["n_draws"]) == ("webb", 10_000)
    assert not found.detail["exact"]
    first, rows = cluster_weights(10, few=12, enumerated=10_000, n_drawn=5000, rng=np.random.default_rng(0))
    assert (first == 1).all()
    assert set(np.abs(rows).ravel().tolist()) == set(WEBB.tolist())
    assert np.mean(rows**2) == pytest.approx(1.0, abs=0.02)
    assert np.mean(rows) == pytest.approx(0.0, abs=0.02)


def test_wild_draws_rademacher_weights_with_many_clusters() -> None:
    panel = simulated(n_units=30, n_treated=12, effect=0.4)
    found, again = infer(Wild(), panel), infer(Wild(), panel)
    assert (found.detail["cluster_weights"], found.detail["exact"]) == ("rademacher", False)
    assert (found.p_value, found.interval) == (again.p_value, again.interval)
    other = infer(Wild(), panel, seed=1)
    assert found.p_value == pytest.approx(other.p_value, abs=0.03)
    order = np.random.default_rng(0).permutation(30)
    moved = replace(panel, outcome=panel.outcome[order], treated=panel.treated[order])
    assert infer(Wild(), moved).p_value == found.p_value


def test_wild_of_a_perfect_fit_is_not_computed() -> None:
    panel = simulated(n_units=12, n_treated=5)
    exact = replace(panel, outcome=np.arange(12.0)[:, None] + np.arange(12.0) + 2 * panel.treated)
    for inference in (Wild(), Bootstrap(), Cluster()):
        found = infer(inference, exact)
        assert (found.interval, found.p_value, found.std_error) == (None, None, None)
        assert found.warnings == (
            "not computed: the standard error is zero, as with a perfect fit or placebos that are all alike",
        )


def test_wild_needs_an_effect_that_is_a_difference_of_means() -> None:
    panel = simulated(n_units=12, n_treated=5)
    with pytest.raises(RefusalError, match="isn't a difference of means"):
        Wild().infer(
            SimpleNamespace(inferences=("wild",)), panel, Did().fit(panel), level=0.9, rng=np.random.default_rng(0)
        )  # type: ignore[arg-type]


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inference", [Cluster(), Wild(), Bootstrap()])
@pytest.mark.parametrize(("n_units", "n_treated"), [(20, 4), (9, 5), (8, 1)])
def test_few_units_on_a_side_are_refused(inference: Any, n_units: int, n_treated: int) -> None:
    with pytest.raises(RefusalError, match=r"need 5 treated and 5 control units, the data have") as refusal:
        infer(inference, simulated(n_units=n_units, n_treated=n_treated))
    assert (refusal.value.exit_code, refusal.value.code) == (3, "CB-D015")
    assert "permutation" in refusal.value.remedy


@pytest.mark.parametrize("inference", [Cluster(), Wild(), Bootstrap()])
def test_clusters_are_counted_however_many_units_they_hold(inference: Any) -> None:
    panel = clustered(simulated(n_units=40, n_treated=16), np.arange(40) // 4)
    with pytest.raises(RefusalError, match="control clusters, the data have 4 and 6"):
        infer(inference, panel)
    assert Did().default_inference(panel) == "permutation"
    assert Did().default_inference(replace(panel, cluster=None)) == "cluster"


@pytest.mark.parametrize("inference", [Cluster(), Wild(), Bootstrap(), Permutation()])
def test_a_cluster_of_its_own_for_each_unit_is_no_cluster(inference: Any) -> None:
    panel = simulated(n_units=12, n_treated=5, effect=0.5)
    found, expected = infer(inference, clustered(panel, np.arange(12))), infer(inference, panel)
    assert (found.p_value, found.interval) == (expected.p_value, expected.interval)


@pytest.mark.parametrize("inference", [Cluster(), Wild(), Bootstrap(), Permutation()])
def test_scale_of_weights_does_not_matter(inference: Any) -> None:
    panel = simulated(n_units=12, n_treated=5, effect=0.5)
    weights = np.random.default_rng(0).random(12) + 0.5
    found, expected = (infer(inference, replace(panel, weights=scale * weights)) for scale in (1e6, 1.0))
    assert found.p_value == pytest.approx(expected.p_value, rel=1e-9)
    assert expected.p_value != infer(inference, panel).p_value


# Bands ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inference", [Cluster(), Bootstrap()])
def test_bands_of_an_event_study_are_pointwise_and_uniform(inference: Any) -> None:
    panel = simulated(n_units=24, n_treated=9)
    study, found = (
        Did(convention="fixest").fit(panel).event_study,
        infer(inference, panel, estimator=Did(convention="fixest")),
    )
    assert study is not None
    assert found.bands is not None
    alone, both = t_quantile(0.9, 23), found.bands.critical_value
    np.testing.assert_allclose(found.bands.upper - study.values, alone * study.std_errors, rtol=1e-9)
    np.testing.assert_allclose(study.values - found.bands.uniform_lower, both * study.std_errors, rtol=1e-9)
    assert alone < both < t_quantile(1 - 0.1 / len(study.values), 23)


def test_bands_are_the_same_for_the_same_seed_and_any_unit_of_the_outcome() -> None:
    panel = simulated(n_units=24, n_treated=9)
    first, again, scaled = (
        infer(Cluster(), p).bands for p in (panel, panel, replace(panel, outcome=1e6 * panel.outcome))
    )
    assert first is not None
    assert again is not None
    assert scaled is not None
    assert first.critical_value == again.critical_value
    assert scaled.critical_value == pytest.approx(first.critical_value, rel=1e-8)


# Cluster bootstrap ---------------------------------------------------------------------------------------------------


def test_bootstrap_t_ratios_are_those_of_fits_to_the_drawn_clusters() -> None:
    values, strata = np.array([2.0, -1.0, 0.5, 3.0, -2.0, 4.0, 1.0]), np.array([0, 0, 0, 1, 1, 1, 1])
    spread, ratios = stratified_t_ratios(values, strata, n_drawn=4, rng=np.random.default_rng(3))
    rng = np.random.default_rng(3)
    drawn = []
    for stratum in (0, 1):
        own = np.sort(values[strata == stratum])
        drawn.append((own - own.mean())[rng.integers(len(own), size=(4, len(own)))])
    sums = sum(part.sum(axis=1) for part in drawn)
    variances = sum(part.var(axis=1) * part.shape[1] for part in drawn)
    np.testing.assert_allclose(ratios, sums / np.sqrt(variances), rtol=1e-12)
    own_variance = values[:3].var() * 3 + values[3:].var() * 4
    assert spread == pytest.approx(math.sqrt(own_variance), rel=1e-12)


def test_bootstrap_draw_without_spread_is_infinitely_far() -> None:
    _, ratios = stratified_t_ratios(np.array([1.0, -1.0]), np.zeros(2, int), n_drawn=50, rng=np.random.default_rng(0))
    assert set(np.abs(ratios).tolist()) == {0.0, np.inf}


@LEVELS
def test_bootstrap_interval_and_p_value_are_one_test(level: float) -> None:
    panel = clustered(simulated(n_units=36, n_treated=15, effect=0.5), np.arange(36) // 3)
    found, fit = infer(Bootstrap(), panel, level=level), Did(convention="did").fit(panel)
    assert fit.covariance is not None
    assert found.std_error == pytest.approx(math.sqrt(fit.covariance[0, 0]), rel=1e-9)
    assert found.interval is not None
    lower, upper = found.interval.segments[0]
    assert (lower + upper) / 2 == pytest.approx(fit.effect, rel=1e-9)
    for null in (lower - 1e-6, lower + 1e-6, upper - 1e-6, upper + 1e-6):
        shifted = replace(panel, outcome=panel.outcome - null * panel.treated)
        p_value = infer(Bootstrap(), shifted, level=level).p_value
        assert p_value is not None
        assert found.interval.contains(null) != rejects(p_value, level)


def test_bootstrap_needs_an_influence_function() -> None:
    panel = simulated(n_units=12, n_treated=5)
    fit = Fit(effect=1.0, path=Did().fit(panel).path)
    with pytest.raises(RefusalError, match="too few clusters stand behind"):
        Bootstrap().infer(Did(), panel, fit, level=0.9, rng=np.random.default_rng(0))


# Permutation of clusters and of launch dates -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StackedMeans:
    """Mean over treated cells of the change since the period before the launch, less that of the never treated."""

    def fit(self, data: Panel) -> Fit:
        return next(iter(self.fit_many(data, data.first_treated[None])))

    def fit_many(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        n_periods = len(data.periods)
        for row in launches:
            cells = []
            for unit, first in enumerate(row.tolist()):
                change = data.outcome - data.outcome[:, [first - 1]] if first < n_periods else None
                if change is not None:
                    cells += (change[unit] - change[row == n_periods].mean(axis=0))[first:].tolist()
            path = EffectPath(periods=data.periods, observed=data.outcome[0], counterfactual=data.outcome[0])
            yield Fit(effect=float(np.mean(cells)), path=path)


def staggered(launches: list[int], *, seed: int = 0) -> Panel:
    panel = simulated(n_units=len(launches), n_treated=1, seed=seed, effect=0.0)
    treated = np.arange(12) >= np.array(launches)[:, None]
    return replace(panel, treated=treated, outcome=panel.outcome + treated)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_launch_dates_are_permuted_among_units(level: float) -> None:
    panel = staggered([4, 4, 7, 12, 12, 12, 12])
    found = infer(Permutation(), panel, estimator=StackedMeans(), level=level)
    every = sorted(set(itertools.permutations([4, 4, 7, 12, 12, 12, 12])))
    assert found.detail["n_assignments"] == len(every) == 105  # 7! / (2! 1! 4!)
    assert found.detail["exact"]

    def p_value(null: float) -> float:
        outcome = replace(panel, outcome=panel.outcome - null * panel.treated)
        effects = np.array([abs(fit.effect) for fit in StackedMeans().fit_many(outcome, np.array(every))])
        own = abs(StackedMeans().fit(outcome).effect)
        return float((effects >= own - 1e-10).mean())

    assert found.p_value == pytest.approx(p_value(0.0), abs=1e-12)
    assert found.interval is not None
    for null in StackedMeans().fit(panel).effect + np.linspace(-4, 4, 33) + 1e-3:
        assert found.interval.contains(null) != rejects(p_value(null), level)


def test_whole_clusters_swap_their_launch() -> None:
    codes = np.array([0, 0, 0, 1, 2, 2, 3, 4, 4, 5])
    panel = clustered(simulated(n_units=10, n_treated=4), codes)
    found = infer(Permutation(), panel, level=0.8)
    changes = Did().changes(panel)
    effects = []
    for chosen in itertools.combinations(range(6), 2):
        inside = np.isin(codes, chosen)
        effects.append(abs(changes[inside].mean() - changes[~inside].mean()))
    assert found.detail["n_assignments"] == 15
    assert found.p_value == pytest.approx(np.mean(np.array(effects) >= effects[0] - 1e-10))


def test_clusters_whose_units_differ_in_their_launch_are_refused() -> None:
    panel = clustered(simulated(n_units=10, n_treated=4), np.arange(10) // 3)
    with pytest.raises(RefusalError, match="the units of 1 clusters differ in their launch: c01") as refusal:
        infer(Permutation(), panel)
    assert (refusal.value.exit_code, refusal.value.code) == (3, "CB-D015")


def test_permutation_keeps_weights_with_their_units() -> None:
    panel = replace(simulated(n_units=7, n_treated=2), weights=np.arange(1.0, 8.0))
    changes, weights = Did().changes(panel), np.arange(1.0, 8.0)
    effects = []
    for chosen in itertools.combinations(range(7), 2):
        inside = np.isin(np.arange(7), chosen)
        means = [np.average(changes[side], weights=weights[side]) for side in (inside, ~inside)]
        effects.append(abs(means[0] - means[1]))
    assert infer(Permutation(), panel, level=0.8).p_value == pytest.approx(
        np.mean(np.array(effects) >= effects[0] - 1e-10)
    )


def test_number_of_assignments_beyond_counting_is_said_in_words() -> None:
    panel = simulated(n_units=120, n_treated=60)
    assert infer(Permutation(), panel).warnings == ("9999 assignments were drawn out of more than 10^15",)


@pytest.mark.parametrize("labels", [[1, 2, 3], [5, 5, 5], [3, 1, 3, 1], [2, 0, 0, 1, 2], [4]])
def test_arrangements_are_every_distinct_order_once(labels: list[int]) -> None:
    blocks = list(arrangements(np.array(labels), limit=100, n_drawn=3, rng=np.random.default_rng(0)))
    rows = [tuple(row) for block in blocks for row in block.tolist()]
    assert rows[0] == tuple(labels)
    assert sorted(rows) == sorted(set(itertools.permutations(labels)))
    assert n_arrangements(np.array(labels)) == len(rows)


def test_drawn_arrangements_come_in_blocks_with_the_given_one_first() -> None:
    labels = np.repeat([3, 9, 20], [500, 700, 4000])
    blocks = list(arrangements(labels, limit=100, n_drawn=2001, rng=np.random.default_rng(0)))
    assert len(blocks) > 1
    assert (blocks[0][0] == labels).all()
    assert sum(map(len, blocks)) == 2002
    assert all((np.sort(block, axis=1) == labels).all() for block in blocks)
    share = np.concatenate(blocks)[1:, :500] == 3
    assert share.mean() == pytest.approx(500 / 5200, abs=0.003)


def test_drawn_assignments_are_those_of_one_block() -> None:
    labels = np.repeat([4, 8], [10, 30])
    (rows,) = arrangements(labels, limit=100, n_drawn=50, rng=np.random.default_rng(1))
    chosen = np.argsort(np.random.default_rng(1).random((50, 40)), axis=1)[:, :10]
    assert all(set(np.flatnonzero(row == 4)) == set(own) for row, own in zip(rows[1:], chosen, strict=True))
