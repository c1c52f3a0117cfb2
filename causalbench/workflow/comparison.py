"""The answer of a comparison at one time: a cross-section, a method, an inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from causalbench.artifacts import plain
from causalbench.data.cross_section import CrossSection
from causalbench.data.cross_section_audit import audit_cross_section
from causalbench.protocols import Estimator
from causalbench.values import NO_PATH, Audit, Estimand, Estimate, Fit, Uncertainty
from causalbench.workflow.method import (
    Chosen,
    choose_inference,
    create_estimator,
    generator,
    require_level,
    require_shape,
)

WINDOW = "one comparison"
"""When the effect of a comparison at one time is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparisonAnswer:
    """An estimate with the audited cross-section and the estimator it came from."""

    estimate: Estimate
    audit: Audit
    data: CrossSection
    estimator: Estimator[CrossSection]


def answer_cross_section(
    data: CrossSection,
    method: str,
    *,
    inference: str | None = None,
    inference_options: Mapping[str, Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> ComparisonAnswer:
    """Audit, fit and infer; see :func:`causalbench.workflow.estimate.estimate` for the parameters."""
    require_level(level)
    estimator, used, record = prepare_cross_section(data, method, options=options, seed=seed)
    chosen = choose_inference(estimator, used, method, inference, inference_options)
    fit = estimator.fit(used)
    rng = generator(seed, used.metric, method, chosen.name)
    uncertainty = chosen.member.infer(estimator, used, fit, level=level, rng=rng)
    handling = tuple(f"{f.code}: {f.message}; {f.action}" for f in record.findings if f.severity == "warning")
    uncertainty = replace(uncertainty, warnings=handling + uncertainty.warnings)
    result = _compose(used, fit, uncertainty, estimator=estimator, method=method, inference=chosen)
    return ComparisonAnswer(estimate=result, audit=record, data=used, estimator=estimator)


def prepare_cross_section(
    data: CrossSection, method: str, *, options: Mapping[str, Any] | None, seed: int
) -> tuple[Estimator[CrossSection], CrossSection, Audit]:
    """Build the estimator and audit the units for it."""
    estimator: Estimator[CrossSection] = create_estimator(method, options, seed=seed)
    require_shape(estimator, "cross-section", method=method)
    used = estimator.sample(data)
    return estimator, used, audit_cross_section(data, used, estimator.requires, method=method)


def _compose(
    data: CrossSection,
    fit: Fit,
    uncertainty: Uncertainty,
    *,
    estimator: Estimator[CrossSection],
    method: str,
    inference: Chosen,
) -> Estimate:
    kind: Literal["att", "ate"] = "ate" if getattr(estimator, "estimand", "att") == "ate" else "att"
    weighted = data.weights is not None
    n_treated = data.n_treated if fit.n_treated is None else fit.n_treated
    n_affected = fit.n_cells if fit.n_cells is not None else n_treated if kind == "att" else len(data.outcome)
    without = _mean_without(data, fit, kind)
    detail = {
        "incremental": fit.effect * n_affected if data.additive and not weighted else None,
        "relative": fit.effect / without if without is not None and without > 0 else None,
        "counterfactual_mean": without,
        "covariates": list(data.names),
        **fit.diagnostics,
        **uncertainty.detail,
    }
    return Estimate(
        metric=data.metric,
        estimand=Estimand(
            kind=kind,
            population=_population(data, kind, n_treated),
            weighting="population" if weighted else "unit",
            window=WINDOW,
            units=f"{data.metric} per {data.unit_name}",
        ),
        estimator=method,
        inference=inference.name,
        inference_options=plain(inference.member),
        value=fit.effect,
        std_error=uncertainty.std_error,
        interval=uncertainty.interval,
        p_value=uncertainty.p_value,
        posterior_tail=uncertainty.posterior_tail,
        path=NO_PATH,
        event_study=None,
        bands=None,
        path_bands=None,
        weights=None,
        detail=detail,
        warnings=(*fit.warnings, *uncertainty.warnings),
        n_treated=n_treated,
        n_control=data.n_control,
        n_pre=0,
        n_post=0,
    )


def _mean_without(data: CrossSection, fit: Fit, kind: Literal["att", "ate"]) -> float | None:
    """Return the mean outcome without the treatment of those the effect is about; None where the fit doesn't say it."""
    if fit.treated_mean is not None:
        return fit.treated_mean - fit.effect
    if kind == "ate":
        return None
    weights = None if data.weights is None else data.weights[data.treatment]
    return float(np.average(data.outcome[data.treatment], weights=weights)) - fit.effect


def _population(data: CrossSection, kind: Literal["att", "ate"], n_treated: int) -> str:
    if kind == "att":
        return f"the {n_treated} units with {data.treatment_name} = 1"
    return f"all {len(data.outcome)} units, treated and not"
