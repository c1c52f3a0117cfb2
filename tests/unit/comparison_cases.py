"""Cross-sections and their estimates for the tests of checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalbench.checks import CATALOGUE as CHECKS
from causalbench.data.cross_section import CrossSection
from causalbench.values import CheckResult, Estimate
from causalbench.workflow.comparison import answer_cross_section


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


def answer(data: CrossSection, **options: Any) -> tuple[Any, Estimate]:
    """Estimate with ``adjustment`` and return the estimator and the estimate."""
    found = answer_cross_section(data, "adjustment", options=options)
    return found.estimator, found.estimate


def run(name: str, data: CrossSection, *, seed: int = 0, **options: Any) -> CheckResult | None:
    """Run a check on the estimate of ``adjustment`` with these options."""
    found = answer_cross_section(data, "adjustment", options=options)
    result: CheckResult | None = CHECKS.create(name).run(
        found.estimator, found.data, found.estimate, rng=np.random.default_rng(seed)
    )
    return result
