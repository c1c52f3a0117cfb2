"""One estimate: a panel, a method, an inference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from causalbench.artifacts import plain
from causalbench.data.audit import OnMissing, audit, audit_moments, recount
from causalbench.data.cross_section import CrossSection
from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, StudyError
from causalbench.protocols import Estimator
from causalbench.study import Metric, Study
from causalbench.values import Audit, Estimand, Estimate, Fit, Uncertainty
from causalbench.workflow.advice import resolve
from causalbench.workflow.comparison import answer_cross_section
from causalbench.workflow.method import (
    Chosen,
    choose_inference,
    create_estimator,
    generator,
    require_level,
    require_shape,
)
from causalbench.workflow.reading import read_moments, read_panel, suits_moments

__all__ = [
    "Answer",
    "answer",
    "answer_study",
    "create_estimator",
    "estimate",
    "estimate_study",
    "generator",
    "prepare_study",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """An estimate with the audited panel and the estimator it came from."""

    estimate: Estimate
    audit: Audit
    panel: Panel
    estimator: Estimator[Panel]


def estimate(
    data: Panel | CohortMoments | CrossSection,
    method: str,
    *,
    inference: str | None = None,
    inference_options: Mapping[str, Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    on_missing: OnMissing = "error",
    options: Mapping[str, Any] | None = None,
) -> Estimate:
    """Estimate the effect of a launch on one outcome.

    Parameters
    ----------
    data
        Outcome and treatment by unit and period; or their moments by cohort, for methods that need no more; or units that
        are compared once.
    method
        Name of an estimator, such as ``did`` or ``synthetic-control``.
    inference
        Name of an inference; by default the estimator chooses by its documented rule.
    inference_options
        The inference's options, which need its name.
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
        ``value`` is the average effect per treated unit and period; per unit for a comparison at one time.

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
    if isinstance(data, CrossSection):
        if on_missing != "error":
            raise StudyError(["on_missing is for panels: CrossSection.from_table drops units itself"], where="estimate")
        return answer_cross_section(
            data,
            method,
            inference=inference,
            inference_options=inference_options,
            level=level,
            seed=seed,
            options=options,
        ).estimate
    if isinstance(data, CohortMoments):
        return _estimate_moments(
            data,
            method,
            inference=inference,
            inference_options=inference_options,
            level=level,
            seed=seed,
            options=options,
        )
    return answer(
        data,
        method,
        inference=inference,
        inference_options=inference_options,
        level=level,
        seed=seed,
        on_missing=on_missing,
        options=options,
    ).estimate


