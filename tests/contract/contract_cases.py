"""What the contract is held against: every estimator of the catalogue with every choice of its options and inferences."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from causalbench.catalogue import Catalogue
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.numerics import persistence
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate

ONE_TREATED = {"refined-placebo"}


def treated_as_one(panel: Panel) -> Panel:
    """Put the mean of the treated units in their place, for inferences that are about one treated unit."""
    treated, first = panel.ever_treated, int(np.argmax(panel.ever_treated))
    outcome = panel.outcome.copy()
    outcome[first] = outcome[treated].mean(axis=0)
    return replace(panel, outcome=outcome).only(units=~treated | (np.arange(len(treated)) == first))


@dataclass(frozen=True)
class Case:
    """One way to ask for an estimate."""

    method: str
    inference: str
    options: Mapping[str, Any]
    inference_options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        chosen = map(str, (*self.options.values(), *self.inference_options.values()))
        return "-".join([self.method, self.inference, *chosen])

    def estimate(self, panel: Panel, *, level: float = 0.9, seed: int = 0) -> Estimate:
        # What is held here is algebra, on panels that some tests along time would refuse as too persistent.
        with patch.dict(persistence.LIMITS, dict.fromkeys(persistence.LIMITS, (1.0, 1.0))):
            return estimate(
                suited(treated_as_one(panel) if self.inference in ONE_TREATED else panel, self.options.get("match")),
                self.method,
                inference=self.inference,
                inference_options=self.inference_options,
                level=level,
                seed=seed,
                options=self.options,
            )


def needs_columns(method: str) -> bool:
    """Tell whether a method has an option without a default, which names a column, or needs clusters: held in tests/unit."""
    return method in NEED_CLUSTERS or any(
        field.default is dataclasses.MISSING for field in dataclasses.fields(ESTIMATORS.load(method))
    )


# Methods whose units come in clusters that no panel here has, and whose inferences need them.
NEED_CLUSTERS = {"trimmed-match"}
# Methods that compare units once, on data of another shape: held in tests/unit and tests/reference.
AT_ONE_TIME = {method for method in ESTIMATORS.names() if ESTIMATORS.load(method).requires.shape == "cross-section"}
METHODS = [method for method in ESTIMATORS.names() if not needs_columns(method) and method not in AT_ONE_TIME]


def variants(name: str, room: Catalogue = ESTIMATORS) -> Iterator[dict[str, Any]]:
    """Yield the default options, and each other choice of an option that has a list of choices."""
    member = room.load(name)
    yield {}
    hints = typing.get_type_hints(member)
    for option in dataclasses.fields(member):
        yield from ({option.name: choice} for choice in choices(hints[option.name]) if choice != option.default)


def choices(hint: Any) -> Iterator[Any]:
    """Yield what a list of choices, or an optional one, allows."""
    if typing.get_origin(hint) is typing.Literal:
        yield from typing.get_args(hint)
    elif typing.get_origin(hint) in (typing.Union, types.UnionType):
        yield from (choice for part in typing.get_args(hint) for choice in choices(part))


# Weights from before the launch alone can't be refitted to all periods; held in tests/unit.
NOT_REFITTED = {(match, "conformal") for match in ("predictors", "shared")}


def inferences(method: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all ways of inference for a method's defaults; for another choice both of two, the first of more.

    Placebos in time of a Bayesian method fit it some thirty times, so its options are held with the posterior.
    """
    named: tuple[str, ...] = ESTIMATORS.load(method).inferences
    every = tuple(name for name in named if (options.get("match"), name) not in NOT_REFITTED)
    return every[:1] if options and (len(every) > 2 or "posterior" in every) else every


# Refused with 5 treated and 7 control units, which the panels here have; held in tests/unit.
OTHER_SHAPES = {("synthetic-did", "placebo-rank"), ("synthetic-did", "jackknife")}
# One nested problem takes 50 ms, and every group of five of twelve units is one; held in tests/unit/test_predictors.py.
SLOW = ("predictors",)

CASES = [
    Case(method, inference, options, inference_options)
    for method in METHODS
    for options in variants(method)
    for inference in inferences(method, options)
    for inference_options in variants(inference, INFERENCES)
    if not (options and inference_options)
    and (method, inference) not in OTHER_SHAPES
    and options.get("match") not in SLOW
]


# Cases that test hypotheses; the others have a posterior in place of a p-value.
TESTS = [case for case in CASES if case.inference != "posterior"]

# Methods that an effect common to all units in a period does not leave alone, and why.
FEELS_PERIOD_EFFECTS = {
    "causal-impact": "it follows the treated units' own past, and its coefficients of the donors need not sum to one",
    "time-based-regression": "its slope need not be one",
    "geo-based-regression": "it weighs units by their level",
}

# Methods that a constant added to every cell does not leave alone, and why.
FEELS_LEVELS = {"geo-based-regression": "it weighs units by their level"}


def moderate_panel(seed: int = 4, *, effect: float = 1.0) -> Panel:
    """Draw 12 units, of which 5 are treated in the last 8 of 40 periods; small enough to enumerate every placebo."""
    return factor_panel(n_units=12, n_periods=40, n_treated=5, n_post=8, effect=effect, rho=0.4, seed=seed)


def suited(panel: Panel, match: str | None) -> Panel:
    """Add covariates where something is matched on them: moving sums and differences, which move with the outcome."""
    if match not in ("predictors", "shared"):
        return panel
    later = np.roll(panel.outcome, 1, axis=1)
    covariates = np.stack([later, panel.outcome + 0.5 * np.roll(later, 1, axis=1)], axis=2)
    covariates[:, :2] = panel.outcome[:, :2, None]
    return replace(panel, covariates=covariates, covariate_names=("later", "smooth"))


def with_outcome(panel: Panel, outcome: Any) -> Panel:
    return replace(panel, outcome=outcome)


def long_table(panel: Panel) -> pd.DataFrame:
    n_units, n_periods = panel.outcome.shape
    return pd.DataFrame(
        {
            "geo": np.repeat(panel.units, n_periods),
            "week": np.tile(panel.periods, n_units),
            "sales": panel.outcome.ravel(),
            "on": panel.treated.ravel().astype(int),
        }
    )


def read_table(table: pd.DataFrame) -> Panel:
    return Panel.from_table(table, unit="geo", period="week", outcome="sales", treatment="on")


def finite_ends(answer: Estimate) -> list[float]:
    assert answer.interval is not None
    return [end for segment in answer.interval.segments for end in segment]
