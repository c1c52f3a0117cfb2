"""What every estimator on cross-sections, with every choice of its options and inferences, must do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from contract_cases import variants

from causalbench.data.cross_section import CrossSection
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.values import Estimate, rejects
from causalbench.workflow.estimate import estimate

METHODS = [name for name in ESTIMATORS.names() if ESTIMATORS.load(name).requires.shape == "cross-section"]
# Choices that need another beside them.
BESIDE: dict[tuple[str, Any], dict[str, Any]] = {
    ("slopes", "common"): {"method": "regression"},
    ("distance", "propensity"): {"method": "matching"},
}
FURTHER: list[dict[str, Any]] = [
    {"method": "ipw", "estimand": "ate"},
    {"method": "regression", "estimand": "ate"},
    {"method": "matching", "estimand": "ate", "matches": 2},
    {"folds": 3},
    {"folds": 3, "estimand": "ate"},
    {"trim": 0.2},
    {"squares": ("age",)},
]


@dataclass(frozen=True)
class Case:
    """One way to ask for an estimate."""

    method: str
    inference: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.method, self.inference, *(f"{key}={value}" for key, value in self.options.items())])

    def estimate(self, data: CrossSection, *, level: float = 0.9, seed: int = 0) -> Estimate:
        return estimate(data, self.method, inference=self.inference, options=self.options, level=level, seed=seed)


def options_of(method: str) -> list[dict[str, Any]]:
    """Return the default options, each other choice, and some together."""
    found = []
    for options in variants(method):
        for choice in list(options.items()):
            options |= BESIDE.get(choice, {})
        found.append(options)
    return found + FURTHER


def inferences_of(method: str, options: Mapping[str, Any]) -> list[str]:
    """Return the inferences that go with a choice: matching has one of its own."""
    matched = options.get("method") == "matching"
    return [
        name
        for name in ESTIMATORS.load(method).inferences
        if (name == "abadie-imbens") == matched and (name == "influence" or matched or not options)
    ]


CASES = [
    Case(method, inference, options)
    for method in METHODS
    for options in options_of(method)
    for inference in inferences_of(method, options)
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def table(n: int = 160, seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, n).round(1)
    visits = rng.integers(0, 5, n)
    town = rng.choice(["north", "south", "west"], n)
    took = rng.random(n) < 1 / (1 + np.exp(0.2 - 0.04 * (age - 40)))
    before = 20 + 0.3 * age + visits + rng.normal(size=n)
    spend = before + 2 + 1.5 * took + rng.normal(size=n)
    return pd.DataFrame(
        {"spend": spend, "took": took * 1, "age": age, "visits": visits, "town": town, "before": before}
    )


def read(rows: pd.DataFrame, **changes: Any) -> CrossSection:
    roles: dict[str, Any] = {
        "outcome": "spend",
        "treatment": "took",
        "covariates": ["age", "visits", "town"],
        "before": "before",
    }
    return CrossSection.from_table(rows, **(roles | changes))


def ends(answer: Estimate) -> list[float]:
    assert answer.interval is not None
    return [answer.interval.segments[0][0], answer.interval.segments[0][1]]


def test_cases_cover_the_catalogue() -> None:
    assert "adjustment" in METHODS
    for method in METHODS:
        assert {case.inference for case in CASES if case.method == method} == set(ESTIMATORS.load(method).inferences)
        assert {case.inference for case in CASES} <= set(INFERENCES.names())
    asked = {case.options.get("method", "aipw") for case in CASES}
    assert asked == {"aipw", "regression", "ipw", "matching", "dr-did"}


@every_case
def test_order_of_rows_leaves_no_trace(case: Case) -> None:
    rows = table()
    mixed = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    assert case.estimate(read(rows)).to_dict() == case.estimate(read(mixed)).to_dict()


@every_case
def test_caller_s_table_is_untouched(case: Case) -> None:
    rows = table()
    kept = rows.copy(deep=True)
    case.estimate(read(rows))
    pd.testing.assert_frame_equal(rows, kept)


@every_case
def test_scale_of_the_outcome_scales_the_answer(case: Case) -> None:
    rows = table()
    answer = case.estimate(read(rows))
    larger = case.estimate(read(rows.assign(spend=rows.spend * 1e6, before=rows.before * 1e6)))
    assert larger.value == pytest.approx(1e6 * answer.value, rel=1e-9)
    assert larger.std_error == pytest.approx(1e6 * (answer.std_error or 0), rel=1e-9)
    assert ends(larger) == pytest.approx([1e6 * end for end in ends(answer)], rel=1e-8)
    assert larger.p_value == pytest.approx(answer.p_value, abs=1e-9)


@every_case
def test_level_of_the_outcome_moves_nothing(case: Case) -> None:
    rows = table()
    answer, higher = case.estimate(read(rows)), case.estimate(read(rows.assign(spend=rows.spend + 500)))
    # Trees of boosting add up residuals about the mean.
    exact = 1e-9 if case.options.get("learner", "linear") == "linear" else 1e-6
    assert higher.value == pytest.approx(answer.value, rel=exact)
    assert higher.std_error == pytest.approx(answer.std_error, rel=max(exact, 1e-8))


@every_case
def test_names_of_columns_mean_nothing(case: Case) -> None:
    rows = table()
    squares = tuple("z" if name == "age" else name for name in case.options.get("squares", ()))
    options = {**case.options, "squares": squares} if squares else case.options
    renamed = replace(case, options=options).estimate(
        read(
            rows.rename(columns={"age": "z", "visits": "q", "took": "d"}), treatment="d", covariates=["z", "q", "town"]
        )
    )
    assert (renamed.value, renamed.std_error) == (case.estimate(read(rows)).value, case.estimate(read(rows)).std_error)


@every_case
def test_units_of_covariates_mean_nothing(case: Case) -> None:
    rows = table()
    answer, other = case.estimate(read(rows)), case.estimate(read(rows.assign(age=rows.age * 12)))
    assert other.value == pytest.approx(answer.value, rel=1e-6)
    assert other.std_error == pytest.approx(answer.std_error, rel=1e-6)


@every_case
def test_exchanged_arms_change_the_sign(case: Case) -> None:
    if case.options.get("estimand") != "ate" or "folds" in case.options:
        pytest.skip("holds for the average over all units; folds are drawn arm by arm")
    if case.options.get("learner", "linear") != "linear":
        pytest.skip("folds are drawn arm by arm")
    rows = table()
    answer, other = case.estimate(read(rows)), case.estimate(read(rows.assign(took=1 - rows.took)))
    assert other.value == pytest.approx(-answer.value, rel=1e-7)
    assert other.std_error == pytest.approx(answer.std_error, rel=1e-7)


@every_case
def test_same_seed_same_bytes(case: Case) -> None:
    data = read(table())
    assert case.estimate(data, seed=3).to_dict() == case.estimate(data, seed=3).to_dict()


@every_case
def test_seed_matters_where_something_is_drawn(case: Case) -> None:
    data = read(table())
    draws = case.inference == "cluster-bootstrap" or "folds" in case.options or "learner" in case.options
    assert (case.estimate(data, seed=3).to_dict() != case.estimate(data, seed=4).to_dict()) == draws


@every_case
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_p_value_and_interval_agree(case: Case, level: float) -> None:
    answer = case.estimate(read(table()), level=level)
    assert answer.interval is not None
    assert answer.p_value is not None
    assert answer.interval.level == level
    assert rejects(answer.p_value, level) != answer.interval.contains(0.0)
    assert answer.interval.contains(answer.value)
    inside = ends(answer)[0] + 0.01 * (answer.std_error or 0)
    moved = read(table().assign(spend=lambda rows: rows.spend - inside * rows.took))
    shifted = case.estimate(moved, level=level)
    assert shifted.p_value is not None
    # Trees see an outcome that was moved in one arm as another outcome.
    if case.options.get("learner", "linear") == "linear":
        assert not rejects(shifted.p_value, level)


@every_case
def test_there_is_no_path(case: Case) -> None:
    answer = case.estimate(read(table()))
    assert answer.path.periods == ()
    assert (answer.n_pre, answer.n_post) == (0, 0)
    assert answer.estimand.kind == case.options.get("estimand", "att")
    assert answer.detail["relative"] == pytest.approx(answer.value / answer.detail["counterfactual_mean"])


DIGESTS = """
from causalbench.artifacts import canonical_json, digest
from test_cross_section_estimates import CASES, read, table
data = read(table())
for case in CASES:
    print(case, digest(canonical_json(case.estimate(data).to_dict()).encode()))
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
