"""What must hold for every estimator, option and inference, whichever file they come from."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from contract_cases import (
    AT_ONE_TIME,
    CASES,
    FEELS_LEVELS,
    FEELS_PERIOD_EFFECTS,
    METHODS,
    NEED_CLUSTERS,
    TESTS,
    Case,
    finite_ends,
    long_table,
    moderate_panel,
    read_table,
    suited,
    variants,
    with_outcome,
)

from causalbench.artifacts import canonical_json
from causalbench.data.panel import Panel
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.estimators import Did, SyntheticControl
from causalbench.numerics.simplex import GAP_LIMIT
from causalbench.protocols import Estimator
from causalbench.values import Estimate, rejects

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_test = pytest.mark.parametrize("case", TESTS, ids=str)
every_posterior = pytest.mark.parametrize("case", [case for case in CASES if case not in TESTS], ids=str)
every_estimator = pytest.mark.parametrize(
    "estimator",
    [ESTIMATORS.create(method, options) for method in METHODS for options in variants(method)],
    ids=repr,
)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return moderate_panel()


@pytest.fixture(scope="module")
def answers(panel: Panel) -> dict[str, Estimate]:
    return {str(case): case.estimate(panel) for case in CASES}


def json_bytes(answer: Estimate) -> bytes:
    return canonical_json(answer.to_dict()).encode()


def weights_of(answer: Estimate) -> list[float]:
    return list((answer.weights or {}).values())


def assert_same_std_error(found: Estimate, expected: Estimate, *, scale: float = 1.0, rel: float = 1e-9) -> None:
    if expected.std_error is None:
        assert found.std_error is None
    else:
        assert found.std_error == pytest.approx(scale * expected.std_error, rel=rel, abs=0)


def assert_same_probability(found: Estimate, expected: Estimate, *, rel: float = 1e-9) -> None:
    assert (found.p_value is None) == (expected.p_value is None)
    pairs = ((found.p_value, expected.p_value), (found.posterior_tail, expected.posterior_tail))
    shares = [pair for pair in pairs if pair != (None, None)]
    assert shares
    for share, other in shares:
        assert share == pytest.approx(other, rel=rel, abs=1e-12)


def assert_same_test(found: Estimate, expected: Estimate, *, rel: float = 1e-9) -> None:
    """Hold p-value, standard error and set against each other."""
    assert_same_probability(found, expected, rel=rel)
    assert_same_std_error(found, expected, rel=rel)
    width = max(np.ptp(finite_ends(expected)), abs(expected.value))
    assert finite_ends(found) == pytest.approx(finite_ends(expected), abs=1e-8 * width)


@every_case
def test_order_of_rows_leaves_no_trace(case: Case, panel: Panel) -> None:
    table = long_table(panel)
    shuffled = table.sample(frac=1, random_state=7)
    assert not shuffled.index.equals(table.index)
    assert json_bytes(case.estimate(read_table(shuffled))) == json_bytes(case.estimate(read_table(table)))


@every_case
def test_input_table_is_untouched(case: Case, panel: Panel) -> None:
    table = long_table(panel).sample(frac=1, random_state=3)
    before = table.copy(deep=True)
    case.estimate(read_table(table))
    pd.testing.assert_frame_equal(table, before)


@every_case
def test_input_panel_is_untouched(case: Case, panel: Panel) -> None:
    fresh = moderate_panel(9)
    outcome, treated = fresh.outcome.copy(), fresh.treated.copy()
    case.estimate(fresh)
    np.testing.assert_array_equal(fresh.outcome, outcome)
    np.testing.assert_array_equal(fresh.treated, treated)


@every_case
def test_same_seed_gives_the_same_bytes(case: Case, panel: Panel, answers: dict[str, Estimate]) -> None:
    assert json_bytes(case.estimate(panel)) == json_bytes(answers[str(case)])


@every_case
def test_names_and_order_of_units_do_not_matter(case: Case, panel: Panel, answers: dict[str, Estimate]) -> None:
    order = np.random.default_rng(5).permutation(len(panel.units))
    renamed = replace(
        panel,
        outcome=panel.outcome[order],
        treated=panel.treated[order],
        units=tuple(f"geo {i:02d}" for i in range(len(order))),
    )
    found, expected = case.estimate(renamed), answers[str(case)]
    assert found.value == pytest.approx(expected.value, rel=1e-12, abs=0)
    assert_same_test(found, expected)


@every_case
def test_shifted_period_numbers_do_not_matter(case: Case, panel: Panel, answers: dict[str, Estimate]) -> None:
    later = replace(panel, periods=tuple(period + 2000 for period in panel.periods))  # type: ignore[operator]
    found, expected = case.estimate(later), answers[str(case)]
    assert found.value == pytest.approx(expected.value, rel=1e-12, abs=0)
    assert_same_test(found, expected)


@every_case
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_outcome_scale_the_answer(
    case: Case, scale: float, panel: Panel, answers: dict[str, Estimate]
) -> None:
    found, expected = case.estimate(with_outcome(panel, scale * panel.outcome)), answers[str(case)]
    assert found.value == pytest.approx(scale * expected.value, rel=1e-9, abs=0)
    assert_same_probability(found, expected)
    assert_same_std_error(found, expected, scale=scale)
    ends = [scale * end for end in finite_ends(expected)]
    assert finite_ends(found) == pytest.approx(ends, rel=1e-9, abs=1e-9 * scale * abs(expected.value))
    assert weights_of(found) == pytest.approx(weights_of(expected), abs=1e-9)


@every_case
@pytest.mark.parametrize("constant", [1e3, -1e3])
def test_constant_added_everywhere_changes_nothing(
    case: Case, constant: float, panel: Panel, answers: dict[str, Estimate]
) -> None:
    found, expected = case.estimate(with_outcome(panel, panel.outcome + constant)), answers[str(case)]
    if case.method in FEELS_LEVELS:
        assert found.value != pytest.approx(expected.value, rel=1e-3), "take it off the list of those that feel them"
        return
    assert found.value == pytest.approx(expected.value, rel=1e-9, abs=0)
    assert_same_test(found, expected)
    assert weights_of(found) == pytest.approx(weights_of(expected), abs=1e-9)


@pytest.mark.parametrize(
    "case",
    # Arkhangelsky et al. (2021), equation 5: what units share in a period counts as noise and enters the ridge.
    [c for c in CASES if c.method != "synthetic-did" and c.options.get("compat") != "synthdid"],
    ids=str,
)
def test_period_effects_change_nothing(case: Case, panel: Panel, answers: dict[str, Estimate]) -> None:
    effects = np.random.default_rng(1).normal(scale=20, size=len(panel.periods))
    found, expected = case.estimate(with_outcome(panel, panel.outcome + effects)), answers[str(case)]
    if case.method in FEELS_PERIOD_EFFECTS:
        assert found.value != pytest.approx(expected.value, rel=1e-3), "take it off the list of those that feel them"
        return
    assert found.value == pytest.approx(expected.value, rel=1e-9, abs=0)
    assert_same_test(found, expected)


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.method in ("did", "synthetic-did") or c.options.get("fixed_effects") == "unit"],
    ids=str,
)
def test_unit_effects_change_nothing_where_they_are_taken_out(
    case: Case, panel: Panel, answers: dict[str, Estimate]
) -> None:
    effects = np.random.default_rng(2).normal(scale=20, size=(len(panel.units), 1))
    found, expected = case.estimate(with_outcome(panel, panel.outcome + effects)), answers[str(case)]
    assert found.value == pytest.approx(expected.value, rel=1e-9, abs=0)
    assert_same_test(found, expected)


@every_case
@pytest.mark.parametrize("constant", [-2.5, 0.75])
def test_effect_added_to_treated_cells_shifts_the_answer(
    case: Case, constant: float, panel: Panel, answers: dict[str, Estimate]
) -> None:
    found, expected = case.estimate(with_outcome(panel, panel.outcome + constant * panel.treated)), answers[str(case)]
    assert found.value == pytest.approx(expected.value + constant, rel=1e-9)
    assert_same_std_error(found, expected)
    assert finite_ends(found) == pytest.approx([end + constant for end in finite_ends(expected)], abs=1e-7)


@every_test
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_p_value_and_interval_agree_about_no_effect(case: Case, level: float) -> None:
    agreeing = []
    for seed in range(8):
        answer = case.estimate(moderate_panel(seed, effect=0.6), level=level)
        assert answer.interval is not None
        assert answer.p_value is not None
        assert answer.rejected == rejects(answer.p_value, level)
        agreeing.append(answer.interval.contains(0.0) != rejects(answer.p_value, level))
    assert all(agreeing)


@every_posterior
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_tail_and_interval_agree_about_no_effect(case: Case, level: float) -> None:
    answer = case.estimate(moderate_panel(3, effect=0.6), level=level)
    assert answer.interval is not None
    assert answer.interval.kind == "credible"
    assert answer.posterior_tail is not None
    assert answer.interval.contains(0.0) == (answer.posterior_tail > (1 - level) / 2)


@every_test
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_holds_the_effects_that_are_not_rejected(case: Case, level: float) -> None:
    panel = moderate_panel(21, effect=1.0)
    answer = case.estimate(panel, level=level)
    assert answer.interval is not None
    inside = []
    for null in answer.value + np.array([-9.5, -1.9, -1.1, -0.7, -0.45, -0.2, 0.1, 0.3, 0.55, 0.8, 1.3, 2.1, 9.5]):
        shifted = case.estimate(with_outcome(panel, panel.outcome - null * panel.treated), level=level)
        assert shifted.p_value is not None
        inside.append(answer.interval.contains(null))
        assert inside[-1] != rejects(shifted.p_value, level), f"effect {null}"
    assert any(inside)
    assert not all(inside) or any(warning.startswith("unbounded") for warning in answer.warnings)


@every_estimator
def test_many_fits_equal_one_fit_each(estimator: Estimator[Panel], panel: Panel) -> None:
    if not hasattr(estimator, "fit_many"):
        pytest.skip("has no fast path for many assignments")
    panel = suited(panel, getattr(estimator, "match", None))
    rng = np.random.default_rng(0)
    rows = np.array([rng.permutation(panel.ever_treated) for _ in range(6)] + [panel.ever_treated])
    rows[0] = np.arange(len(panel.units)) == 3
    fits = list(estimator.fit_many(panel, np.where(rows, panel.n_pre, len(panel.periods))))
    assert len(fits) == len(rows)
    for row, fit in zip(rows, fits, strict=True):
        alone = estimator.fit(panel.assigned_to(row, start=panel.n_pre))
        assert fit.effect == pytest.approx(alone.effect, rel=1e-10, abs=1e-10)
        np.testing.assert_allclose(fit.path.effect, alone.path.effect, rtol=0, atol=1e-10)
        if alone.weights is not None:
            np.testing.assert_allclose(fit.weights, alone.weights, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1.0, 1e3, 1e5])
@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
def test_donor_weights_are_optimal_beside_a_donor_of_another_size(
    size: float, fixed_effects: Literal["none", "unit"]
) -> None:
    panel = moderate_panel()
    outcome = panel.outcome.copy()
    outcome[-1] *= size
    fit = SyntheticControl(fixed_effects=fixed_effects).fit(with_outcome(panel, outcome))
    assert fit.weights is not None
    before = outcome[:, : panel.n_pre]
    before = before - before.mean(axis=1, keepdims=True) if fixed_effects == "unit" else before
    donors = before[~panel.ever_treated]
    gap = fit.weights @ before - before[panel.ever_treated].mean(axis=0)
    gradient = donors @ gap
    assert fit.weights[~panel.ever_treated] @ gradient - gradient.min() <= GAP_LIMIT * (gap @ gap)


@every_estimator
def test_effect_is_the_mean_of_its_path_after_the_launch(estimator: Estimator[Panel], panel: Panel) -> None:
    fit = estimator.fit(suited(panel, getattr(estimator, "match", None)))
    assert fit.effect == pytest.approx(fit.path.effect[panel.n_pre :].mean(), rel=1e-9)
    np.testing.assert_allclose(fit.path.observed, panel.outcome[panel.ever_treated].mean(axis=0), rtol=1e-12)


@every_estimator
def test_default_inference_is_one_of_the_method(estimator: Estimator[Panel], panel: Panel) -> None:
    assert estimator.default_inference(panel) in estimator.inferences


def test_cases_cover_the_whole_catalogue() -> None:
    assert {case.method for case in CASES} == set(METHODS)
    assert set(ESTIMATORS.names()) - set(METHODS) == {
        "triple-differences",
        *NEED_CLUSTERS,
        *AT_ONE_TIME,
    }  # held in tests/unit
    assert {(c.method, c.inference) for c in CASES} >= {("did", "cluster"), ("synthetic-control", "conformal")}
    assert Did() in [ESTIMATORS.create(case.method, case.options) for case in CASES]
    assert SyntheticControl(fixed_effects="unit") in [ESTIMATORS.create(case.method, case.options) for case in CASES]


DIGESTS = """
from causalbench.artifacts import canonical_json, digest
from contract_cases import CASES, moderate_panel
panel = moderate_panel()
for case in CASES:
    print(case, digest(canonical_json(case.estimate(panel).to_dict()).encode()))
"""


def test_hash_seed_and_threads_leave_no_trace() -> None:
    printed = []
    for hash_seed, threads in (("0", "1"), ("1", "2")):
        libraries = ("OMP", "MKL", "OPENBLAS", "NUMBA")
        environment = (
            os.environ | {f"{library}_NUM_THREADS": threads for library in libraries} | {"PYTHONHASHSEED": hash_seed}
        )
        program, folder = [sys.executable, "-c", DIGESTS], Path(__file__).parent
        done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment, cwd=folder)
        printed.append(done.stdout)
    assert len(printed[0].splitlines()) == len(CASES)
    assert printed[0] == printed[1]