def answer(
    panel: Panel,
    method: str,
    *,
    inference: str | None = None,
    inference_options: Mapping[str, Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    on_missing: OnMissing = "error",
    options: Mapping[str, Any] | None = None,
) -> Answer:
    """Audit, fit and infer; see :func:`estimate` for the parameters."""
    require_level(level)
    estimator, used, record = _prepare(panel, method, on_missing, options, seed)
    chosen = choose_inference(estimator, used, method, inference, inference_options)
    result = _infer(estimator, used, record, method=method, inference=chosen, level=level, seed=seed)
    return Answer(estimate=result, audit=record, panel=used, estimator=estimator)


def _estimate_moments(
    moments: CohortMoments,
    method: str,
    *,
    inference: str | None,
    inference_options: Mapping[str, Any] | None,
    level: float,
    seed: int,
    options: Mapping[str, Any] | None,
) -> Estimate:
    """Audit, fit and infer from cohort moments, which hold no unit."""
    require_level(level)
    estimator: Estimator[Any] = create_estimator(method, options, seed=seed)
    require_shape(estimator, "panel", method=method)
    chosen = choose_inference(estimator, moments, method, inference, inference_options)
    if not estimator.requires.moments or chosen.name != "cluster":
        raise RefusalError(
            f"{method} with {chosen.name} inference needs every unit, cohort moments don't hold them",
            remedy="read the table as a panel",
        )
    used = estimator.sample(moments)
    record = audit_moments(used, estimator.requires, method=method)
    return _infer(estimator, used, record, method=method, inference=chosen, level=level, seed=seed)


def _infer(
    estimator: Estimator[Any],
    data: Panel | CohortMoments,
    record: Audit,
    *,
    method: str,
    inference: Chosen,
    level: float,
    seed: int,
) -> Estimate:
    fit = estimator.fit(data)
    rng = generator(seed, data.metric, method, inference.name)
    uncertainty = inference.member.infer(estimator, data, fit, level=level, rng=rng)
    handling = tuple(f"{f.code}: {f.message}; {f.action}" for f in record.findings if f.severity == "warning")
    uncertainty = replace(uncertainty, warnings=handling + uncertainty.warnings)
    return _compose(data, fit, uncertainty, method=method, inference=inference)


def prepare_study(study: Study, metric: Metric) -> tuple[Estimator[Panel], Panel, Audit]:
    """Build the estimator of a study and audit one metric's panel for it."""
    method = resolve(study)[0].method
    return _prepare(read_panel(study, metric), method.name, study.data.on_missing, method.options, study.run.seed)


def _prepare(
    panel: Panel, method: str, on_missing: OnMissing, options: Mapping[str, Any] | None, seed: int
) -> tuple[Estimator[Panel], Panel, Audit]:
    estimator: Estimator[Panel] = create_estimator(method, options, seed=seed)
    require_shape(estimator, "panel", method=method)
    used, record = audit(estimator.sample(panel), estimator.requires, method=method, on_missing=on_missing)
    again = estimator.sample(used)  # a repair of the audit may have taken a unit's last period to compare with
    if again is not used:
        record = recount(record, again, again.findings[len(used.findings) :])
    return estimator, again, record


def answer_study(study: Study, metric: Metric) -> Answer:
    """Answer a study for one of its metrics; ``auto`` takes the advised method."""
    study, _ = resolve(study)
    return answer(
        read_panel(study, metric),
        study.method.name,
        inference=study.method.inference,
        inference_options=study.method.inference_options,
        level=study.method.level,
        seed=study.run.seed,
        on_missing=study.data.on_missing,
        options=study.method.options,
    )


def estimate_study(study: Study, metric: Metric) -> Estimate:
    """Estimate one metric of a study; a table too long for memory is summed by cohort where it lies, if the method can."""
    study, _ = resolve(study)
    estimator = create_estimator(study.method.name, study.method.options, seed=study.run.seed)
    if not estimator.requires.moments or not suits_moments(study, metric):
        return answer_study(study, metric).estimate
    return _estimate_moments(
        read_moments(study, metric),
        study.method.name,
        inference=study.method.inference,
        inference_options=study.method.inference_options,
        level=study.method.level,
        seed=study.run.seed,
        options=study.method.options,
    )


def _compose(
    data: Panel | CohortMoments, fit: Fit, uncertainty: Uncertainty, *, method: str, inference: Chosen
) -> Estimate:
    weighted = isinstance(data, Panel) and data.weights is not None
    n_cells = data.n_treated_cells if fit.n_cells is None else fit.n_cells
    counterfactual = (data.treated_mean if fit.treated_mean is None else fit.treated_mean) - fit.effect
    detail = {
        "incremental": fit.effect * n_cells if data.additive and not weighted else None,
        "relative": _relative(data, fit.effect, counterfactual),
        "counterfactual_mean": counterfactual,
        **fit.diagnostics,
        **uncertainty.detail,
    }
    weights = None
    if fit.weights is not None and isinstance(data, Panel):
        donors = dict.fromkeys(data.donor_pool)
        weights = {unit: float(w) for unit, w in zip(data.units, fit.weights, strict=True) if unit in donors}
    return Estimate(
        metric=data.metric,
        estimand=Estimand(
            kind="att",
            population=data.population,
            weighting="population" if weighted else "unit",
            window=f"{data.periods[data.n_pre]} to {data.periods[-1]}",
            units=data.effect_units,
        ),
        estimator=method,
        inference=inference.name,
        inference_options=plain(inference.member),
        value=fit.effect,
        std_error=uncertainty.std_error,
        interval=uncertainty.interval,
        p_value=uncertainty.p_value,
        posterior_tail=uncertainty.posterior_tail,
        path=fit.path,
        event_study=fit.event_study,
        bands=uncertainty.bands,
        path_bands=uncertainty.path_bands,
        weights=weights,
        detail=detail,
        warnings=(*fit.warnings, *uncertainty.warnings),
        n_treated=data.n_treated if fit.n_treated is None else fit.n_treated,
        n_control=data.n_control,
        n_pre=data.n_pre,
        n_post=data.n_post,
    )


def _relative(data: Panel | CohortMoments, effect: float, counterfactual: float) -> float | None:
    """Return the effect as a share of the outcome without the launch; None where that isn't positive."""
    if data.scale == "log":
        return math.expm1(effect)
    return effect / counterfactual if counterfactual > 0 else None
