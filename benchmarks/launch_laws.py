"""Families of laws that panels without any launch are drawn from; shared by benchmarks of the backtest.

A law is drawn first: levels, loadings and spreads of units are fixed by it. A panel is a draw from a law: common movements and
noise are drawn anew. The noise of a unit has a standard deviation of about 1. In every family but ``largest`` units are
exchangeable before the law is drawn, so the first one, which benchmarks treat, is like any other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.values import FloatArray

Draw = Callable[[Generator], FloatArray]
Law = Callable[[Generator, int, int], Draw]


def noise(n: int, periods: int, rho: float, rng: Generator, innovations: FloatArray | None = None) -> FloatArray:
    """Draw stationary AR(1) series of variance 1, shape (n, periods)."""
    found = rng.standard_normal((n, periods)) if innovations is None else innovations.copy()
    found[:, 1:] *= np.sqrt(1 - rho**2)
    for t in range(1, periods):
        found[:, t] += rho * found[:, t - 1]
    return found


def walk(n: int, periods: int, rng: Generator) -> FloatArray:
    """Draw random walks with steps of variance 1, shape (n, periods)."""
    return np.cumsum(rng.standard_normal((n, periods)), axis=1)


def levels(n: int, rng: Generator) -> FloatArray:
    return 3 * rng.standard_normal((n, 1))


def parallel(rng: Generator, n: int, periods: int) -> Draw:
    """Unit and period effects, noise with a little memory."""
    level, rho = levels(n, rng), rng.uniform(0, 0.6)
    return lambda g: level + 0.5 * walk(1, periods, g) + noise(n, periods, rho, g)


def mixtures(rng: Generator, n: int, periods: int) -> Draw:
    """Every unit is a mixture of four common trends, levels included."""
    shares, rho = rng.dirichlet(np.full(4, 0.7), n), rng.uniform(0, 0.5)
    heights = 5.0 * np.arange(4)[:, None]
    return lambda g: shares @ (walk(4, periods, g) + heights) + noise(n, periods, rho, g)


def factors(rng: Generator, n: int, periods: int) -> Draw:
    """Unit effects, and three common trends with a unit's own loadings."""
    level, loadings, rho = levels(n, rng), rng.random((n, 3)), rng.uniform(0, 0.5)
    return lambda g: level + 0.5 * loadings @ walk(3, periods, g) + noise(n, periods, rho, g)


def sizes(rng: Generator, n: int, periods: int) -> Draw:
    """Everything is a share of a unit's size."""
    size = np.exp(0.6 * rng.standard_normal((n, 1)))
    return lambda g: size * (50 + 3 * noise(1, periods, 0.9, g) + 0.7 * walk(1, periods, g) + noise(n, periods, 0.3, g))


def largest(rng: Generator, n: int, periods: int) -> Draw:
    """The same, but the treated unit is larger than all others."""
    size = np.exp(0.5 * rng.standard_normal((n, 1)))
    size[0] = size.max() * rng.uniform(1.2, 2.5)
    size /= size[0]
    return lambda g: size * (50 + 3 * noise(1, periods, 0.9, g) + 0.7 * walk(1, periods, g) + noise(n, periods, 0.3, g))


def walks(rng: Generator, n: int, periods: int) -> Draw:
    """Units drift apart as random walks, and are noisy around them."""
    level, step = levels(n, rng), rng.uniform(0.2, 0.5)
    return lambda g: level + walk(1, periods, g) + step * walk(n, periods, g) + noise(n, periods, 0.0, g)


def unit_roots(rng: Generator, n: int, periods: int) -> Draw:
    """Units are random walks without noise, as stocks, prices and logarithms of wages nearly are."""
    level = levels(n, rng)
    return lambda g: level + walk(1, periods, g) + walk(n, periods, g)


def drifts(rng: Generator, n: int, periods: int) -> Draw:
    """Units have linear trends of their own."""
    level, slope, rho = levels(n, rng), rng.uniform(-0.06, 0.06, (n, 1)), rng.uniform(0, 0.5)
    time = np.arange(periods)
    return lambda g: level + slope * time + 0.5 * walk(1, periods, g) + noise(n, periods, rho, g)


