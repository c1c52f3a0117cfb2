"""The same geo test by other methods: how much the answer hangs on what one of them assumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from causalbench.checks.method_agreement import shared_options
from causalbench.data.panel import Panel
from causalbench.decision.geo_headline import return_of
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.geo.result import RANDOMIZATION, CellReadout, GeoResult
from causalbench.protocols import Estimator
from causalbench.study import GeoStudy
from causalbench.values import Estimate, Interval
from causalbench.workflow.estimate import answer
from causalbench.workflow.geo_plan import PAIRED, Plan, inference_name
from causalbench.workflow.geo_trial import Trial

METHODS = (
    "time-based-regression",
    "geo-based-regression",
    "trimmed-match",
    "synthetic-control",
    "augmented-synthetic-control",
    "synthetic-did",
    "did",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method's answer for one cell; ``refusal`` says why there is none.

    Attributes
    ----------
    planned
        Whether it is the analysis that makes the headline.
    sealed
        Whether it is what the ledger planned, where the study asks for something else.
    """

    cell: str
    method: str
    inference: str | None
    value: float | None
    interval: Interval | None
    p_value: float | None
    planned: bool = False
    sealed: bool = False
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Incremental return of one cell by one method; ``refusal`` says what is missing and why, ``note`` what it supposes."""

    cell: str
    method: str
    incremental: float | None
    cost: float | None
    value: float | None
    interval: Interval | None
    planned: bool = False
    note: str = ""
    refusal: str = ""


def compare(
    study: GeoStudy, trial: Trial, plan: Plan, result: GeoResult, *, history: Panel, estimator: Estimator[Panel]
) -> tuple[list[Row], list[Return]]:
    """Answer every cell by the other methods, each with its own inference; the analysis itself comes first.

    Parameters
    ----------
    history
        Of the metric in question.
    estimator
        Of the analysis; the others take over the options that they share with it.
    """
    rows, returns = [], []
    for number, cell in enumerate(result.cells, start=1):
        panel = trial.panel(number, history=history)
        pairs = trial.paired(panel)
        rows.append(_own_row(plan, result, cell))
        returns += _own_return(plan, cell, panel)
        for method, options, inference, sealed in _asked(plan, estimator):
            try:
                found = _ask(study, pairs if method in PAIRED else panel, method, options, inference, plan)
            except (DataError, RefusalError, StudyError) as refusal:
                rows.append(_refused(cell.cell, method, refusal, sealed=sealed))
                continue
            rows.append(_row(cell.cell, found, sealed=sealed))
            returns += _return_of(cell.cell, found)
    return rows, returns


def _asked(plan: Plan, estimator: Estimator[Panel]) -> list[tuple[str, Mapping[str, Any], str | None, bool]]:
    """Return method, options, inference of every other analysis, and whether it is the sealed one."""
    asked: list[tuple[str, Mapping[str, Any], str | None, bool]] = []
    sealed = plan.sealed
    if sealed is not None and sealed.get("estimator") not in (None, plan.estimator):
        inference = inference_name(sealed)
        known = inference in ESTIMATORS.load(sealed["estimator"]).inferences
        asked.append((sealed["estimator"], sealed.get("options", {}), inference if known else None, True))
    names = [name for name in METHODS if name in ESTIMATORS.names() and name != plan.estimator]
    taken = {name for name, *_ in asked}
    return asked + [
        (name, shared_options(estimator, ESTIMATORS.load(name)), None, False) for name in names if name not in taken
    ]


def _ask(
    study: GeoStudy, panel: Panel, method: str, options: Mapping[str, Any], inference: str | None, plan: Plan
) -> Estimate:
    return answer(
        panel,
        method,
        inference=inference,
        level=plan.level,
        seed=study.run.seed,
        on_missing=study.data.on_missing,
        options=options,
    ).estimate


def _own_row(plan: Plan, result: GeoResult, cell: CellReadout) -> Row:
    effect = cell.effect
    return Row(
        cell=cell.cell,
        method=plan.estimator,
        inference=result.inference,
        value=effect.value,
        interval=effect.interval,
        p_value=effect.p_value,
        planned=True,
    )


def _row(cell: str, found: Estimate, *, sealed: bool) -> Row:
    return Row(
        cell=cell,
        method=found.estimator,
        inference=found.inference,
        value=found.value,
        interval=found.interval,
        p_value=found.p_value,
        sealed=sealed,
    )


def _refused(cell: str, method: str, refusal: Exception, *, sealed: bool) -> Row:
    said = refusal.message if isinstance(refusal, (DataError, RefusalError)) else "; ".join(refusal.problems)  # type: ignore[attr-defined]
    return Row(
        cell=cell, method=method, inference=None, value=None, interval=None, p_value=None, sealed=sealed, refusal=said
    )


def _own_return(plan: Plan, cell: CellReadout, panel: Panel) -> list[Return]:
    if panel.cost is None:
        return []
    returned, incremental = return_of(cell), cell.incremental
    estimated = cell.return_inference != RANDOMIZATION and "iroas" in cell.detail
    why = "" if returned is not None and returned.interval is not None else _NO_SET
    if incremental is None:
        why = f"{panel.metric} is a mean, a rate or a logarithm, which has no total"
    elif returned is None:
        why = next(
            (warning for warning in cell.warnings if "return" in warning), "the cell spent no more than its controls"
        )
    return [
        Return(
            cell=cell.cell,
            method=plan.estimator,
            incremental=None if incremental is None else incremental.value,
            cost=cell.detail["cost"] if estimated else cell.cost,
            value=None if returned is None else returned.value,
            interval=None if returned is None else returned.interval,
            planned=True,
            note=_KNOWN if cell.return_inference == "cost-known" and not estimated else "",
            refusal=why,
        )
    ]


_KNOWN = "the incremental cost is taken as known: what the cell spent beyond its history and its controls"
_NO_SET = "this inference gives no set of the return where the incremental cost is estimated itself"


def _return_of(cell: str, found: Estimate) -> list[Return]:
    """Return what a method that reads the cost itself says; nothing of the others."""
    if "iroas" not in found.detail:
        return []
    interval = found.detail.get("iroas_interval")
    return [
        Return(
            cell=cell,
            method=found.estimator,
            incremental=found.detail["incremental"],
            cost=found.detail.get("cost"),
            value=found.detail["iroas"],
            interval=interval if isinstance(interval, Interval) else None,
            refusal="" if found.detail["iroas"] is not None else next((w for w in found.warnings if "return" in w), ""),
        )
    ]
