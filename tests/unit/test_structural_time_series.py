"""Drawn paths against the exact posterior of dense matrices, structure by structure and model by model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest

from causalbench.numerics.state_space import AUTOREGRESSIVE, LEVEL, N_RATIOS, PERSISTENCE, SEASONAL, Structure
from causalbench.numerics.structural_priors import learned_prior, r_prior
from causalbench.numerics.structural_time_series import Prior, VariancePrior, draw_paths
from causalbench.values import BoolArray, FloatArray

N, N_PRE = 36, 26
DRAWS = 20_000


@dataclass(frozen=True)
class Exact:
    """Mean and standard deviation of the average after the launch, and inclusion probabilities."""

    mean: float
    sd: float
    inclusion: FloatArray


def series_and_controls(seed: int = 2) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    controls = rng.standard_normal((N, 2))
    controls = (controls - controls[:N_PRE].mean(axis=0)) / controls[:N_PRE].std(axis=0, ddof=1)
    series = 0.5 * controls[:, 0] + rng.standard_normal(N) + 0.2 * rng.standard_normal(N).cumsum()
    series = series[:N_PRE]
    series = (series - series.mean()) / series.std(ddof=1)
    series[[4, 11]] = np.nan
    return series, controls


def component_covariance(structure: Structure, ratios: FloatArray) -> FloatArray:
    """Covariance over the noise's variance of level, seasonal and autoregressive component, by their formulas."""
    time = np.arange(N)
    apart, earlier = np.abs(np.subtract.outer(time, time)), np.minimum.outer(time, time)
    covariance = ratios[LEVEL] * earlier + np.zeros((N, N))
    if structure.autoregressive:
        phi = ratios[PERSISTENCE]
        covariance += ratios[AUTOREGRESSIVE] * phi**apart / (1 - phi**2)
    if structure.seasons > 1:
        step = np.zeros((N, N))  # response of each period to each seasonal shock
        for born in range(1, N):
            for t in range(born, N):
                phase = (t - born) % structure.seasons
                step[t, born] = {0: 1.0, 1: -1.0}.get(phase, 0.0)
        covariance += ratios[SEASONAL] * step @ step.T
    return covariance


def exact_posterior(series: FloatArray, controls: FloatArray, structure: Structure, prior: Prior) -> Exact:
    """Mix the conditional laws over every structure and every set of controls."""
    observed = np.flatnonzero(~np.isnan(series))
    k, after = controls.shape[1], slice(N_PRE, N)
    logs, means, variances, models = [], [], [], []
    for ratios, log_weight in zip(prior.ratios, prior.log_weight, strict=True):
        total = component_covariance(structure, ratios) + np.eye(N)
        inverse = np.linalg.inv(total[np.ix_(observed, observed)])
        target, starts = series[observed], structure.starts[observed]
        profile = inverse - inverse @ starts @ np.linalg.solve(starts.T @ inverse @ starts, starts.T @ inverse)
        for model in itertools.product([False, True], repeat=k):
            chosen = np.array(model)
            if prior.inclusion == 1 and not chosen.all():
                continue
            columns = controls[:, chosen]
            told = np.einsum("ti,ts,si->i", columns[observed], profile, columns[observed])
            slab = prior.slab_precision * told / len(observed)
            design = np.column_stack([structure.starts, columns])
            penalty = np.diag([*[0.0] * starts.shape[1], *slab])
            information = design[observed].T @ inverse @ design[observed] + penalty
            centre = np.linalg.solve(information, design[observed].T @ inverse @ target)
            left = target @ inverse @ target - centre @ information @ centre
            shape = (len(observed) - starts.shape[1]) / 2
            odds = np.where(chosen, prior.inclusion, 1 - prior.inclusion)
            logs.append(
                log_weight
                + np.linalg.slogdet(inverse)[1] / 2
                - np.linalg.slogdet(information)[1] / 2
                + np.log(slab).sum() / 2
                + np.log(odds).sum()
                - shape * np.log(left / 2)
            )
            gain = total[after, observed] @ inverse
            moved = design[after] - gain @ design[observed]
            mean = gain @ (target - design[observed] @ centre) + design[after] @ centre
            spread = total[after, after] - gain @ total[observed, after] + moved @ np.linalg.solve(information, moved.T)
            means.append(mean.mean())
            variances.append(left / 2 / (shape - 1) * spread.mean())
            models.append(chosen)
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    mean = float(weights @ means)
    variance = weights @ (np.array(variances) + (np.array(means) - mean) ** 2)
    return Exact(mean=mean, sd=float(np.sqrt(variance)), inclusion=weights @ np.array(models, dtype=float))


STRUCTURES = {
    "level": Structure(n_periods=N),
    "autoregressive": Structure(n_periods=N, autoregressive=True),
    "seasons": Structure(n_periods=N, seasons=3),
}


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES.keys())
@pytest.mark.parametrize("inclusion", [0.4, 1.0])
def test_draws_follow_the_exact_posterior(structure: Structure, inclusion: float) -> None:
    series, controls = series_and_controls()
    prior = replace(learned_prior(structure, n_pre=N_PRE, inclusion=inclusion))
    drawn = draw_paths(series, controls, structure, prior, n_draws=DRAWS, rng=np.random.default_rng(0))
    average = drawn.paths[:, N_PRE:].mean(axis=1)
    exact = exact_posterior(series, controls, structure, prior)
    # Pairs mirror each other: the mean's error comes from models alone and is far below that of independent draws.
    assert average.mean() == pytest.approx(exact.mean, abs=2 * exact.sd / np.sqrt(DRAWS))
    assert average.std() == pytest.approx(exact.sd, rel=0.03)
    np.testing.assert_allclose(drawn.inclusion, exact.inclusion, atol=0.03)


