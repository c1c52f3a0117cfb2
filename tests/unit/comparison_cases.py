"""Cross-sections and their estimates for the tests of checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalbench.data.cross_section import CrossSection
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.values import NO_PATH, CheckResult, Estimand, Estimate


def confounded(
    n: int = 800,
    *,
    effect: float = 1.0,
    strength: float = 0.5,
    n_covariates: int = 4,
    seed: int | np.random.Generator = 0,
    past: bool = False,
) -> CrossSection:
    """Draw units whose first two covariates drive treatment and outcome; ``past`` adds an outcome before, driven alike."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_covariates))
    level = x[:, 0] + x[:, 1]
    taken = rng.random(n) < 1 / (1 + np.exp(-strength * level))
    return CrossSection(
        outcome=level + effect * taken + rng.normal(size=n),
        treatment=taken,
        covariates=x,
        names=tuple(f"x{j}" for j in range(n_covariates)),
        before=level + rng.normal(size=n) if past else None,
        metric="sales",
    )


def answer(
    data: CrossSection, *, level: float = 0.95, inference: str | None = None, **options: Any
) -> tuple[Any, Estimate]:
    """Estimate with ``adjustment`` and return the estimator and the estimate."""
    estimator = ESTIMATORS.create("adjustment", options)
    inference = inference or estimator.default_inference(data)
    fit = estimator.fit(data)
    result = INFERENCES.create(inference).infer(estimator, data, fit, level=level, rng=np.random.default_rng(0))
    return estimator, Estimate(
        metric=data.metric,
        estimand=Estimand(kind="att", population="", weighting="unit", window="", units="sales"),
        estimator="adjustment",
        inference=inference,
        inference_options={},
        value=fit.effect,
        std_error=result.std_error,
        interval=result.interval,
        p_value=result.p_value,
        posterior_tail=None,
        path=NO_PATH,
        event_study=None,
        bands=None,
        path_bands=None,
        weights=None,
        detail={},
        warnings=(),
        n_treated=data.n_treated,
        n_control=data.n_control,
        n_pre=0,
        n_post=0,
    )


def run(check: Any, data: CrossSection, *, seed: int = 0, **options: Any) -> CheckResult | None:
    """Run a check on the estimate of ``adjustment`` with these options."""
    estimator, estimate = answer(data, **options)
    result: CheckResult | None = check.run(estimator, data, estimate, rng=np.random.default_rng(seed))
    return result
