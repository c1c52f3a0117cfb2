"""The planned analysis of a geo test: what was sealed, what the study asks for now, and every difference between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from causalbench.artifacts import plain
from causalbench.errors import listing
from causalbench.geo.result import RANDOMIZATION
from causalbench.study import GeoStudy
from causalbench.study.geo_study import Test
from causalbench.wording import counted
from causalbench.workflow.geo_trial import Trial, test_of

PAIRED = ("trimmed-match",)
"""Methods that compare the markets of a pair; their tests flip pairs, which is the design's own randomness."""

_DESIGN = "design"
"""How a ledger calls the inference over its own draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a test is analysed.

    Attributes
    ----------
    estimator, options, inference, inference_options, level
        What the study asks for; ``inference`` None: the rule of the readout.
    sealed
        The planned analysis of the ledger; None without one.
    deviations
        Whatever differs from what was sealed, one sentence each.
    """

    estimator: str
    options: Mapping[str, Any]
    inference: str | None
    inference_options: Mapping[str, Any]
    level: float
    sealed: Mapping[str, Any] | None
    deviations: tuple[str, ...]

    @property
    def exploratory(self) -> bool:
        """Whether the analysis isn't the sealed one."""
        return bool(self.deviations)


def plan_of(study: GeoStudy, trial: Trial) -> Plan:
    """Return how a study's test is analysed, held against its ledger where it has one."""
    method, sealed = study.method, None if trial.ledger is None else trial.ledger.planned_analysis
    return Plan(
        estimator=method.name,
        options=dict(method.options),
        inference=method.inference or (RANDOMIZATION if trial.randomized and method.name not in PAIRED else None),
        inference_options=dict(method.inference_options),
        level=study.geo.level,
        sealed=sealed,
        deviations=() if sealed is None else tuple(_deviations(study, trial, sealed)),
    )


def inference_name(sealed: Mapping[str, Any]) -> str | None:
    """Return a sealed inference under the name it has here."""
    found = sealed.get("inference")
    return RANDOMIZATION if found == _DESIGN else found


def _deviations(study: GeoStudy, trial: Trial, sealed: Mapping[str, Any]) -> list[str]:
    """List what differs from the sealed plan: analysis, dates, looks, history, markets."""
    test, method = test_of(study), study.method
    asked = {
        "estimator": method.name,
        "options": dict(method.options),
        "inference_options": dict(method.inference_options),
        "level": study.geo.level,
    }
    if method.inference is not None:
        asked["inference"] = method.inference
    planned = {**sealed, "inference": inference_name(sealed)}
    found = [
        f"{key.replace('_', ' ')}: planned {_said(planned[key])}, the study asks for {_said(value)}"
        for key, value in asked.items()
        if key in sealed and plain(value) != plain(planned[key])
    ]
    metric = next(metric for metric in study.metric if metric.role == "success").name
    if "metric" in sealed and metric != sealed["metric"]:
        found.append(f"metric: planned {sealed['metric']}, the study's first success metric is {metric}")
    found += _dates(trial, sealed, test)
    if trial.history_unchanged is False:
        found.append(
            "history: the table's periods before the test aren't bit by bit those that the design was drawn from"
        )
    absent = sorted(set(trial.markets) - set(trial.history.units))
    if absent:
        who = f"{counted(len(absent), 'market')} of the design"
        found.append(f"markets: {who} can't be found in the table (merged or renamed?): {listing(absent)}")
        if planned.get("inference") == RANDOMIZATION and method.inference in (None, RANDOMIZATION):
            found.append(
                "inference: planned randomization, but without these markets the design can't be drawn again; the method's own "
                "inference is used"
            )
    extra = sorted(set(trial.history.units) - set(trial.markets))
    if extra:
        who = f"{counted(len(extra), 'market')} of the table"
        found.append(f"markets: {who} aren't in the design and are left out: {listing(extra)}")
    return found


def _dates(trial: Trial, sealed: Mapping[str, Any], test: Test) -> list[str]:
    found, window = [], trial.window
    if "duration" in sealed and window.n_test != sealed["duration"]:
        found.append(f"duration: planned {sealed['duration']} periods, the test ran {window.n_test}")
    if "cooldown" in sealed and test.cooldown != sealed["cooldown"]:
        found.append(f"cooldown: planned {sealed['cooldown']} periods, the study asks for {test.cooldown}")
    if "looks" in sealed and test.looks and len(test.looks) != sealed["looks"]:
        found.append(f"looks: planned {sealed['looks']}, the study names {len(test.looks)}")
    return found


def _said(value: Any) -> str:
    return (
        ", ".join(f"{key} = {item}" for key, item in value.items()) or "none"
        if isinstance(value, Mapping)
        else str(value)
    )


def described(plan: Plan, trial: Trial) -> dict[str, Any]:
    """Return the plan as plain JSON values, for the evidence."""
    ledger = trial.ledger
    found: dict[str, Any] = plain(
        {
            "estimator": plan.estimator,
            "options": plan.options,
            "inference": plan.inference,
            "inference_options": plan.inference_options,
            "level": plan.level,
            "ledger": None if ledger is None else {"name": ledger.content["study"]["name"], "seal": ledger.seal},
            "sealed": plan.sealed,
            "history_unchanged": trial.history_unchanged,
            "deviations": plan.deviations,
            "exploratory": plan.exploratory,
        }
    )
    return found