def one_structure(level: float) -> Prior:
    ratios = np.zeros((1, N_RATIOS))
    ratios[0, LEVEL] = level
    return Prior(
        ratios=ratios,
        log_weight=np.zeros(1),
        grid=(1,),
        noise=VariancePrior(df=4.0, guess=0.5),
        components=((LEVEL, VariancePrior(df=8.0, guess=0.1)),),
        slab_precision=0.01,
        slab_units="noise",
        inclusion=1.0,
    )


def test_variance_priors_combine_with_the_data() -> None:
    series, level = np.full(N_PRE, np.nan), 0.3
    series[[0, 5, 9]] = 0.4, -0.2, 0.1
    structure, prior = Structure(n_periods=N), one_structure(level)
    drawn = draw_paths(series, np.empty((N, 0)), structure, prior, n_draws=DRAWS, rng=np.random.default_rng(0))
    known = np.array([0, 5, 9])
    inverse = np.linalg.inv(level * np.minimum.outer(known, known) + np.eye(3))
    ones, target = np.ones(3), series[known]
    mean = ones @ inverse @ target / (ones @ inverse @ ones)
    squares = (target - mean) @ inverse @ (target - mean)
    # Gamma(2, 1) of the noise and Gamma(4, .4) of the level, the latter on level / noise: shapes and rates add.
    shape, rate = 2 + 4 + (3 - 1) / 2, 1.0 + 0.4 / level + squares / 2
    assert (drawn.sigma**2).mean() == pytest.approx(rate / (shape - 1), rel=0.02)


def test_the_law_of_a_whole_path_is_the_conditional_one() -> None:
    series, _ = series_and_controls()
    structure, level = STRUCTURES["level"], 0.3
    prior = replace(one_structure(level), components=(), noise=VariancePrior(df=1e9, guess=1.0))  # known noise
    drawn = draw_paths(series, np.empty((N, 0)), structure, prior, n_draws=DRAWS, rng=np.random.default_rng(5))
    observed = np.flatnonzero(~np.isnan(series))
    component = component_covariance(structure, prior.ratios[0])
    total = component[np.ix_(observed, observed)] + np.eye(len(observed))
    gain = component[:, observed] @ np.linalg.inv(total)
    moved = 1 - gain.sum(axis=1)
    start = 1 / np.linalg.inv(total).sum()
    expected = component - gain @ component[observed] + start * np.outer(moved, moved) + np.eye(N)
    scale = np.diag(expected).max()
    assert np.abs(np.cov(drawn.paths.T) - expected).max() < 8 * scale / np.sqrt(
        DRAWS / 2
    )  # sd of an entry < 1.5 scale / root n


def test_quantiles_of_the_average_depend_little_on_the_seed() -> None:
    series, controls = series_and_controls()
    structure = STRUCTURES["level"]
    prior = replace(one_structure(0.05), components=())
    ends = []
    for seed in range(8):
        drawn = draw_paths(series, controls, structure, prior, n_draws=1000, rng=np.random.default_rng(seed))
        ends.append(np.quantile(drawn.paths[:, N_PRE:].mean(axis=1), [0.025, 0.975]))
    width = np.ptp(np.mean(ends, axis=0))
    # Ends of a thousand independent normal draws have a standard deviation of .084 of theirs, 2.1% of the width.
    assert np.std(ends, axis=0).max() < 0.015 * width


def test_a_pair_of_draws_mirrors_about_its_mean() -> None:
    series, controls = series_and_controls()
    structure, prior = Structure(n_periods=N), one_structure(0.2)
    drawn = draw_paths(series, controls, structure, prior, n_draws=8, rng=np.random.default_rng(0))
    middle = (drawn.paths[0::2] + drawn.paths[1::2]) / 2
    np.testing.assert_allclose(middle, np.tile(middle[:1], (4, 1)), atol=1e-12)
    assert np.ptp(drawn.paths[0::2], axis=0).min() > 0.1


def test_initial_level_is_drawn_towards_its_prior_as_by_one_observation() -> None:
    rng = np.random.default_rng(4)
    series = rng.standard_normal(N_PRE)
    structure = Structure(n_periods=N)
    prior = r_prior(structure, level_sd=1e-4, start_level=3.0, n_controls=0, expected_model_size=3.0)
    drawn = draw_paths(series, np.empty((N, 0)), structure, prior, n_draws=2000, rng=rng)
    noise = (drawn.sigma**2).mean()
    # A level that hardly moves: N_PRE observations of variance noise, and one prior observation 3 of variance 1.
    expected = (series.sum() / noise + 3.0) / (N_PRE / noise + 1.0)
    assert drawn.paths.mean() == pytest.approx(expected, abs=0.01)


def test_draws_depend_on_the_seed_only() -> None:
    series, controls = series_and_controls()
    structure = STRUCTURES["seasons"]
    prior = learned_prior(structure, n_pre=N_PRE, inclusion=0.5)
    first, again, other = (
        draw_paths(series, controls, structure, prior, n_draws=50, rng=np.random.default_rng(s)).paths
        for s in (1, 1, 2)
    )
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 0.1


def fading(prior: Prior) -> BoolArray:
    found: BoolArray = prior.ratios[:, AUTOREGRESSIVE] > 0
    return found


def test_what_lasts_either_walks_or_fades() -> None:
    prior = learned_prior(STRUCTURES["autoregressive"], n_pre=N_PRE, inclusion=1.0)
    walks = prior.ratios[:, LEVEL] > 0
    assert not (walks & fading(prior)).any()
    weights = np.exp(prior.log_weight)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[~walks & ~fading(prior)].sum() == pytest.approx(0.5)  # as documented: nothing lasts, one half
    assert weights[walks].sum() == pytest.approx(0.35)  # and what lasts walks with probability .7
