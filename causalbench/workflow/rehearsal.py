"""The method and those it is held against, rehearsed on launches that never were: errors, an interval, and whether they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalbench.calibration.backtest import Backtest, backtest
from causalbench.calibration.recalibrate import (
    Demotion,
    DemotionRule,
    Recalibrated,
    demotion,
    holiday_matched,
    recalibrate,
)
from causalbench.calibration.triangulate import Triangulation, triangulate
from causalbench.data.panel import Panel
from causalbench.decision.grade import History
from causalbench.errors import CausalbenchError
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.plan.profile import Advice, labelled
from causalbench.protocols import Estimator, FitsMany
from causalbench.study import Study
from causalbench.values import BoolArray, Estimate
from causalbench.workflow.check_facts import calendar_events
from causalbench.workflow.estimate import Answer
from causalbench.workflow.method import create_estimator, generator

N_PLACEBOS = 200
"""Mock launches of a readout: with these the errors' quantiles are known well enough, and it takes seconds."""

MOST_METHODS = 4
"""Methods that are rehearsed, the study's own first."""

N_INTERVALS = 60
"""Mock launches on which the study's own inference is tried; each costs an inference."""

N_SLOW = 30
"""Mock launches of a method that fits one at a time; its inference isn't tried, as it may fit hundreds of times itself."""

_TASK = "rehearsal"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rehearsal:
    """What the history before the launch says about the study's method and others.

    Attributes
    ----------
    main
        Label of the study's own method.
    methods
        Estimators by label.
    found
        None where the history leaves no room; ``problem`` says why.
    matched
        Which mock launches fall into windows like the launch's, by the events of the study's calendar that touch all units;
        None without such an event.
    """

    main: str
    methods: Mapping[str, Estimator[Panel]]
    found: Backtest | None
    problem: str = ""
    matched: BoolArray | None = None

    @property
    def usable(self) -> bool:
        """Whether the study's own method has errors."""
        return self.found is not None and self.main in self.found.methods

    def problem_of(self, label: str) -> str:
        """Return why a method wasn't rehearsed, empty where it was."""
        return self.problem if self.found is None else self.found.refused.get(label, "")

    def calibrated(self, value: float) -> Recalibrated | None:
        """Return the interval that the errors of the study's own method give an estimate."""
        if self.found is None or not self.usable:
            return None
        return recalibrate(self.found, self.main, value, matched=self.matched)

    def demoted(self, rule: DemotionRule | None) -> Demotion | None:
        """Apply the plan's rule; None without a rule or a backtest."""
        return None if rule is None or self.found is None else demotion(self.found, self.main, rule)

    def history(self, past: Recalibrated | None) -> History | None:
        """Return what the grade depends on."""
        if self.found is None or past is None:
            return None
        row = next(row for row in self.found.table if row["method"] == self.main)
        return History(
            coverage=row["coverage"],
            mc_error=row["coverage_mc_error"],
            duration=self.found.duration,
            calibrated=past.interval is not None,
            learnt=int(self.found.start_index.min()),
            n_pre=self.found.n_pre,
        )

    def to_dict(self, metric: str, past: Recalibrated | None, demoted: Demotion | None) -> dict[str, Any]:
        """Return the evidence's ``backtest``: ``problem`` alone where there is none."""
        if self.found is None:
            return {"metric": metric, "main": self.main, "problem": self.problem, "table": []}
        return {
            **self.found.to_dict(),
            "metric": metric,
            "main": self.main,
            "problem": self.problem,
            "recalibrated": None if past is None else past.to_dict(),
            "demotion": None if demoted is None else demoted.to_dict(),
        }


def rehearse(study: Study, answer: Answer, advice: Advice | None, *, alone: bool = False) -> Rehearsal:
    """Fit the study's method and those that the advice holds it against to mock launches before the launch.

    Every metric gets the same mock launches: they are drawn by the run's seed alone.

    Parameters
    ----------
    study, answer
        The study, and what its own method answered.
    advice
        Names the methods to hold it against.
    alone
        Whether to leave those out.
    """
    panel, estimate = answer.panel, answer.estimate
    main = labelled(estimate.estimator, _stated(study, estimate))
    methods: dict[str, Estimator[Panel]] = {main: answer.estimator}
    for other in () if advice is None or alone else (*advice.eligible, *advice.sensitivity):
        if len(methods) < MOST_METHODS and other.label not in methods:
            methods[other.label] = create_estimator(other.method, other.options, seed=study.run.seed)
    tried = not alone and isinstance(answer.estimator, FitsMany)
    try:
        found = backtest(
            panel,
            methods,
            duration=panel.n_post,
            n_placebos=N_PLACEBOS,
            level=study.method.level,
            rng=generator(study.run.seed, _TASK),
            inferences={main: INFERENCES.create(estimate.inference, estimate.inference_options)} if tried else {},
            n_intervals=N_INTERVALS,
            n_slow=N_SLOW,
        )
    except CausalbenchError as refusal:
        return Rehearsal(main=main, methods=methods, found=None, problem=refusal.message)
    problem = found.refused.get(main, "")
    holidays = [(event.start, event.end) for event in calendar_events(study, panel) if not event.units]
    matched = holiday_matched(found, panel.periods, holidays)
    return Rehearsal(main=main, methods=methods, found=found, problem=problem, matched=matched)


def agree(rehearsal: Rehearsal, answer: Answer) -> tuple[Triangulation, Mapping[str, float]] | None:
    """Combine what the rehearsed methods say about the launch, and return it with their estimates; None with only one."""
    found = rehearsal.found
    if found is None:
        return None
    values: dict[str, float] = {}
    for name in found.methods:
        value = answer.estimate.value if name == rehearsal.main else _value(rehearsal.methods[name], answer.panel)
        if value is not None:
            values[name] = value
    if len(values) < 2:
        return None
    errors = np.array([found.errors[found.index(name)] for name in values])
    groups = [tuple(np.flatnonzero(row < found.n_pre)) for row in found.launches]
    return triangulate(values, errors, level=found.level, groups=groups), values


def _value(estimator: Estimator[Panel], panel: Panel) -> float | None:
    try:
        return estimator.fit(estimator.sample(panel)).effect
    except CausalbenchError:
        return None


def _stated(study: Study, estimate: Estimate) -> Mapping[str, Any]:
    """Return the options that the study states, where its method answered."""
    return study.method.options if study.method.name == estimate.estimator else {}
