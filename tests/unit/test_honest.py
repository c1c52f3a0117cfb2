"""Robust sets of event studies: closed forms against linear programs, invariances, edges, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize
from scipy.stats import foldnorm, norm

from causalbench.numerics.fixed_length import folded_normal_quantile, shortest_estimator
from causalbench.numerics.honest import (
    breakdown_value,
    relative_magnitude_set,
    smoothness_interval,
    smoothness_set,
)
from causalbench.numerics.moment_inequalities import (
    conditional_p_value,
    covariance_root,
    dual_vertices,
    hybrid_test,
    keeps_effect,
    least_favourable_value,
)
from causalbench.numerics.trend_restrictions import (
    TrendRestriction,
    first_differences,
    relative_magnitude_restrictions,
    second_differences,
    smoothness_restriction,
)

FloatArray = NDArray[np.float64]


def study(n_pre: int, n_post: int, seed: int, effect: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Draw estimates with a persistent difference in trends and a covariance that isn't diagonal."""
    rng = np.random.default_rng(seed)
    n = n_pre + n_post
    factor = rng.standard_normal((n, 2 * n))
    covariance = 0.01 * factor @ factor.T / n
    values = rng.multivariate_normal(np.zeros(n), covariance)
    values[n_pre:] += effect
    return values, covariance


