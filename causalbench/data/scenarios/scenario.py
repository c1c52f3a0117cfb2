"""A drawn scenario, and the pieces that several of them are made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator

from causalbench.values import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A study with a known truth.

    Attributes
    ----------
    name
        As in the acceptance list, such as ``A1``.
    files
        Text of every file of the study's folder by its name; ``study.toml`` is one of them.
    truth
        What the readout is held against.
    """

    name: str
    files: Mapping[str, str]
    truth: Mapping[str, Any]


def autoregression(shape: tuple[int, int], rng: Generator, *, rho: float = 0.5) -> FloatArray:
    """Draw independent AR(1) series of variance 1, one per row."""
    series = rng.standard_normal(shape)
    series[:, 1:] *= np.sqrt(1 - rho**2)
    for t in range(1, shape[1]):
        series[:, t] += rho * series[:, t - 1]
    return series


def market_levels(
    n_units: int, n_periods: int, rng: Generator, *, noise: float = 0.02, common: float = 0.02
) -> FloatArray:
    r"""Draw positive outcomes of unequal units, shape (n_units, n_periods).

    .. math:: y_{it} = \mu_i (1 + \lambda_i' f_t + s_t + \sigma u_{it})

    with levels :math:`\mu_i = 100 e^{0.3 z_i}`, three AR(.5) factors with loadings uniform on 0 to ``common``, a weekly season of
    8% and AR(.5) noise of standard deviation ``noise``.
    """
    level = 100 * np.exp(0.3 * rng.standard_normal((n_units, 1)))
    shared = common * rng.random((n_units, 3)) @ autoregression((3, n_periods), rng)
    season = 0.08 * np.sin(2 * np.pi * np.arange(n_periods) / 7)
    return np.asarray(level * (1 + shared + season + noise * autoregression((n_units, n_periods), rng)))


def names(n_units: int, kind: str) -> list[str]:
    """Name units ``market01``, ``market02`` and so on."""
    return [f"{kind}{i:02d}" for i in range(1, n_units + 1)]


def days(n_periods: int, *, start: dt.date = dt.date(2025, 1, 6)) -> list[str]:
    """Return consecutive days in ISO form; the first one is a Monday."""
    return [(start + dt.timedelta(days=i)).isoformat() for i in range(n_periods)]


def csv_text(units: list[str], periods: list[str], *, unit: str, columns: Mapping[str, Any]) -> str:
    """Write arrays of shape (n_units, n_periods) as one long table with a column each."""
    index = {unit: np.repeat(units, len(periods)), "date": np.tile(periods, len(units))}
    shape = (len(units), len(periods))
    table = pd.DataFrame(index | {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()})
    return str(table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def quoted(words: list[str]) -> str:
    """Write names as a TOML array."""
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
