"""Methods that err together count once; the verdict on consistency has the size it promises."""

import math

import numpy as np
import pytest
from scipy import optimize

from causalbench.calibration.triangulate import triangulate
from causalbench.errors import DataError

LOADINGS = np.array([[1, 0.2, 0], [1, 0.3, 0.1], [0.9, 0.1, 0.5], [0.7, 0.9, 0.2]])
NAMES = ("did", "synthetic-control", "augmented", "time-series")


def errors(n, rng, *, heavy=False):
    """Joint errors of four methods that share two thirds of what they get wrong, normal or Student's t with 3 degrees."""

    def draw(k):
        return rng.standard_t(3, (k, n)) if heavy else rng.standard_normal((k, n))

    return LOADINGS @ draw(3) + 0.1 * draw(4)


def estimates(at, effect=5.0):
    return {name: effect + error for name, error in zip(NAMES, at, strict=True)}


def oracle(table):
    """Weights of smallest mean squared error on the simplex, by a general solver."""
    gram = table @ table.T / table.shape[1]
    n = len(table)
    found = optimize.minimize(
        lambda w: w @ gram @ w,
        np.full(n, 1 / n),
        jac=lambda w: 2 * gram @ w,
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.x


def test_weights_minimise_the_mean_squared_placebo_error():
    table = errors(60, np.random.default_rng(3))
    found = triangulate(estimates(np.zeros(4)), table)
    assert list(found.weights.values()) == pytest.approx(oracle(table), abs=1e-5)
    assert found.value == pytest.approx(5.0)


def test_p_value_is_the_rank_of_the_differences_by_plain_counting():
    rng = np.random.default_rng(4)
    table, own = errors(50, rng), errors(1, rng)[:, 0]
    found = triangulate(estimates(own), table)
    sets = np.column_stack([own + 5, table])
    contrasts = sets[1:] - sets[0]
    inverse = np.linalg.inv(contrasts @ contrasts.T)
    distances = [d @ inverse @ d for d in contrasts.T]
    assert found.p_value == pytest.approx((1 + sum(d >= distances[0] for d in distances[1:])) / 51)


@pytest.mark.parametrize("times", [1, 5])
def test_method_entered_twice_changes_nothing(times):
    rng = np.random.default_rng(5)
    table = errors(80, rng)
    own = estimates(errors(1, rng)[:, 0])
    again = own | {f"copy {i}": own["did"] for i in range(times)}
    one, more = triangulate(own, table), triangulate(again, np.vstack([table, *[table[:1]] * times]))
    assert more.value == pytest.approx(one.value, rel=1e-12)
    assert more.std_error == pytest.approx(one.std_error, rel=1e-12)
    assert more.p_value == one.p_value
    assert more.interval.lower == pytest.approx(one.interval.lower)
    copies = [more.weights["did"], *(more.weights[f"copy {i}"] for i in range(times))]
    assert sum(copies) == pytest.approx(one.weights["did"])


def test_method_that_is_almost_another_shares_its_weight():
    rng = np.random.default_rng(6)
    shared, own = rng.normal(size=400), rng.normal(size=400)
    alike = [shared + 0.01 * rng.normal(size=400) for _ in range(6)]
    found = triangulate({f"m{i}": 0.0 for i in range(6)} | {"other": 0.0}, np.array([*alike, own]))
    assert found.weights["other"] == pytest.approx(0.5, abs=0.05)


def test_scale_and_order_of_methods_and_placebos_change_nothing():
    rng = np.random.default_rng(7)
    table, own = errors(64, rng), errors(1, rng)[:, 0]
    one = triangulate(estimates(own), table)
    order = [2, 0, 3, 1]
    scaled = {NAMES[i]: 1e6 * (5 + own[i]) for i in order}
    other = triangulate(scaled, 1e6 * table[order])
    assert other.value == pytest.approx(1e6 * one.value)
    assert other.p_value == one.p_value
    assert other.weights["did"] == pytest.approx(one.weights["did"], abs=1e-9)


def test_method_that_left_the_others_is_found_and_named():
    rng = np.random.default_rng(13)
    own = estimates(errors(1, rng)[:, 0])
    own["time-series"] += 6
    found = triangulate(own, errors(99, rng))
    assert found.consistent is False
    assert found.p_value == pytest.approx(1 / 100)
    assert "Without time-series the others agree (p = " in found.reason
    assert max(found.apart, key=lambda name: abs(found.apart[name])) == "time-series"
    assert "Don't lean on the combination." in found.reason


@pytest.mark.parametrize("n_placebos", [0, 3, 18])
def test_few_placebos_give_no_verdict_and_say_how_many_are_needed(n_placebos):
    found = triangulate(estimates(np.arange(4.0)), errors(n_placebos, np.random.default_rng(9)))
    assert (found.consistent, found.p_value, found.interval) == (None, None, None)
    assert "19 are needed" in found.reason
    assert sum(found.weights.values()) == pytest.approx(1.0)
    assert (found.std_error is None) == (n_placebos < 5)


def test_placebos_of_one_group_count_once():
    rng = np.random.default_rng(10)
    table = np.repeat(errors(12, rng), 10, axis=1)
    own = estimates(errors(1, rng)[:, 0])
    assert triangulate(own, table).consistent is not None
    grouped = triangulate(own, table, groups=[f"unit {i // 10}" for i in range(120)])
    assert (grouped.n_placebos, grouped.n_independent, grouped.consistent) == (120, 12, None)


def test_one_method_has_nothing_to_agree_with():
    found = triangulate({"did": 2.0}, np.random.default_rng(0).normal(size=(1, 40)), level=0.9)
    assert (found.value, found.weights, found.consistent) == (2.0, {"did": 1.0}, None)
    assert found.reason.startswith("One method answers")
    assert found.interval.contains(2.0)


def test_errors_that_are_all_zero_are_no_error():
    found = triangulate({"a": 1.0, "b": 1.0}, np.zeros((2, 30)))
    assert (found.value, found.p_value, found.consistent) == (1.0, None, None)
    assert found.reason.startswith("The methods never differ")
    apart = triangulate({"a": 1.0, "b": 2.0}, np.zeros((2, 30)))
    assert apart.consistent is False


def test_placebo_that_a_method_could_not_answer_is_left_out():
    table = errors(30, np.random.default_rng(11))
    table[1, 4] = math.nan
    assert triangulate(estimates(np.zeros(4)), table).n_placebos == 29


@pytest.mark.parametrize(
    ("own", "shape", "groups", "words"),
    [
        ({}, (0, 20), None, "0 estimates"),
        ({"a": 1.0}, (2, 20), None, "don't go together"),
        ({"a": math.nan, "b": 1.0}, (2, 20), None, "without a value: a"),
        ({"a": 1.0, "b": 1.0}, (2, 20), ["x"], "1 groups for 20 placebos"),
    ],
)
def test_wrong_input_is_refused_by_name(own, shape, groups, words):
    with pytest.raises(DataError, match=words):
        triangulate(own, np.zeros(shape), groups=groups)


def test_to_dict_is_plain():
    found = triangulate(estimates(np.zeros(4)), errors(40, np.random.default_rng(12))).to_dict()
    assert found["interval"]["level"] == 0.95
    assert set(found["weights"]) == set(NAMES)
