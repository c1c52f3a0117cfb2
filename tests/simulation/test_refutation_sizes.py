"""Size of those attempts to refute a comparison that are tests: 2,000 nulls each, at most 5% and two Monte Carlo errors.

At 2,000 draws the Monte Carlo error of 5% is .49 points, so the bound is 6.0%.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from causalbench.checks import CATALOGUE as CHECKS
from causalbench.checks._comparison import comparison
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.one_step import Versions, effects
from causalbench.numerics.segments import opposite_effects
from causalbench.workflow.comparison import answer_cross_section

N_NULLS = 2000
BOUND = 0.05 + 2 * math.sqrt(0.05 * 0.95 / N_NULLS)


def null(n: int, rng: np.random.Generator, *, heavy: bool = False) -> CrossSection:
    """Draw confounded units without an effect, with outcomes before and after driven by the measured covariates alone."""
    x = rng.normal(size=(n, 3))
    level = x[:, 0] - 0.5 * x[:, 1]
    taken = rng.random(n) < 1 / (1 + np.exp(-0.5 * level))
    noise = rng.standard_t(4, size=(2, n)) if heavy else rng.normal(size=(2, n))
    return CrossSection(
        outcome=level + noise[0],
        treatment=taken,
        covariates=x,
        names=("a", "b", "c"),
        before=level + noise[1],
        metric="sales",
    )


def clustered(rng: np.random.Generator) -> CrossSection:
    """Draw 60 clusters of 10 units that share treatment and shocks."""
    codes = np.repeat(np.arange(60), 10)
    x = rng.normal(size=60)[codes]
    taken = (rng.random(60) < 1 / (1 + np.exp(-0.5 * x[::10])))[codes]
    return CrossSection(
        outcome=x + rng.normal(size=60)[codes] + rng.normal(size=600),
        treatment=taken,
        covariates=x[:, None],
        names=("x",),
        cluster=tuple(f"c{code:02d}" for code in codes),
    )


def rejections(name: str, draw: str, verdicts: tuple[str, ...], *, n_nulls: int = N_NULLS, **options: str) -> float:
    """Return the share of nulls on which a check comes to one of the verdicts."""
    rng, found = np.random.default_rng([len(name), len(draw)]), []
    for _ in range(n_nulls):
        data = clustered(rng) if draw == "clusters" else null(400, rng, heavy=draw == "heavy tails")
        answered = answer_cross_section(data, "adjustment", options=options)
        result = CHECKS.create(name).run(answered.estimator, answered.data, answered.estimate, rng=rng)
        assert result is not None
        found.append(result.verdict in verdicts)
    return float(np.mean(found))


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["normal", "heavy tails"])
def test_placebo_outcome_rejects_no_more_than_said(draw: str) -> None:
    assert rejections("negative-control-outcome", draw, ("fail",)) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["normal", "heavy tails", "clusters"])
def test_placebo_treatment_rejects_no_more_than_said(draw: str) -> None:
    assert rejections("placebo-treatment", draw, ("review", "fail")) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["normal", "heavy tails", "clusters"])
def test_subsets_reject_no_more_than_said(draw: str) -> None:
    assert rejections("data-subset", draw, ("review", "fail")) <= BOUND


@pytest.mark.slow
def test_noise_moves_few_sound_fits() -> None:
    """Not a test of a hypothesis: at 400 units a random covariate hardly ever moves the effect by a quarter of its error."""
    assert rejections("random-common-cause", "normal", ("review", "fail")) <= BOUND


@pytest.mark.parametrize("groups", [2, 3, 6])
@pytest.mark.parametrize("large", [0.0, 20.0])
def test_opposite_signs_reject_no_more_than_said(groups: int, large: float) -> None:
    """All effects zero, and one large with all others zero, where the size is reached; 20,000 draws, error .15 points."""
    rng = np.random.default_rng(groups)
    draws = rng.normal(size=(20_000, groups)) + np.r_[large, np.zeros(groups - 1)]
    share = np.mean([opposite_effects(row, np.ones(groups))[1] <= 0.05 for row in draws])
    assert share <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 20_000)
    if large:
        assert share >= 0.05 - 3 * math.sqrt(0.05 * 0.95 / 20_000)


@pytest.mark.slow
def test_segments_find_opposite_effects_no_more_often_than_said() -> None:
    """Two groups without any effect; 2,000 nulls."""
    rng, found = np.random.default_rng(5), []
    for _ in range(N_NULLS):
        data = null(400, rng)
        group = (rng.random(400) < 0.5).astype(float)
        data = replace(data, covariates=np.column_stack([data.covariates, group]), names=(*data.names, "group"))
        answered = answer_cross_section(data, "adjustment")
        result = CHECKS.create("segments").run(answered.estimator, answered.data, answered.estimate, rng=rng)
        assert result is not None
        found.append(result.verdict == "review")
    assert np.mean(found) <= BOUND


@pytest.mark.slow
def test_spread_over_subsets_is_what_the_error_leads_to_expect() -> None:
    """400 samples: the mean ratio of the spread in 80% subsets to half the standard error; Monte Carlo error about .004."""
    rng, ratios = np.random.default_rng(6), []
    for _ in range(400):
        data = null(1000, rng)
        answered = answer_cross_section(data, "adjustment")
        found = comparison(answered.estimator, data)
        assert found is not None
        assert answered.estimate.std_error is not None
        masks = np.zeros((100, 1000))
        np.put_along_axis(masks, np.argpartition(rng.random((100, 1000)), 799, axis=1)[:, :800], 1.0, axis=1)
        spread = effects(found.sample, Versions(weights=masks), form="aipw", estimand="att")[:, 0].std(ddof=1)
        ratios.append(spread / (answered.estimate.std_error / 2))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.03)