def contrast(n_post: int, seed: int) -> FloatArray:
    """Weigh periods after the treatment, with one of them left out where there are several."""
    weights = np.random.default_rng(seed).normal(size=n_post)
    weights[n_post // 2 :][1:2] = 0.0
    return weights


PIECES = {
    "smoothness": lambda n_pre, n_post: smoothness_restriction(n_pre, n_post, bound=0.05),
    "linear": lambda n_pre, n_post: smoothness_restriction(n_pre, n_post, bound=0.0),
    "rising": lambda n_pre, n_post: relative_magnitude_restrictions(n_pre, n_post, mbar=0.8)[0],
    "falling": lambda n_pre, n_post: relative_magnitude_restrictions(n_pre, n_post, mbar=1.7)[-1],
    "parallel": lambda n_pre, n_post: relative_magnitude_restrictions(n_pre, n_post, mbar=0.0)[0],
}
SHAPES = [(1, 1), (1, 3), (3, 1), (2, 2), (4, 4), (3, 6)]


class LinearProgram:
    """The test as it is defined: one general linear program for each number."""

    def __init__(self, piece: TrendRestriction, covariance: FloatArray, weights: FloatArray) -> None:
        self.matrix, self.limit = piece.inequalities()
        self.spread = self.matrix @ covariance @ self.matrix.T
        self.after = self.matrix[:, -len(weights) :]
        self.weights = weights

    def violation(self, values: FloatArray, effect: float) -> float:
        """Minimise the studentised violation over all effects whose weighted sum is the given one."""
        errors = np.sqrt(np.diag(self.spread))
        n = len(self.weights)
        found = linprog(
            np.eye(n + 1)[0],
            A_ub=np.column_stack([-errors, -self.after]),
            b_ub=self.limit - self.matrix @ values,
            A_eq=np.concatenate([[0.0], self.weights])[None],
            b_eq=[effect],
            bounds=(None, None),
        )
        return float(found.fun)

    def _dual(self, moments: FloatArray) -> tuple[float, FloatArray]:
        """Maximise moments over the dual, whose nuisance columns span what leaves the weighted sum as it is."""
        _, _, axes = np.linalg.svd(self.weights[None])
        equal = np.concatenate([(self.after @ axes[1:].T).T, np.sqrt(np.diag(self.spread))[None]])
        found = linprog(-moments, A_eq=equal, b_eq=np.eye(len(equal))[-1], bounds=(0, None))
        return -float(found.fun), found.x

    def p_value(self, values: FloatArray, effect: float, highest: float) -> float:
        """Truncate the largest moment to where the same vertex stays the best."""
        fixed = self.weights / (self.weights @ self.weights) * effect
        moments = self.matrix @ values - self.limit - self.after @ fixed
        value, vertex = self._dual(moments)
        if value <= 1e-9:
            return 1.0
        variance = vertex @ self.spread @ vertex
        shift = self.spread @ vertex / variance
        rest = moments - shift * value
        error = np.sqrt(variance)

        def stays(place: float) -> bool:
            return self._dual(rest + shift * place)[0] <= place + 1e-9

        def edge(far: float) -> float:
            near = value
            if stays(far):
                return far
            for _ in range(34):
                middle = 0.5 * (near + far)
                near, far = (middle, far) if stays(middle) else (near, middle)
            return near

        lower, upper = edge(value - 30.0), min(edge(value + 30.0), highest)
        tails = norm.sf(np.array([value, lower, upper]) / error)
        return float((tails[0] - tails[2]) / (tails[1] - tails[2]))


class TestTrendRestrictions:
    @pytest.mark.parametrize(("n_pre", "n_post"), SHAPES)
    def test_differences_are_those_of_the_path_through_the_reference_period(self, n_pre: int, n_post: int) -> None:
        trend = np.random.default_rng(0).normal(size=n_pre + n_post)
        path = np.insert(trend, n_pre, 0.0)
        np.testing.assert_allclose(first_differences(n_pre, n_post) @ trend, np.diff(path), atol=1e-12)
        np.testing.assert_allclose(second_differences(n_pre, n_post) @ trend, np.diff(path, n=2), atol=1e-12)

    def test_linear_trend_is_smooth_at_zero(self) -> None:
        assert smoothness_restriction(3, 2, bound=1e-12).contains(0.7 * np.array([-3.0, -2, -1, 1, 2]))

    @pytest.mark.parametrize("seed", range(20))
    def test_union_of_pieces_is_the_definition(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        trend, mbar = rng.normal(size=6) * np.array([1, 1, 1, 0.3, 0.3, 0.3]), float(rng.uniform(0.2, 1.5))
        steps = np.abs(np.diff(np.insert(trend, 3, 0.0)))
        pieces = relative_magnitude_restrictions(3, 3, mbar=mbar)
        assert any(piece.contains(trend) for piece in pieces) == (steps[3:].max() <= mbar * steps[:3].max())

    def test_inequalities_say_the_same_as_the_polyhedron(self) -> None:
        rng = np.random.default_rng(1)
        piece = relative_magnitude_restrictions(2, 3, mbar=1.0)[2]
        matrix, limit = piece.inequalities()
        for trend in rng.normal(size=(50, 5)) * np.array([3, 3, 1, 1, 1]):
            assert piece.contains(trend) == bool((matrix @ trend <= limit).all())


class TestAgainstLinearPrograms:
    @pytest.mark.parametrize("name", PIECES)
    @pytest.mark.parametrize(("n_pre", "n_post"), SHAPES)
    def test_largest_vertex_is_the_smallest_violation(self, name: str, n_pre: int, n_post: int) -> None:
        values, covariance = study(n_pre, n_post, seed=n_pre)
        weights, piece = contrast(n_post, seed=n_post), PIECES[name](n_pre, n_post)
        vertices = dual_vertices(piece, covariance, weights=weights)
        program = LinearProgram(piece, covariance, weights)
        for effect in (-2.0, 0.3, float(weights @ values[n_pre:]), 3.0):
            moments = vertices.loading @ values + vertices.offset + effect * vertices.slope
            assert moments.max() == pytest.approx(program.violation(values, effect), abs=1e-7)

    @pytest.mark.parametrize("name", ["smoothness", "rising", "falling"])
    @pytest.mark.parametrize(("n_pre", "n_post"), [(1, 1), (3, 2), (4, 4)])
    def test_conditional_p_value_is_the_truncated_tail_by_definition(self, name: str, n_pre: int, n_post: int) -> None:
        values, covariance = study(n_pre, n_post, seed=7 * n_pre)
        weights, piece = contrast(n_post, seed=n_post), PIECES[name](n_pre, n_post)
        test = hybrid_test(piece, covariance, weights=weights, level=0.9)
        program = LinearProgram(piece, covariance, weights)
        error = float(np.sqrt(weights @ covariance[n_pre:, n_pre:] @ weights))
        effects = float(weights @ values[n_pre:]) + error * np.linspace(-8.0, 8.0, 81)
        moments = test.moments(values, effects)
        fast = conditional_p_value(moments, test.covariance, highest=test.critical)
        undecided = np.flatnonzero((fast > 0.001) & (fast < 0.9) & (moments.max(axis=1) < test.critical))
        assert len(undecided) >= 3
        for k in undecided[[0, len(undecided) // 2, -1]]:
            assert fast[k] == pytest.approx(program.p_value(values, float(effects[k]), test.critical), abs=1e-6)

    def test_ends_of_the_set_are_where_the_slow_test_changes_its_mind(self) -> None:
        values, covariance = study(2, 2, seed=3)
        weights = np.array([0.5, 0.5])
        found = relative_magnitude_set(values, covariance, n_pre=2, weights=weights, mbar=0.7, level=0.9)
        pieces = relative_magnitude_restrictions(2, 2, mbar=0.7)
        tests = [hybrid_test(piece, covariance, weights=weights, level=0.9) for piece in pieces]
        programs = [LinearProgram(piece, covariance, weights) for piece in pieces]

        def keeps(effect: float) -> bool:
            return any(
                program.violation(values, effect) <= test.critical
                and program.p_value(values, effect, test.critical) >= test.size
                for test, program in zip(tests, programs, strict=True)
            )

        error = float(np.sqrt(weights @ covariance[2:, 2:] @ weights))
        assert keeps(found.lower + 1e-5 * error)
        assert not keeps(found.lower - 1e-5 * error)
        assert keeps(found.upper - 1e-5 * error)
        assert not keeps(found.upper + 1e-5 * error)


class TestLeastFavourable:
    @pytest.mark.parametrize(("n_pre", "n_post"), [(1, 1), (4, 4), (5, 10)])
    def test_quantile_is_that_of_simulated_maxima(self, n_pre: int, n_post: int) -> None:
        _, covariance = study(n_pre, n_post, seed=5)
        vertices = dual_vertices(PIECES["rising"](n_pre, n_post), covariance, weights=np.ones(n_post))
        root = covariance_root(covariance)
        value = least_favourable_value(vertices.loading, root, size=0.005)
        draws = np.random.default_rng(0).standard_normal((200_000, n_pre + n_post)) @ (vertices.loading @ root).T
        # Monte Carlo error of a share of 0.005 among 200,000 draws is 0.00016: three of them, and 0.0001 of the points.
        assert (draws.max(axis=1) > value).mean() == pytest.approx(0.005, abs=0.0006)

    def test_one_moment_has_the_normal_quantile(self) -> None:
        loading = np.array([[0.6, 0.8]])
        assert least_favourable_value(loading, np.eye(2), size=0.005) == pytest.approx(norm.isf(0.005), abs=2e-3)

    def test_shortcut_agrees_with_the_exact_test(self) -> None:
        kept = []
        for seed in range(15):
            values, covariance = study(3, 3, seed=seed, effect=0.3)
            for piece in relative_magnitude_restrictions(3, 3, mbar=0.5):
                exact = hybrid_test(piece, covariance, weights=np.eye(3)[0], level=0.95)
                options = {"weights": np.eye(3)[0], "level": 0.95, "effect": 0.0}
                kept.append(keeps_effect(piece, values, covariance, **options))
                assert kept[-1] == exact.keeps(exact.moments(values, np.zeros(1)))[0]
        assert 0.1 < np.mean(kept) < 0.9


class TestFixedLength:
    @pytest.mark.parametrize("location", [0.0, 0.3, 1.0, 5.0, 30.0])
    @pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
    def test_folded_quantile_is_scipys(self, location: float, level: float) -> None:
        expected = foldnorm.ppf(level, location)
        assert folded_normal_quantile(np.array(location), level=level) == pytest.approx(expected, rel=1e-8)

    @pytest.mark.parametrize(("n_pre", "n_post"), SHAPES)
    def test_bias_is_the_worst_over_the_restriction(self, n_pre: int, n_post: int) -> None:
        _, covariance = study(n_pre, n_post, seed=2)
        weights = contrast(n_post, seed=1)
        found = shortest_estimator(covariance, n_pre=n_pre, weights=weights, bound=0.03, level=0.95)
        curvature = second_differences(n_pre, n_post)
        worst = linprog(
            -found.loading,
            A_ub=np.concatenate([curvature, -curvature]),
            b_ub=np.full(2 * len(curvature), 0.03),
            bounds=(None, None),
        )
        assert found.max_bias == pytest.approx(-worst.fun, rel=1e-7)
        assert found.std_error == pytest.approx(np.sqrt(found.loading @ covariance @ found.loading), rel=1e-10)
        np.testing.assert_allclose(found.loading[n_pre:], weights, atol=1e-12)

    @pytest.mark.parametrize("bound", [0.0, 0.003, 0.02, 0.1, 3.0])
    @pytest.mark.parametrize("n_pre", [2, 4, 7])
    def test_no_other_estimator_is_shorter(self, n_pre: int, bound: float) -> None:
        _, covariance = study(n_pre, 3, seed=n_pre)
        weights = np.array([1.0, 0.0, 0.0])
        found = shortest_estimator(covariance, n_pre=n_pre, weights=weights, bound=bound, level=0.9)
        curvature = second_differences(n_pre, 3)
        fixed = np.linalg.solve(curvature[n_pre - 1 :, n_pre:].T, weights)

        def half_length(split: FloatArray) -> float:
            free = split[: n_pre - 1] - split[n_pre - 1 :]
            loading = np.concatenate([free, fixed]) @ curvature
            error = float(np.sqrt(loading @ covariance @ loading))
            bias = bound * float(split.sum() + np.abs(fixed).sum())
            return error * float(folded_normal_quantile(np.array(bias / error), level=0.9))

        start = np.full(2 * (n_pre - 1), 0.3)
        slow = minimize(half_length, start, bounds=[(0, None)] * len(start), method="L-BFGS-B", options={"ftol": 1e-14})
        assert found.half_length <= slow.fun * (1 + 1e-9)
        assert found.half_length == pytest.approx(slow.fun, rel=1e-5)

    def test_with_one_lead_the_loading_is_forced(self) -> None:
        # One lead leaves no freedom: the effect is the value after less the slope before carried on.
        found = shortest_estimator(np.eye(2), n_pre=1, weights=np.array([1.0]), bound=0.0, level=0.95)
        np.testing.assert_allclose(found.loading, [1.0, 1.0], atol=1e-12)
        assert found.half_length == pytest.approx(norm.ppf(0.975) * np.sqrt(2), rel=1e-12)

    def test_twins_before_the_treatment_are_no_obstacle(self) -> None:
        covariance = np.eye(5)
        covariance[0, 1] = covariance[1, 0] = 1.0
        found = shortest_estimator(covariance, n_pre=3, weights=np.array([1.0, 0.0]), bound=0.1, level=0.95)
        assert np.isfinite(found.loading).all()
        assert found.half_length > 0


class TestFace:
    @pytest.mark.parametrize(("n_pre", "n_post"), [(1, 2), (3, 3)])
    def test_units_of_the_outcome_scale_everything(self, n_pre: int, n_post: int) -> None:
        values, covariance = study(n_pre, n_post, seed=4)
        weights = np.full(n_post, 1 / n_post)

        def everything(unit: float) -> FloatArray:
            data = (values * unit, covariance * unit**2)
            options = {"n_pre": n_pre, "weights": weights}
            interval = smoothness_interval(*data, bound=0.05 * unit, **options)
            sets = [
                relative_magnitude_set(*data, mbar=0.5, **options),
                smoothness_set(*data, bound=0.05 * unit, **options),
            ]
            ends = [end for found in sets for segment in found.segments for end in segment]
            smooth = breakdown_value(*data, restriction="smoothness", **options)
            ratio = breakdown_value(*data, restriction="relative-magnitude", **options)
            assert smooth.value is not None
            assert ratio.value is not None
            scaled = [interval.lower, interval.upper, interval.std_error, interval.max_bias, *ends, smooth.value]
            return np.array([*(np.array(scaled) / unit), ratio.value])

        expected = everything(1.0)
        for factor in (1e-6, 1e6):
            np.testing.assert_allclose(everything(factor), expected, rtol=1e-10)

    def test_sign_of_the_outcome_mirrors_the_set(self) -> None:
        values, covariance = study(3, 3, seed=8)
        options = {"n_pre": 3, "weights": np.eye(3)[1], "mbar": 1.2}
        up = relative_magnitude_set(values, covariance, **options)
        down = relative_magnitude_set(-values, covariance, **options)
        np.testing.assert_allclose([down.lower, down.upper], [-up.upper, -up.lower], rtol=1e-9)

    def test_same_bytes_each_time_and_inputs_untouched(self) -> None:
        values, covariance = study(4, 3, seed=6)
        before = values.tobytes(), covariance.tobytes()
        options = {"n_pre": 4, "weights": np.eye(3)[0], "mbar": 1.0}
        once, again = (relative_magnitude_set(values, covariance, **options) for _ in range(2))
        assert once.segments == again.segments
        assert (values.tobytes(), covariance.tobytes()) == before

    @pytest.mark.parametrize("restriction", ["smoothness", "relative-magnitude"])
    def test_zero_joins_at_the_breakdown_value(self, restriction: str) -> None:
        values, covariance = study(4, 4, seed=1)
        options = {"n_pre": 4, "weights": np.eye(4)[0], "level": 0.9}
        found = breakdown_value(values, covariance, restriction=restriction, **options)
        assert found.value is not None
        assert 0 < found.value < found.limit
        for bound, holds in ((found.value * (1 - 1e-6), False), (found.value * (1 + 1e-6), True)):
            if restriction == "smoothness":
                interval = smoothness_interval(values, covariance, bound=bound, **options)
                assert (interval.lower <= 0 <= interval.upper) == holds
            else:
                assert relative_magnitude_set(values, covariance, mbar=bound, **options).contains(0.0) == holds

    @pytest.mark.parametrize("restriction", ["smoothness", "relative-magnitude"])
    def test_an_effect_of_nothing_has_no_breakdown_value(self, restriction: str) -> None:
        values, covariance = np.zeros(5), np.eye(5)
        found = breakdown_value(values, covariance, n_pre=3, weights=np.array([1.0, 0.0]), restriction=restriction)
        assert found.value is None

    def test_an_overwhelming_effect_stops_at_the_limit(self) -> None:
        values = np.array([1e-9, 1.0])
        found = breakdown_value(
            values, 1e-18 * np.eye(2), n_pre=1, weights=np.array([1.0]), restriction="relative-magnitude"
        )
        assert found.value == found.limit

    def test_exactly_parallel_trends_give_the_usual_interval(self) -> None:
        # With Mbar = 0 the hybrid's two stages add up to the two-sided test: (2Q(z) - k)/(1 - k) = (a - k)/(1 - k).
        # The tolerance is the error of the least-favourable value.
        found = relative_magnitude_set(
            np.array([0.0, 0.0, 3.0, 0.0]), np.eye(4), n_pre=2, weights=np.array([1.0, 0.0]), mbar=0.0
        )
        np.testing.assert_allclose([3 - found.lower, found.upper - 3], norm.isf(0.025), atol=1e-3)

    def test_estimates_that_contradict_the_restriction_leave_an_empty_set(self) -> None:
        # One piece says that the only step before is positive; it fell by 50 standard errors.
        piece = relative_magnitude_restrictions(1, 1, mbar=1.0)[0]
        test = hybrid_test(piece, np.eye(2), weights=np.ones(1), level=0.95)
        assert test.kept_segments(np.array([50.0, 0.0])) == ()
        assert test.kept_segments(np.array([-50.0, 0.0])) != ()

    def test_singular_covariance_is_accepted(self) -> None:
        values, covariance = study(3, 3, seed=2)
        covariance[:, 0], covariance[0] = covariance[:, 1], covariance[1]
        covariance[0, 0] = covariance[1, 1]
        values[0] = values[1]
        options = {"n_pre": 3, "weights": np.eye(3)[0]}
        found = relative_magnitude_set(values, covariance, mbar=1.0, **options)
        assert np.isfinite([found.lower, found.upper]).all()
        near = covariance + 1e-10 * np.eye(6)
        assert relative_magnitude_set(values, near, mbar=1.0, **options).lower == pytest.approx(found.lower, rel=1e-4)
        interval = smoothness_interval(values, covariance, bound=0.01, **options)
        assert smoothness_interval(values, near, bound=0.01, **options).lower == pytest.approx(interval.lower, rel=1e-4)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n_pre": 0, "weights": np.ones(4)}, "at least one is needed"),
            ({"n_pre": 4, "weights": np.ones(0)}, "weights of shape"),
            ({"weights": np.ones(3)}, r"need weights of shape \(2,\)"),
            ({"weights": np.zeros(2)}, "all zero"),
            ({"level": 0.05}, "at least 0.5"),
            ({"mbar": -1.0}, "finite and not negative"),
            ({"mbar": np.inf}, "finite and not negative"),
            ({"values": np.array([0.0, np.nan, 1.0, 1.0])}, "must be finite"),
            ({"covariance": np.eye(3)}, "square covariance"),
            ({"covariance": np.diag([1.0, 1.0, 0.0, 1.0])}, "positive diagonal"),
            ({"covariance": np.triu(np.ones((4, 4)))}, "symmetric"),
            ({"covariance": np.eye(4) * 3 - 2}, "negative eigenvalue"),
            ({"mbar": 0.0, "covariance": np.kron(np.eye(2), np.ones((2, 2)))}, "no variance"),
        ],
    )
    def test_what_is_wrong_is_named(self, change: dict[str, object], message: str) -> None:
        inputs: dict[str, object] = {
            "values": np.array([0.1, 0.0, 1.0, 1.0]),
            "covariance": np.eye(4),
            "n_pre": 2,
            "weights": np.array([1.0, 0.0]),
            "mbar": 1.0,
            "level": 0.95,
        } | change
        values, covariance = inputs.pop("values"), inputs.pop("covariance")
        with pytest.raises(ValueError, match=message):
            relative_magnitude_set(values, covariance, **inputs)  # type: ignore[arg-type]

    def test_unknown_restriction_is_named(self) -> None:
        with pytest.raises(ValueError, match="allowed are smoothness, relative-magnitude"):
            breakdown_value(np.ones(2), np.eye(2), n_pre=1, weights=np.ones(1), restriction="convex")  # type: ignore[arg-type]


def coverage(
    pieces: tuple[TrendRestriction, ...], trend: FloatArray, covariance: FloatArray, *, level: float, n_draws: int
) -> float:
    """Share of draws whose set, the union over pieces, holds the true effect of zero on the first period."""
    draws = np.random.default_rng(12).multivariate_normal(trend, covariance, size=n_draws)
    held = np.zeros(n_draws, dtype=bool)
    weights = np.eye(len(trend) - 4)[0]
    for piece in pieces:
        test = hybrid_test(piece, covariance, weights=weights, level=level)
        held |= test.keeps(draws @ test.vertices.loading.T + test.vertices.offset)
    return float(held.mean())


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("step", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("mbar", [0.5, 1.0, 2.0])
def test_relative_magnitude_set_covers_on_the_boundary(level: float, step: float, mbar: float) -> None:
    _, covariance = study(4, 4, seed=11)
    # One step before the treatment, and steps of the largest size allowed after it: the effect is an end of what
    # the restriction allows. Monte Carlo error of 20,000 draws is at most 0.0021.
    trend = np.linalg.solve(first_differences(4, 4), np.array([0.0, step, 0.0, 0.0, *[mbar * step] * 4]))
    pieces = relative_magnitude_restrictions(4, 4, mbar=mbar)
    share = coverage(pieces, trend, covariance, level=level, n_draws=20_000)
    assert share >= level - 0.006
    if step == 1.0:
        # Far from the other pieces the test of the true one has almost its nominal size.
        assert coverage((pieces[2],), trend, covariance, level=level, n_draws=20_000) <= level + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("bound", [0.0, 0.05, 0.5])
def test_fixed_length_interval_covers_at_its_worst_trend(bound: float) -> None:
    _, covariance = study(4, 4, seed=11)
    found = shortest_estimator(covariance, n_pre=4, weights=np.eye(4)[0], bound=bound, level=0.9)
    curvature = second_differences(4, 4)
    signs = np.sign(np.linalg.lstsq(curvature.T, found.loading, rcond=None)[0])
    trend = np.linalg.lstsq(curvature, bound * signs, rcond=None)[0]
    draws = np.random.default_rng(3).multivariate_normal(trend, covariance, size=40_000)
    share = (np.abs(draws @ found.loading) <= found.half_length).mean()
    # Monte Carlo error 0.0015; the worst trend is where the coverage is exactly nominal.
    assert share == pytest.approx(0.9, abs=0.0045)
