"""Simulated launches whose true effect is known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.values import FloatArray


def factor_panel(
    *,
    n_units: int,
    n_periods: int,
    n_treated: int,
    n_post: int,
    effect: float,
    rho: float,
    n_factors: int = 3,
    seed: int,
) -> Panel:
    r"""Draw a panel from a factor model with autocorrelated noise and a constant effect.

    .. math:: y_{it} = 10 + \alpha_i + \lambda_i' f_t + u_{it} + \tau D_{it}

    with :math:`\alpha_i \sim N(0, 1)`, loadings uniform on 0 to 1, and factors and noise that are stationary AR(1)
    processes of variance 1 with autocorrelation ``rho``, started in their stationary law. Units are exchangeable, so
    which of them are treated (the first ones) is as good as random.

    Parameters
    ----------
    n_units, n_periods
        Size of the panel.
    n_treated, n_post
        The first ``n_treated`` units are treated in the last ``n_post`` periods.
    effect
        True effect on every treated cell, in units of the outcome.
    rho
        Autocorrelation of factors and noise, above -1 and below 1.
    n_factors
        Number of common factors.
    seed
        Equal seeds give equal panels.

    Returns
    -------
    Panel
        Units ``u000``, ``u001``, ...; periods 1, 2, ...

    Raises
    ------
    ValueError
        If the sizes leave no control unit or no period before the launch, or ``rho`` isn't stationary.

    Examples
    --------
    >>> panel = factor_panel(n_units=8, n_periods=30, n_treated=2, n_post=5, effect=1.5, rho=0.5, seed=0)
    >>> panel.treated_units, panel.n_pre, panel.n_post
    (('u000', 'u001'), 25, 5)
    """
    if not 0 < n_treated < n_units or not 0 < n_post < n_periods:
        raise ValueError(f"{n_treated} of {n_units} units and {n_post} of {n_periods} periods can't be treated")
    if not -1 < rho < 1:
        raise ValueError(f"rho is {rho}, it must lie strictly between -1 and 1")
    rng = np.random.default_rng(seed)
    level = 10 + rng.standard_normal((n_units, 1))
    loadings = rng.random((n_units, n_factors))
    common = loadings @ _autoregression(n_factors, n_periods, rho, rng)
    noise = _autoregression(n_units, n_periods, rho, rng)
    treated = (np.arange(n_units) < n_treated)[:, None] & (np.arange(n_periods) >= n_periods - n_post)
    return Panel(
        outcome=level + common + noise + effect * treated,
        treated=treated,
        units=tuple(f"u{i:03d}" for i in range(n_units)),
        periods=tuple(range(1, n_periods + 1)),
    )


def staggered_panel(
    *,
    n_units: int,
    n_periods: int,
    launches: Sequence[int],
    n_never: int,
    effect: float,
    growth: float = 0.0,
    rho: float,
    seed: int,
) -> Panel:
    r"""Draw a phased rollout whose effect depends on the cohort's time since its launch.

    .. math:: y_{it} = 10 + \alpha_i + \lambda_t + u_{it} + (\tau + \gamma e_{it}) D_{it}

    with :math:`\alpha_i, \lambda_t \sim N(0, 1)`, stationary AR(1) noise of variance 1, and :math:`e_{it}` the number of
    periods since the launch. Which units launch when is drawn at random.

    Parameters
    ----------
    n_units, n_periods
        Size of the panel.
    launches
        Index of the first treated period of each cohort; units are spread over them evenly.
    n_never
        Number of units never treated.
    effect, growth
        Effect in the first treated period, and what each later period adds to it.
    rho
        Autocorrelation of the noise, above -1 and below 1.
    seed
        Equal seeds give equal panels.

    Returns
    -------
    Panel
        Units ``u000``, ``u001``, ...; periods 1, 2, ...

    Raises
    ------
    ValueError
        If a launch lies outside the periods, units don't suffice, or ``rho`` isn't stationary.

    Examples
    --------
    >>> panel = staggered_panel(
    ...     n_units=9, n_periods=6, launches=(2, 4), n_never=3, effect=1.0, growth=0.5, rho=0.0, seed=0
    ... )
    >>> panel.cohorts, len(panel.donor_pool)
    ((3, 5), 3)
    """
    if not launches or min(launches) < 1 or max(launches) >= n_periods:
        raise ValueError(f"launches {tuple(launches)} must lie within periods 1 to {n_periods - 1}")
    if not 0 <= n_never <= n_units - len(launches):
        raise ValueError(f"{n_units} units can't hold {len(launches)} cohorts and {n_never} units never treated")
    if not -1 < rho < 1:
        raise ValueError(f"rho is {rho}, it must lie strictly between -1 and 1")
    rng = np.random.default_rng(seed)
    dates = [launches[i % len(launches)] for i in range(n_units - n_never)] + [n_periods] * n_never
    first = rng.permutation(dates)[:, None]
    since = np.arange(n_periods) - first
    level, common = rng.standard_normal((n_units, 1)), rng.standard_normal(n_periods)
    noise = _autoregression(n_units, n_periods, rho, rng)
    return Panel(
        outcome=10 + level + common + noise + (since >= 0) * (effect + growth * since),
        treated=since >= 0,
        units=tuple(f"u{i:03d}" for i in range(n_units)),
        periods=tuple(range(1, n_periods + 1)),
    )


def single_launch_panel(
    *,
    n_donors: int = 30,
    n_pre: int = 180,
    n_post: int = 14,
    effect: float = 0.04,
    n_contaminated: int = 2,
    contamination: float = 0.06,
    holiday: float = 0.1,
    rho: float = 0.5,
    noise: float = 0.01,
    seed: int,
) -> Panel:
    r"""Draw daily data of a launch in one country, some of whose donors react to it (acceptance scenario A1).

    .. math::
        y_{it} = \mu_i \bigl(1 + \lambda_i' f_t + a_i s_t + h_i 1\{t = t_h\} + \sigma u_{it} + \tau D_{it} + \kappa C_{it}\bigr)

    with levels :math:`\mu_i = 100 e^{0.3 z_i}`, :math:`z_i \sim N(0, 1)`; three factors and the noise :math:`u` stationary
    AR(1) of variance 1; loadings uniform on 0 to 0.03; a weekly season :math:`s_t = 0.1 \cos(2 \pi t / 7)` and a holiday on
    the fourth day after the launch, both times a unit's own factor, uniform on 0.8 to 1.2. The treated unit is drawn like
    every donor. Everything but the level is a share of it, so that effects are too.

    Parameters
    ----------
    n_donors, n_pre, n_post
        Number of donors, of days before the launch and from it on.
    effect
        True effect on the treated unit, as a share of its level.
    n_contaminated, contamination
        The first ``n_contaminated`` donors move by ``contamination``, a share of their level, from the launch on.
    holiday
        What the holiday adds to a unit of average sensitivity, as a share of its level.
    rho
        Autocorrelation of factors and noise, above -1 and below 1.
    noise
        Standard deviation of the noise, as a share of the level.
    seed
        Equal seeds give equal panels.

    Returns
    -------
    Panel
        Units ``country``, ``donor01``, ``donor02``, ...; days from 1 January 2024 on.

    Raises
    ------
    ValueError
        If fewer than two donors stay clean, a period is missing before or after the launch, or ``rho`` isn't stationary.

    Examples
    --------
    >>> panel = single_launch_panel(seed=0)
    >>> panel.treated_units, len(panel.donor_pool), panel.n_pre, panel.n_post, panel.season
    (('country',), 30, 180, 14, 7)
    """
    if not 0 <= n_contaminated <= n_donors - 2 or n_pre < 1 or n_post < 1:
        raise ValueError(f"{n_contaminated} of {n_donors} donors, {n_pre} and {n_post} days don't make this scenario")
    if not -1 < rho < 1:
        raise ValueError(f"rho is {rho}, it must lie strictly between -1 and 1")
    rng = np.random.default_rng(seed)
    shape = (n_donors + 1, n_pre + n_post)
    day, unit = np.arange(shape[1]), np.arange(shape[0])[:, None]
    level = 100 * np.exp(0.3 * rng.standard_normal((shape[0], 1)))
    common = 0.03 * rng.random((shape[0], 3)) @ _autoregression(3, shape[1], rho, rng)
    season = rng.uniform(0.8, 1.2, (shape[0], 1)) * 0.1 * np.cos(2 * np.pi * day / 7)
    festive = rng.uniform(0.8, 1.2, (shape[0], 1)) * holiday * (day == n_pre + 3)
    after = day >= n_pre
    reaction = effect * (unit == 0) * after + contamination * ((unit > 0) & (unit <= n_contaminated)) * after
    relative = 1 + common + season + festive + noise * _autoregression(*shape, rho, rng) + reaction
    return Panel(
        outcome=level * relative,
        treated=(unit == 0) & after,
        units=("country", *(f"donor{i:02d}" for i in range(1, n_donors + 1))),
        periods=tuple(dt.date(2024, 1, 1) + dt.timedelta(days=int(d)) for d in day),
        unit_name="country",
        frequency="day",
        season=7,
    )


def _autoregression(n_series: int, n_periods: int, rho: float, rng: Generator) -> FloatArray:
    """Draw independent AR(1) series of variance 1, shape (n_series, n_periods)."""
    series = rng.standard_normal((n_series, n_periods))
    series[:, 1:] *= np.sqrt(1 - rho**2)
    for t in range(1, n_periods):
        series[:, t] += rho * series[:, t - 1]
    return series
