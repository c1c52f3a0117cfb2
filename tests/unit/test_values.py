"""Value objects: what they refuse, copy and write."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pytest

from causalbench.artifacts import canonical_json, digest
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.values import EffectPath, Estimate, Fit, Interval, PathBands, Uncertainty, frozen_array, rejects
from causalbench.workflow.estimate import estimate

INFINITY = math.inf


def interval(*segments: tuple[float, float], level: float = 0.9) -> Interval:
    return Interval(segments=segments, level=level, kind="confidence")


@pytest.fixture(scope="module")
def answer() -> Estimate:
    panel = factor_panel(n_units=8, n_periods=20, n_treated=1, n_post=4, effect=1.0, rho=0.2, seed=1)
    return estimate(panel, "synthetic-control", inference="placebo-rank", level=0.8)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 90, math.nan])
def test_interval_refuses_a_level_outside_zero_and_one(level: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        interval((0, 1), level=level)


@pytest.mark.parametrize(
    "segments",
    [((1.0, 0.0),), ((2.0, 3.0), (0.0, 1.0)), ((0.0, 2.0), (1.0, 3.0)), ((math.nan, 1.0),), ((0.0, math.nan),)],
)
def test_interval_refuses_segments_that_do_not_ascend(segments: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="segments must ascend"):
        interval(*segments)


@pytest.mark.parametrize(
    ("segments", "lower", "upper"),
    [
        (((-1.0, 2.0),), -1.0, 2.0),
        (((-1.0, 0.0), (3.0, 5.0)), -1.0, 5.0),
        (((-INFINITY, 2.0),), None, 2.0),
        (((1.0, INFINITY),), 1.0, None),
        (((-INFINITY, INFINITY),), None, None),
        ((), None, None),
    ],
)
def test_interval_ends_are_those_of_its_hull(
    segments: tuple[tuple[float, float], ...], lower: float | None, upper: float | None
) -> None:
    found = interval(*segments)
    assert (found.lower, found.upper) == (lower, upper)
    assert found.empty == (segments == ())


@pytest.mark.parametrize(
    ("effect", "inside"), [(-1.0, True), (0.0, True), (0.5, False), (1.0, True), (9.0, True), (-2, False)]
)
def test_interval_contains_its_closed_segments(effect: float, inside: bool) -> None:
    assert interval((-1.0, 0.0), (1.0, INFINITY)).contains(effect) is inside


def test_level_of_an_interval_cannot_be_relabelled() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        interval((0, 1)).level = 0.95  # type: ignore[misc]


@pytest.mark.parametrize(
    ("p_value", "segments"), [(0.05, ((-1.0, 1.0),)), (0.5, ((1.0, 2.0),)), (0.5, ()), (0.1, ((0.0, 1.0),))]
)
def test_p_value_that_contradicts_its_interval_is_refused(
    p_value: float, segments: tuple[tuple[float, float], ...]
) -> None:
    with pytest.raises(ValueError, match="disagree about 0"):
        Uncertainty(interval=interval(*segments), p_value=p_value)


@pytest.mark.parametrize(
    ("p_value", "segments"), [(0.05, ((1.0, 2.0),)), (0.5, ((-1.0, 1.0),)), (0.05, ()), (0.1, ((1.0, 2.0),))]
)
def test_p_value_that_agrees_with_its_interval_is_kept(
    p_value: float, segments: tuple[tuple[float, float], ...]
) -> None:
    assert Uncertainty(interval=interval(*segments), p_value=p_value).p_value == p_value


@pytest.mark.parametrize("p_value", [-0.1, 1.1, math.nan])
def test_p_value_outside_zero_and_one_is_refused(p_value: float) -> None:
    with pytest.raises(ValueError, match="p_value is"):
        Uncertainty(interval=None, p_value=p_value)


@pytest.mark.parametrize(
    ("p_value", "level", "verdict"), [(0.1, 0.9, True), (0.05, 0.95, True), (0.2, 0.8, True), (0.101, 0.9, False)]
)
def test_p_value_equal_to_the_threshold_rejects(p_value: float, level: float, verdict: bool) -> None:
    assert rejects(p_value, level) is verdict


def test_arrays_of_a_panel_are_copied_and_read_only() -> None:
    outcome, treated = np.arange(6.0).reshape(2, 3), np.zeros((2, 3), dtype=bool)
    treated[0, 2] = True
    panel = Panel(outcome=outcome, treated=treated, units=("a", "b"), periods=(1, 2, 3))
    outcome[0, 0], treated[1, 2] = 99.0, True
    assert panel.outcome[0, 0] == 0
    assert not panel.treated[1, 2]
    for array in (panel.outcome, panel.treated):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_arrays_of_a_path_and_a_fit_are_copied_and_read_only() -> None:
    observed, counterfactual, weights = np.array([1.0, 5.0]), np.array([1.0, 2.0]), np.array([0.0, 1.0])
    path = EffectPath(periods=(1, 2), observed=observed, counterfactual=counterfactual)
    fit = Fit(effect=3.0, path=path, weights=weights, covariance=np.eye(1))
    observed[1] = counterfactual[1] = weights[1] = 99
    assert path.effect.tolist() == [0, 3]
    assert fit.weights is not None
    assert fit.covariance is not None
    assert fit.weights.tolist() == [0, 1]
    for array in (path.observed, path.counterfactual, path.effect, fit.weights, fit.covariance):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_frozen_array_refuses_a_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"weights has shape \(2,\), expected \(3,\)"):
        frozen_array([1, 2], shape=(3,), name="weights")


@pytest.mark.parametrize("effect", [math.nan, INFINITY])
def test_fit_refuses_an_effect_that_is_no_number(effect: float) -> None:
    path = EffectPath(periods=(1,), observed=np.ones(1), counterfactual=np.ones(1))
    with pytest.raises(ValueError, match="effect is"):
        Fit(effect=effect, path=path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": ("a", "a")}, "units must be distinct"),
        ({"periods": (1, 1, 2)}, "periods must ascend"),
        ({"periods": (2, 1, 3)}, "periods must ascend"),
        ({"treated": [[0, 1, 0], [0, 0, 0]]}, "absorbing"),
        ({"outcome": [[1.0, 2.0, INFINITY], [1.0, 2.0, 3.0]]}, "finite or NaN"),
        ({"outcome": [[1.0, 2.0], [1.0, 2.0]]}, "outcome has shape"),
    ],
)
def test_panel_refuses_what_is_no_panel(changes: dict[str, Any], message: str) -> None:
    parts: dict[str, Any] = {
        "outcome": [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]],
        "treated": [[0, 0, 1], [0, 0, 0]],
        "units": ("a", "b"),
        "periods": (1, 2, 3),
    }
    with pytest.raises(ValueError, match=message):
        Panel(**(parts | changes))


def test_representations_hold_no_address_and_no_clock(answer: Estimate) -> None:
    again = Estimate(**{field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)})
    assert repr(again) == repr(answer)
    assert " at 0x" not in repr(answer)
    assert str(dt.datetime.now(dt.UTC).year) not in repr(answer)


def test_every_value_object_is_frozen(answer: Estimate) -> None:
    for value in (answer, answer.path, answer.estimand, answer.interval):
        field = dataclasses.fields(value)[0].name  # type: ignore[arg-type]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, None)


def test_estimate_is_written_under_the_names_of_its_fields(answer: Estimate) -> None:
    assert list(answer.to_dict()) == [field.name for field in dataclasses.fields(Estimate)]
    assert json.loads(canonical_json(answer.to_dict())) == answer.to_dict()


@pytest.mark.parametrize("value", [math.nan, INFINITY, -INFINITY, np.float64("nan"), np.array(np.inf)])
def test_numbers_that_are_not_finite_become_null(value: Any) -> None:
    assert canonical_json({"x": value, "y": [value]}) == '{"x":null,"y":[null]}'
    assert canonical_json(np.array([1.0, float(value)])) == "[1.0,null]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": {"d": 1, "c": 2}}, '{"a":{"c":2,"d":1},"b":1}'),
        ({"s": {"b", "a"}}, '{"s":["a","b"]}'),
        ((1, 2.5, None, True, "é"), '[1,2.5,null,true,"é"]'),
        ([np.int64(3), np.bool_(True), np.float64(0.1)], "[3,true,0.1]"),
        ([dt.date(2024, 3, 4)], '["2024-03-04"]'),
        ({1: "number"}, '{"1":"number"}'),
        (1 / 3, "0.3333333333333333"),
    ],
)
def test_canonical_json_is_sorted_and_shortest(value: Any, text: str) -> None:
    assert canonical_json(value) == text


def test_value_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no canonical JSON form"):
        canonical_json({"x": object()})


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


@pytest.mark.parametrize(
    "changes", [{"n_treated": 0}, {"n_treated": 8}, {"n_post": 0}, {"n_post": 20}, {"rho": 1.0}, {"rho": -1.0}]
)
def test_simulation_refuses_what_it_cannot_draw(changes: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {
        "n_units": 8,
        "n_periods": 20,
        "n_treated": 2,
        "n_post": 5,
        "effect": 0.0,
        "rho": 0.5,
        "seed": 0,
    }
    with pytest.raises(ValueError, match=r"can't be treated|rho is"):
        factor_panel(**(sizes | changes))


def test_simulated_effect_is_the_only_difference_between_two_panels_of_a_seed() -> None:
    sizes: dict[str, Any] = {"n_units": 8, "n_periods": 20, "n_treated": 2, "n_post": 5, "rho": 0.5, "seed": 3}
    with_effect, without = factor_panel(effect=2.5, **sizes), factor_panel(effect=0.0, **sizes)
    np.testing.assert_allclose(with_effect.outcome - without.outcome, 2.5 * without.treated, atol=1e-12)
    assert factor_panel(effect=0.0, **sizes).fingerprint == without.fingerprint


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_simulated_noise_is_stationary_from_the_first_period(rho: float) -> None:
    panel = factor_panel(n_units=8000, n_periods=6, n_treated=1, n_post=1, effect=0.0, rho=rho, n_factors=0, seed=0)
    variances = panel.outcome.var(axis=0)
    monte_carlo_error = 2 * math.sqrt(2 / 8000)
    assert variances == pytest.approx(np.full(6, 2.0), abs=4 * monte_carlo_error)  # unit effects 1 plus noise 1
    covariance = np.cov(panel.outcome[:, 2], panel.outcome[:, 3])[0, 1]
    assert covariance == pytest.approx(1 + rho, abs=4 * monte_carlo_error)  # unit effects 1 plus autocovariance


def test_a_posterior_has_no_p_value() -> None:
    with pytest.raises(ValueError, match="found both"):
        Uncertainty(interval=None, p_value=0.5, posterior_tail=0.2)


def test_bands_of_a_path_share_its_shape() -> None:
    ends = {"lower": np.zeros(3), "upper": np.ones(3), "cumulative_lower": np.zeros(3)}
    with pytest.raises(ValueError, match="cumulative_upper has shape"):
        PathBands(level=0.9, kind="credible", cumulative_upper=np.ones(2), **ends)