def seasons(rng: Generator, n: int, periods: int) -> Draw:
    """A season and common swings that units follow to different degrees."""
    level, degree, time = levels(n, rng), rng.uniform(0.3, 1.7, (n, 1)), np.arange(periods)

    def draw(g: Generator) -> FloatArray:
        wave = 4 * np.cos(2 * np.pi * time / 12 + g.uniform(0, 2 * np.pi))
        return level + degree * (wave + noise(1, periods, 0.8, g)) + noise(n, periods, 0.3, g)

    return draw


def counts(rng: Generator, n: int, periods: int) -> Draw:
    """Counts in markets of unequal size, over the root of the treated one's."""
    size = np.exp(4 + 0.6 * rng.standard_normal((n, 1)))

    def draw(g: Generator) -> FloatArray:
        rate = size * np.exp(0.15 * noise(1, periods, 0.9, g) + 0.03 * noise(n, periods, 0.5, g))
        return g.poisson(rate) / np.sqrt(size[0])

    return draw


def breaks(rng: Generator, n: int, periods: int) -> Draw:
    """Levels of single units jump now and then."""
    level, loadings = levels(n, rng), rng.random((n, 2))

    def draw(g: Generator) -> FloatArray:
        jumps = np.cumsum((g.random((n, periods)) < 0.01) * 2 * g.standard_normal((n, periods)), axis=1)
        return level + 0.3 * loadings @ walk(2, periods, g) + jumps + noise(n, periods, 0.3, g)

    return draw


def regimes(rng: Generator, n: int, periods: int) -> Draw:
    """Levels and loadings on two common trends changed after a third of the history."""
    level, shift, old, new = levels(n, rng), levels(n, rng), rng.random((n, 2)), rng.random((n, 2))
    change = periods // 3

    def draw(g: Generator) -> FloatArray:
        trends = walk(2, periods, g)
        since = shift + (new - old) @ (trends - trends[:, [change]])
        return level + old @ trends + np.where(np.arange(periods) >= change, since, 0.0) + noise(n, periods, 0.3, g)

    return draw


def alike(rng: Generator, n: int, periods: int) -> Draw:
    """Units differ by noise alone."""
    level = 0.3 * rng.standard_normal((n, 1))
    return lambda g: level + 0.3 * noise(1, periods, 0.5, g) + noise(n, periods, 0.0, g)


def unequal_noise(rng: Generator, n: int, periods: int) -> Draw:
    """Some units are several times as noisy as others."""
    level, spread = levels(n, rng), np.exp(0.6 * rng.standard_normal((n, 1)))
    return lambda g: level + 0.5 * walk(1, periods, g) + spread * noise(n, periods, 0.5, g)


def heavy_tails(rng: Generator, n: int, periods: int) -> Draw:
    """Shocks have a t law with three degrees of freedom."""
    level = levels(n, rng)
    return lambda g: level + walk(1, periods, g) + noise(n, periods, 0.3, g, g.standard_t(3, (n, periods)) / np.sqrt(3))


def volatile_times(rng: Generator, n: int, periods: int) -> Draw:
    """Calm and restless times, for all units at once."""
    level = levels(n, rng)
    return lambda g: level + np.exp(0.4 * noise(1, periods, 0.95, g)) * noise(n, periods, 0.3, g)


def common_shocks(rng: Generator, n: int, periods: int) -> Draw:
    """Rare large shocks to all units, which feel them to different degrees."""
    level, degree = levels(n, rng), rng.uniform(0.5, 1.5, (n, 1))

    def draw(g: Generator) -> FloatArray:
        shock = (g.random((1, periods)) < 1 / 15) * 6 * g.standard_normal((1, periods))
        return level + degree * shock + noise(n, periods, 0.3, g)

    return draw


LAWS: dict[str, Law] = {
    law.__name__.replace("_", " "): law
    for law in (
        parallel,
        mixtures,
        factors,
        sizes,
        largest,
        walks,
        unit_roots,
        drifts,
        seasons,
        counts,
        breaks,
        regimes,
        alike,
        unequal_noise,
        heavy_tails,
        volatile_times,
        common_shocks,
    )
}


def panel_of(outcome: FloatArray, *, n_treated: int, n_post: int) -> Panel:
    """Treat the first units in the last periods."""
    n, periods = outcome.shape
    return Panel(
        outcome=outcome,
        treated=(np.arange(n) < n_treated)[:, None] & (np.arange(periods) >= periods - n_post),
        units=tuple(f"u{i:03d}" for i in range(n)),
        periods=tuple(range(1, periods + 1)),
    )
