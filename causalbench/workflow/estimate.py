"""One estimate: a panel, a method, an inference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalbench.data import sources
from causalbench.data.assembly import Reading, assemble
from causalbench.data.audit import OnMissing, audit
from causalbench.data.launch import LaunchRule
from causalbench.data.panel import Panel
from causalbench.data.reduce import Columns
from causalbench.errors import StudyError, listing
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator
from causalbench.study import LEVEL_RULE, Metric, Study
from causalbench.values import Audit, Estimand, Estimate, Fit, Uncertainty


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """An estimate with the audited panel and the estimator it came from."""

    estimate: Estimate
    audit: Audit
    panel: Panel
    estimator: Estimator[Panel]


def read_panel(study: Study, metric: Metric) -> Panel:
    """Read one metric of a study's table as a panel."""
    data, launch = study.data, study.launch
    if data.sql is not None:
        source = sources.from_sql(data.sql, folder=study.folder, unit=data.unit, period=data.period)
    else:
        path = study.folder / str(data.source)
        source = sources.from_file(path, folder=study.folder, unit=data.unit, period=data.period)
    columns = Columns(
        unit=data.unit,
        period=data.period,
        outcome=metric.column,
        cohort=launch.cohort,
        treatment=launch.treatment,
        covariates=data.covariates,
        weights=data.weights,
        cluster=data.cluster,
    )
    rule = LaunchRule(
        units=launch.units, start=launch.start, end=launch.end, anticipation=launch.anticipation, align=launch.align
    )
    reading = Reading(grain=data.grain, aggregate=metric.aggregate, on_duplicate=data.on_duplicate, metric=metric.name)
    return Panel(**assemble(source, columns, launch=rule, reading=reading))


def estimate(
    panel: Panel,
    method: str,
    *,
    inference: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    on_missing: OnMissing = "error",
    options: Mapping[str, Any] | None = None,
) -> Estimate:
    """Estimate the effect of a launch on one outcome.

    Parameters
    ----------
    panel
        Outcome and treatment by unit and period.
    method
        Name of an estimator, such as ``did`` or ``synthetic-control``.
    inference
        Name of an inference; by default the estimator chooses by its documented rule.
    level
        Confidence level, between 0.5 and 1.
    seed
        Seed of whatever is drawn.
    on_missing
        What to do with missing cells: ``error``, ``drop_unit``, ``drop_period``, ``zero``, ``impute``, or ``keep`` where the
        method can do without balance.
    options
        The estimator's options.

    Returns
    -------
    Estimate
        ``value`` is the average effect per treated unit and period.

    Raises
    ------
    StudyError
        For unknown names, options or levels.
    DataError, RefusalError
        When the panel can't be used, or can't answer with this method.

    Examples
    --------
    >>> import causalbench as cb
    >>> panel = cb.load_panel("prop99")
    >>> result = cb.estimate(panel, "synthetic-control", inference="placebo-rank")
    >>> round(result.value, 2), result.detail["rank"]
    (-19.51, 3)
    """
    return answer(
        panel, method, inference=inference, level=level, seed=seed, on_missing=on_missing, options=options
    ).estimate


def answer(
    panel: Panel,
    method: str,
    *,
    inference: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    on_missing: OnMissing = "error",
    options: Mapping[str, Any] | None = None,
) -> Answer:
    """Audit, fit and infer; see :func:`estimate` for the parameters."""
    if not 0.5 < level < 1:
        raise StudyError([f"level: {LEVEL_RULE}, found {level}"], where="estimate")
    estimator, used, record = _prepare(panel, method, on_missing, options)
    fit = estimator.fit(used)
    chosen = inference or estimator.default_inference(used)
    if chosen not in estimator.inferences:
        INFERENCES.load(chosen)
        allowed = ", ".join(estimator.inferences)
        raise StudyError([f"inference {chosen!r} doesn't go with {method}; allowed: {allowed}"], where="estimate")
    rng = generator(seed, used.metric, method, chosen)
    uncertainty = INFERENCES.create(chosen).infer(estimator, used, fit, level=level, rng=rng)
    handling = tuple(f"{f.code}: {f.message}; {f.action}" for f in record.findings if f.severity == "warning")
    uncertainty = replace(uncertainty, warnings=handling + uncertainty.warnings)
    result = _compose(used, fit, uncertainty, method=method, inference=chosen)
    return Answer(estimate=result, audit=record, panel=used, estimator=estimator)


def prepare_study(study: Study, metric: Metric) -> tuple[Estimator[Panel], Panel, Audit]:
    """Build the estimator of a study and audit one metric's panel for it."""
    return _prepare(read_panel(study, metric), study.method.name, study.data.on_missing, study.method.options)


def _prepare(
    panel: Panel, method: str, on_missing: OnMissing, options: Mapping[str, Any] | None
) -> tuple[Estimator[Panel], Panel, Audit]:
    estimator: Estimator[Panel] = ESTIMATORS.create(method, options)
    used, record = audit(estimator.sample(panel), estimator.requires, method=method, on_missing=on_missing)
    return estimator, used, record


def answer_study(study: Study, metric: Metric) -> Answer:
    """Answer a study for one of its metrics."""
    return answer(
        read_panel(study, metric),
        study.method.name,
        inference=study.method.inference,
        level=study.method.level,
        seed=study.run.seed,
        on_missing=study.data.on_missing,
        options=study.method.options,
    )


def generator(seed: int, *task: str) -> np.random.Generator:
    """Return the random generator of one task: the same whichever worker runs it and in which order."""
    key = hashlib.sha256("\x1f".join(task).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(key[:8], "big")])


def _compose(panel: Panel, fit: Fit, uncertainty: Uncertainty, *, method: str, inference: str) -> Estimate:
    n_treated, n_post = len(panel.treated_units), panel.n_post
    cells = panel.treated & ~np.isnan(panel.outcome)
    sizes = cells if panel.weights is None else cells * panel.weights[:, None]
    observed = float((np.nan_to_num(panel.outcome) * sizes).sum() / sizes.sum())
    counterfactual = observed - fit.effect
    period = "period" if panel.frequency in ("number", "irregular") else panel.frequency
    detail = {
        "incremental": fit.effect * int(cells.sum()) if panel.additive and panel.weights is None else None,
        "relative": fit.effect / counterfactual if counterfactual > 0 else None,
        "counterfactual_mean": counterfactual,
        **fit.diagnostics,
        **uncertainty.detail,
    }
    donors = dict.fromkeys(panel.donor_pool)
    weights = None
    if fit.weights is not None:
        weights = {unit: float(w) for unit, w in zip(panel.units, fit.weights, strict=True) if unit in donors}
    return Estimate(
        metric=panel.metric,
        estimand=Estimand(
            kind="att",
            population=listing(panel.treated_units, limit=8),
            weighting="unit" if panel.weights is None else "population",
            window=f"{panel.periods[panel.n_pre]} to {panel.periods[-1]}",
            units=f"{panel.metric} per {panel.unit_name} and {period}",
        ),
        estimator=method,
        inference=inference,
        value=fit.effect,
        std_error=uncertainty.std_error,
        interval=uncertainty.interval,
        p_value=uncertainty.p_value,
        posterior_tail=None,
        path=fit.path,
        event_study=fit.event_study,
        bands=uncertainty.bands,
        weights=weights,
        detail=detail,
        warnings=(*fit.warnings, *uncertainty.warnings),
        n_treated=n_treated,
        n_control=len(panel.donor_pool),
        n_pre=panel.n_pre,
        n_post=n_post,
    )
